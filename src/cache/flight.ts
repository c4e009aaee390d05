// Single flight: callers at once with one key share one start. It keeps nothing once that has ended, a
// failure least of all (PROTOCOL section 7, row 14).
import { UnderWay } from '../base/under-way.ts'

export class Flight<T> {
  readonly #running = new UnderWay<Promise<T>>()

  /** How many are under way. */
  get size(): number {
    return this.#running.size
  }

  /**
   * Joins what runs under `key`, or starts it.
   * @returns what `start` came to, the same for all who waited; rejects with its error, a thrown one included
   */
  run(key: string, start: () => Promise<T>): Promise<T> {
    const running = this.#running.get(key)
    if (running) return running
    const begun = (async () => start())()
    // Forgotten before any waiter goes on, so that one who tries again after a failure starts anew.
    const outcome = begun.finally(() => this.#running.end(key))
    this.#running.begin(key, outcome)
    return outcome
  }
}
