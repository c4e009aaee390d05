// When a revocation list is fetched from its URL: one flight at a time, well before the list in use ends and at least every
// so often, with a pause that doubles while it fails. It knows no list and no HTTP; no request ever waits for it.
import type { Clock } from './base/clock.ts'
import { limits } from './base/limits.ts'

/** What came of a fetch: the list was newer, the same, not to be taken, or not to be had. */
export type FetchOutcome = 'newer' | 'same' | 'refused' | 'failed'

export type FetcherOptions = {
  clock: Clock
  /** Evenly in [0, 1). */
  random: () => number
  everyMs: number
  /** Fetches and hands over what came. Throws nothing: a failure is an outcome. */
  fetch(): Promise<FetchOutcome>
  /** When the list in use ends, Unix ms; undefined: there is none. */
  endMs(): number | undefined
}

export class ListFetcher {
  readonly #options: FetcherOptions
  #flight: Promise<void> | undefined
  #failures = 0
  /** By the monotonic clock: a wall clock that is set must neither stop nor flood. */
  #dueMs: number
  #coolMs: number

  constructor(options: FetcherOptions) {
    this.#options = options
    const nowMs = options.clock.mono()
    this.#coolMs = nowMs
    // Nodes that start together do not all ask at once, unless they have nothing to go on with.
    this.#dueMs = this.#isStale() ? nowMs : nowMs + options.random() * limits.cardListStartMs
  }

  /** Fetches if that is due. */
  tick(): void {
    if (this.#options.clock.mono() >= this.#dueMs) this.#start()
  }

  /** A list was found to be stale: fetches at once, unless it is being done or was tried just now. */
  hurry(): void {
    if (this.#options.clock.mono() >= this.#coolMs) this.#start()
  }

  /** Until the fetch under way has ended, if one is. */
  settled = (): Promise<void> => this.#flight ?? Promise.resolve()

  #start(): void {
    this.#flight ??= this.#run().finally(() => {
      this.#flight = undefined
    })
  }

  async #run(): Promise<void> {
    const outcome = await this.#options.fetch()
    const { clock, random } = this.#options
    const nowMs = clock.mono()
    const good = (outcome === 'newer' || outcome === 'same') && !this.#isStale()
    this.#failures = good ? 0 : this.#failures + 1
    this.#coolMs = nowMs + this.#cooldownMs(random())
    this.#dueMs = good ? Math.max(this.#coolMs, nowMs + this.#pauseMs(random())) : this.#coolMs
  }

  #isStale(): boolean {
    const endMs = this.#options.endMs()
    return endMs === undefined || endMs < this.#options.clock.now()
  }

  /** Doubles with each failure, and up to half as long again, so that nodes do not knock together. */
  #cooldownMs(share: number): number {
    const doubled = limits.cardListCooldownMs * 2 ** Math.max(0, Math.min(this.#failures, 16) - 1)
    return Math.min(doubled, limits.cardListCooldownMaxMs) * (1 + share / 2)
  }

  /** 50 to 75 % of what is left of the list, so that there is time for many more tries; `everyMs` or a little less at most. */
  #pauseMs(share: number): number {
    const leftMs = (this.#options.endMs() ?? 0) - this.#options.clock.now()
    return Math.min(leftMs * (0.5 + share / 4), this.#options.everyMs * (1 - share / 4))
  }
}
