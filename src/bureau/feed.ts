// The bureau's change feed as this node knows it: which people and cards changed in the last 48 h, and whether
// that knowledge is fresh (PROTOCOL sections 8, 11).
import type { Clock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import type { FeedChange, FeedPage } from './protocol.ts'

export type Feed = ReturnType<typeof createFeed>

type Held = { position: number; atMs: number; keys: string[] }

const keyOf = (...parts: string[]) => parts.join('|')

export function createFeed(options: {
  fetchPage: (after: number | undefined) => Promise<FeedPage | 'gone'>
  clock: Clock
  onError?: (cause: unknown) => void
}) {
  const { fetchPage, clock, onError } = options
  const lastOf = new Map<string, number>()
  let held: Held[] = []
  /** Oldest position after which no change is missing here; undefined: nothing is known. */
  let from: number | undefined
  let position = 0
  let freshFrom = Number.NEGATIVE_INFINITY
  let polling: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined

  function empty(): void {
    lastOf.clear()
    held = []
    from = undefined
    position = 0
    freshFrom = Number.NEGATIVE_INFINITY
  }

  function apply(change: FeedChange): void {
    const { docType, issuingState, number, serial } = change
    const keys: string[] = []
    if (number !== undefined) keys.push(keyOf('n', docType, issuingState, number))
    if (serial !== undefined) keys.push(keyOf('s', docType, issuingState, serial))
    for (const key of keys) lastOf.set(key, change.position)
    held.push({ position: change.position, atMs: clock.now(), keys })
    position = change.position
  }

  /** Forgets what is older than the window, and then no longer vouches for what was asked before it. */
  function prune(): void {
    const oldest = clock.now() - limits.feedWindowMs
    let gone = 0
    while (
      gone < held.length &&
      ((held[gone] as Held).atMs < oldest || held.length - gone > limits.feedChangesMax)
    ) {
      const { position: at, keys } = held[gone] as Held
      for (const key of keys) if (lastOf.get(key) === at) lastOf.delete(key)
      from = at
      gone++
    }
    if (gone > 0) held = held.slice(gone)
  }

  async function pollOnce(): Promise<void> {
    const begun = clock.mono()
    for (;;) {
      const page = await fetchPage(from === undefined ? undefined : position)
      if (page === 'gone' || page.head < position) {
        empty()
        continue
      }
      const after = from === undefined ? page.first - 1 : position
      if (from === undefined) {
        from = after
        position = after
      }
      for (const change of page.changes) {
        if (change.position <= position) throw new Error('the feed is not in order')
        apply(change)
      }
      if (position >= page.head) break
      if (page.changes.length === 0) throw new Error('the feed ends before its head')
    }
    prune()
    freshFrom = begun
  }

  function poll(): Promise<void> {
    polling ??= pollOnce().finally(() => {
      polling = undefined
    })
    return polling
  }

  const tick = () => poll().catch((cause) => onError?.(cause))

  return {
    /** Reads up to the head, then polls. A bureau that is down leaves the feed stale, and start goes on. */
    async start(): Promise<void> {
      await tick()
      timer = setInterval(tick, limits.feedPollMs)
    },
    poll,
    position: () => position,
    /** Read to the head by a poll begun less than 750 ms ago. */
    isFresh: () => clock.mono() - freshFrom < limits.feedFreshMs,
    /** Whether no change after `at` is missing here. */
    covers: (at: number) => from !== undefined && at >= from && at <= position,
    /** Whether a change after `at` names this number or this card. */
    changedSince(
      at: number,
      who: { docType: string; state: string; number: string; serial: Buffer },
    ): boolean {
      const { docType, state, number, serial } = who
      const byNumber = lastOf.get(keyOf('n', docType, state, number))
      const bySerial = lastOf.get(keyOf('s', docType, state, serial.toString('base64url')))
      return (byNumber ?? -1) > at || (bySerial ?? -1) > at
    },
    async close(): Promise<void> {
      clearInterval(timer)
      await polling?.catch(() => {}) // It was told to onError.
    },
  }
}
