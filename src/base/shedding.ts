// When to refuse for the sake of those already taken. A short burst is served late; a queue that stands is not worth
// waiting in (Nichols and Jacobson, "Controlling Queue Delay", 2012: what counts is how long it has stood). Pure: time
// comes in with each call.
import { limits } from './limits.ts'

/**
 * Refuses once the event loop has been late for a while, and then all but a few requests in each of its turns, until
 * none had to be refused for a second. With what a turn takes bounded, so is the wait; how few they are hardly matters
 * to how many are answered (docs/DESIGN.md).
 */
export class Shedding {
  /** The samples taken last, each counted up to a bound: one long turn is no queue, however late. */
  readonly #recent: number[] = new Array(limits.shedSamples).fill(0)
  #lateSince: number | undefined
  #taken = 0
  #until = Number.NEGATIVE_INFINITY

  /** Told again and again how late a timer was, ms. Long turns and short ones alternate: their mean counts. */
  sample(lateMs: number, now: number): void {
    this.#recent.shift()
    this.#recent.push(Math.min(Math.max(lateMs, 0), limits.shedLateCountedMs))
    if (this.#recent.reduce((sum, one) => sum + one, 0) < limits.shedLateMs * limits.shedSamples) {
      this.#lateSince = undefined
      return
    }
    this.#lateSince ??= now
    if (now - this.#lateSince >= limits.shedAfterMs) this.#until = now + limits.shedQuietMs
  }

  /** Whether anybody is refused now: then each request asks `take`, and each turn is told of its end. */
  isOn(now: number): boolean {
    return now < this.#until
  }

  /** Whether a request that begins now is taken. */
  take(now: number): boolean {
    if (!this.isOn(now)) return true
    if (this.#taken < limits.shedPerTurn) {
      this.#taken++
      return true
    }
    this.#until = now + limits.shedQuietMs
    return false
  }

  /** To be called once in each turn of the event loop in which a request was taken. */
  endTurn(): void {
    this.#taken = 0
  }
}
