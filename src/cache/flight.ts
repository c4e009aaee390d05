// Single flight: callers at once with one key share one start. It keeps nothing once that has ended, a
// failure least of all (PROTOCOL section 7, row 14).

export class Flight<T> {
  /** Emptied at their end: a Map that grew leaves its old table behind, and that would hold outcomes for seconds. */
  readonly #running = new Map<string, { outcome: Promise<T> | undefined }>()

  /** How many are under way. */
  get size(): number {
    return this.#running.size
  }

  /**
   * Joins what runs under `key`, or starts it.
   * @returns what `start` came to, the same for all who waited; rejects with its error, a thrown one included
   */
  run(key: string, start: () => Promise<T>): Promise<T> {
    const running = this.#running.get(key)?.outcome
    if (running) return running
    const begun = (async () => start())()
    const held: { outcome: Promise<T> | undefined } = { outcome: undefined }
    // Forgotten before any waiter goes on, so that one who tries again after a failure starts anew.
    const outcome = begun.finally(() => {
      this.#running.delete(key)
      held.outcome = undefined
    })
    held.outcome = outcome
    this.#running.set(key, held)
    return outcome
  }
}
