// The bureau's change feed as this node knows it: which people and cards changed in the last 48 h, and whether
// that knowledge is fresh (PROTOCOL sections 8, 11).
import type { Clock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import type { FeedChange, FeedPage } from './protocol.ts'

type Held = { position: number; atMs: number; keys: string[] }

const keyOf = (...parts: string[]) => parts.join('|')

export class Feed {
  readonly #fetchPage: (after: number | undefined) => Promise<FeedPage | 'gone'>
  readonly #clock: Clock
  readonly #onError: (cause: unknown) => void
  readonly #lastOf = new Map<string, number>()
  #held: Held[] = []
  /** Oldest position after which no change is missing here; undefined: nothing is known. */
  #from: number | undefined
  #position = 0
  #freshFrom = Number.NEGATIVE_INFINITY
  #polling: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(options: {
    fetchPage: (after: number | undefined) => Promise<FeedPage | 'gone'>
    clock: Clock
    onError?: (cause: unknown) => void
  }) {
    this.#fetchPage = options.fetchPage
    this.#clock = options.clock
    this.#onError = options.onError ?? (() => {})
  }

  /** Reads up to the head, then polls. A bureau that is down leaves the feed stale, and start goes on. */
  async start(): Promise<void> {
    const tick = () => this.poll().catch((cause) => this.#onError(cause))
    await tick()
    this.#timer = setInterval(tick, limits.feedPollMs)
  }

  poll(): Promise<void> {
    this.#polling ??= this.#pollOnce().finally(() => {
      this.#polling = undefined
    })
    return this.#polling
  }

  position(): number {
    return this.#position
  }

  /** Read to the head by a poll begun less than 750 ms ago. */
  isFresh(): boolean {
    return this.#clock.mono() - this.#freshFrom < limits.feedFreshMs
  }

  /** Whether no change after `at` is missing here. */
  covers(at: number): boolean {
    return this.#from !== undefined && at >= this.#from && at <= this.#position
  }

  /** Whether a change after `at` names this number or this card. */
  changedSince(at: number, who: { docType: string; state: string; number: string; serial: Buffer }): boolean {
    const { docType, state, number, serial } = who
    const byNumber = this.#lastOf.get(keyOf('n', docType, state, number))
    const bySerial = this.#lastOf.get(keyOf('s', docType, state, serial.toString('base64url')))
    return (byNumber ?? -1) > at || (bySerial ?? -1) > at
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#polling?.catch(() => {}) // It was told to onError.
  }

  async #pollOnce(): Promise<void> {
    const begun = this.#clock.mono()
    for (let emptied = 0; ; ) {
      const page = await this.#fetchPage(this.#from === undefined ? undefined : this.#position)
      if (page === 'gone' || page.head < this.#position) {
        this.#empty()
        if (++emptied > 1) throw new Error('the feed does not hold still')
        continue
      }
      this.#take(page)
      if (this.#position >= page.head) break
      if (page.changes.length === 0) throw new Error('the feed ends before its head')
    }
    this.#prune()
    this.#freshFrom = begun
  }

  #take(page: FeedPage): void {
    if (this.#from === undefined) {
      this.#from = page.first - 1
      this.#position = page.first - 1
    }
    for (const change of page.changes) {
      if (change.position !== this.#position + 1) throw new Error('the feed has a gap or is not in order')
      this.#apply(change)
    }
  }

  #apply(change: FeedChange): void {
    const { docType, issuingState, number, serial, position } = change
    const keys: string[] = []
    if (number !== undefined) keys.push(keyOf('n', docType, issuingState, number))
    if (serial !== undefined) keys.push(keyOf('s', docType, issuingState, serial))
    for (const key of keys) this.#lastOf.set(key, position)
    this.#held.push({ position, atMs: this.#clock.now(), keys })
    this.#position = position
  }

  /** Forgets what is older than the window, and then no longer vouches for what was asked before it. */
  #prune(): void {
    const oldest = this.#clock.now() - limits.feedWindowMs
    const held = this.#held
    const isOver = (at: number) =>
      (held[at] as Held).atMs < oldest || held.length - at > limits.feedChangesMax
    let gone = 0
    while (gone < held.length && isOver(gone)) {
      const { position, keys } = held[gone] as Held
      for (const key of keys) if (this.#lastOf.get(key) === position) this.#lastOf.delete(key)
      this.#from = position
      gone++
    }
    if (gone > 0) this.#held = held.slice(gone)
  }

  #empty(): void {
    this.#lastOf.clear()
    this.#held = []
    this.#from = undefined
    this.#position = 0
    this.#freshFrom = Number.NEGATIVE_INFINITY
  }
}
