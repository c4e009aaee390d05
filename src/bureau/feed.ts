// The bureau's change feed as this node knows it: which people and cards changed in the last 48 h, and whether
// that knowledge is fresh. It knows no cache and no wire, only a function that fetches a page
// (PROTOCOL sections 8, 11).
import type { Clock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import type { FeedChange, FeedPage } from './protocol.ts'

/**
 * Must not throw. `head` is the newest position that there was when the change was read; `anew`: positions are given
 * a second time from here.
 */
export type FeedListener = { change(change: FeedChange, head: number): void; anew(): void }

type Held = { position: number; atMs: number; keys: string[] }

/** One more than is due: a poll that hangs on one connection must not keep the next from beginning. */
const pollsMax = 2

/** `x` is read as `X` in a citizen's number (PROTOCOL section 8). */
const numberKey = (docType: string, state: string, number: string) =>
  `n|${docType}|${state}|${docType === 'ID' ? number.toUpperCase() : number}`
const serialKey = (docType: string, state: string, serial: string) => `s|${docType}|${state}|${serial}`

export class Feed {
  readonly #fetchPage: (after: number | undefined) => Promise<FeedPage | 'gone'>
  readonly #clock: Clock
  readonly #onError: (cause: unknown) => void
  readonly #listeners = new Set<FeedListener>()
  readonly #lastOf = new Map<string, number>()
  readonly #polls = new Set<Promise<void>>()
  #held: Held[] = []
  /** Index of the oldest in `#held`: those before it are pruned and go when half are. */
  #oldest = 0
  /** Oldest position after which no change is missing here; undefined: nothing is known. */
  #from: number | undefined
  #position = 0
  /** Positions up to here may be of a numbering that the bureau has given up, until `#floorUntilMs`. */
  #floor = -1
  #floorUntilMs = 0
  /** Counts how often the window was emptied, so that a page asked for before does not enter it after. */
  #window = 0
  #freshFrom = Number.NEGATIVE_INFINITY
  #timer: NodeJS.Timeout | undefined
  #closed = false

  /**
   * @param options.fetchPage the page after a position, or of the last 48 h if undefined; 'gone' for a 410;
   *   rejects when the bureau fails, which must be within a deadline
   * @param options.onError told of every poll that failed and every emptied window; never identity data
   */
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
    if (!this.#closed) this.#timer = setInterval(tick, limits.feedPollMs)
  }

  /** Begins a poll unless two are under way. Rejects if the head was not reached; what was read is kept. */
  poll(): Promise<void> {
    const [eldest] = this.#polls
    if (eldest && this.#polls.size >= pollsMax) return eldest
    const polling = this.#pollOnce().finally(() => this.#polls.delete(polling))
    this.#polls.add(polling)
    return polling
  }

  /** The last position applied; 0 before the first. */
  position(): number {
    return this.#position
  }

  /** Read to the head by a poll begun less than 750 ms ago. */
  isFresh(): boolean {
    return this.#clock.mono() - this.#freshFrom < limits.feedFreshMs
  }

  /**
   * Whether no change after `at` is missing here. Beyond our own position nothing is covered: it is of a node
   * that is ahead, whose answer we ask for again, or of a numbering that the bureau has given up.
   */
  covers(at: number): boolean {
    if (at <= this.#floor && this.#clock.now() < this.#floorUntilMs) return false
    return this.#from !== undefined && at >= this.#from && at <= this.#position
  }

  /** Whether a change after `at` names this number or this card; `serial` 16 bytes. */
  changedSince(at: number, who: { docType: string; state: string; number: string; serial: Buffer }): boolean {
    const { docType, state, number, serial } = who
    const byNumber = this.#lastOf.get(numberKey(docType, state, number))
    const bySerial = this.#lastOf.get(serialKey(docType, state, serial.toString('base64url')))
    return (byNumber ?? -1) > at || (bySerial ?? -1) > at
  }

  /** Told of each change once it is applied, and of a numbering begun anew. Returns the function that ends it. */
  onChange(listener: FeedListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Ends the polling; resolves when the polls under way have ended, within their deadline. */
  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    await Promise.allSettled(this.#polls) // Their faults were told to onError.
  }

  async #pollOnce(): Promise<void> {
    for (let emptied = 0; ; ) {
      const begun = this.#clock.mono()
      const after = this.#from === undefined ? undefined : this.#position
      const window = this.#window
      const page = await this.#fetchPage(after)
      if (this.#closed) return
      if (window !== this.#window) continue // The other poll emptied the window: this page is of the old one.
      if (page === 'gone' || hasLostThread(page, after)) {
        if (page !== 'gone' && after !== undefined && page.head < after) this.#distrust()
        this.#empty()
        if (++emptied > 1 || after === undefined) throw new Error('the feed does not hold still')
        this.#onError(new Error('the feed begins anew'))
        continue
      }
      this.#take(page, after)
      if (this.#position >= page.head) {
        this.#prune()
        // Of this request, not of the first of many pages: it saw the head as it was when it began, or later.
        this.#freshFrom = Math.max(this.#freshFrom, begun)
        return
      }
      if (page.changes.length === 0) throw new Error('the feed ends before its head')
    }
  }

  /** Applies a page that must follow `after` without a gap; skips what the other poll has applied meanwhile. */
  #take(page: FeedPage, after: number | undefined): void {
    let expected = after ?? (page.changes[0]?.position ?? page.head + 1) - 1
    if (this.#from === undefined) {
      this.#from = expected
      this.#position = expected
    } else if (expected > this.#position) return // Read without a place to begin, while the other poll found one.
    for (const change of page.changes) {
      expected++
      if (change.position !== expected) throw new Error('the feed has a gap or is not in order')
      if (change.position > this.#position) this.#apply(change, page.head)
    }
  }

  #apply(change: FeedChange, head: number): void {
    const { docType, issuingState, number, serial, position } = change
    const keys: string[] = []
    if (number !== undefined) keys.push(numberKey(docType, issuingState, number))
    if (serial !== undefined) keys.push(serialKey(docType, issuingState, serial))
    if (keys.length === 0) throw new Error('a change names nobody')
    for (const key of keys) this.#lastOf.set(key, position)
    this.#held.push({ position, atMs: this.#clock.now(), keys })
    this.#position = position
    for (const listener of this.#listeners) listener.change(change, head)
  }

  /** Forgets what is older than the window, and then no longer vouches for what was asked before it. */
  #prune(): void {
    const oldestMs = this.#clock.now() - limits.feedWindowMs
    const held = this.#held
    const isOver = (at: number) =>
      (held[at] as Held).atMs < oldestMs || held.length - at > limits.feedChangesMax
    while (this.#oldest < held.length && isOver(this.#oldest)) {
      const { position, keys } = held[this.#oldest] as Held
      for (const key of keys) if (this.#lastOf.get(key) === position) this.#lastOf.delete(key)
      this.#from = position
      this.#oldest++
    }
    if (this.#oldest * 2 > held.length) {
      this.#held = held.slice(this.#oldest)
      this.#oldest = 0
    }
  }

  /** The numbers may be given a second time: an answer cached under the first must not pass for the second. */
  #distrust(): void {
    this.#floor = Math.max(this.#floor, this.#position)
    this.#floorUntilMs = this.#clock.now() + limits.feedWindowMs // Longer than any answer is cached.
    for (const listener of this.#listeners) listener.anew()
  }

  #empty(): void {
    this.#window++
    this.#lastOf.clear()
    this.#held = []
    this.#oldest = 0
    this.#from = undefined
    this.#position = 0
    this.#freshFrom = Number.NEGATIVE_INFINITY
  }
}

/** The head went backwards, or what follows `after` is no longer on offer. */
const hasLostThread = (page: FeedPage, after: number | undefined) =>
  after !== undefined && (page.head < after || page.first > after + 1)
