// Revokes the tokens of whom the bureau names: a change of its feed leads by tag to the answers of the last 24 h
// about that person or card (PROTOCOL sections 9 to 11). Of a private row only carrier and token id are taken.
import type { KeyObject } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { parseBase64url } from './base/bytes.ts'
import { type Clock, dayMs, epochOf } from './base/clock.ts'
import { limits } from './base/limits.ts'
import type { Feed, FeedListener } from './bureau/feed.ts'
import type { FeedChange } from './bureau/protocol.ts'
import { deriveCardTag, deriveSubjectTag, openRow, parseEntry, parsePrivate } from './ledger/entry.ts'
import type { RecordKeyOf } from './ledger/issue.ts'
import type { Ledger } from './ledger/ledger.ts'
import {
  keepFeedPosition,
  readFeedPosition,
  revokeTokens,
  type TokenToRevoke,
} from './registry/revoked-tokens.ts'
import type { RegistryDb } from './registry/schema.ts'
import { answerCode } from './verify/outcome.ts'

type Options = {
  db: RegistryDb
  clock: Clock
  feed: Pick<Feed, 'onChange' | 'isFresh' | 'position'>
  ledger: Pick<Ledger, 'indicesOfTag' | 'readEntry' | 'readPrivate'>
  /** Tag key of a day (Unix days); undefined if that day has none. */
  tagKeyOf: (day: number) => Promise<KeyObject | undefined>
  recordKeyOf: RecordKeyOf
  onError: (cause: unknown) => void
}

const tokenLifeMs = limits.answerTokenLifeS * 1000
/** A request that asked before the change may be recorded after it: each change is looked at again by then. */
const lookAgainMs = limits.requestMsMax + 1000
const tryAgainMs = 1000
const lookEveryMs = 100
/** The position is a write of its own; what is looked at twice after a restart costs little. */
const keepEveryMs = 5000
const atOnce = 64

type Due = { change: FeedChange; looks: 1 | 2; atMs: number }

/**
 * Follows the feed from the last position that was done with, across restarts. `start` before the feed is started,
 * so that it misses none.
 */
export async function followTokenRevocations(options: Options): Promise<{ close(): Promise<void> }> {
  const { feed, onError } = options
  const follower = new Follower(options, await readFeedPosition(options.db))
  const stop = feed.onChange(follower)
  let running: Promise<void> | undefined
  const timer = setInterval(() => {
    const due = running ? [] : follower.take()
    if (due.length === 0) return
    running = follower
      .look(due)
      .catch(onError)
      .finally(() => {
        running = undefined
      })
  }, lookEveryMs)
  return {
    async close() {
      stop()
      clearInterval(timer)
      await running
    },
  }
}

/** What is to be looked at, and up to where the feed is done with. */
class Follower implements FeedListener {
  readonly #options: Options
  /** In the order of the feed, which is the order in which they are due; then those that failed. */
  #first: Due[] = []
  #second: Due[] = []
  #failed: Due[] = []
  /** Every change up to here was looked at twice, but for those that wait. */
  #done: number
  #kept: number
  #keptAt = Number.NEGATIVE_INFINITY
  #begun = false

  constructor(options: Options, done: number) {
    this.#options = options
    this.#done = done
    this.#kept = done
  }

  change(change: FeedChange): void {
    this.#first.push({ change, looks: 1, atMs: this.#options.clock.mono() })
  }

  anew(): void {
    this.#done = 0
    this.#kept = 0
    this.#first = []
    this.#second = []
    this.#failed = []
  }

  /** Takes what is due now, at most `atOnce`; nothing before the feed was read to its head. */
  take(): Due[] {
    this.#begin()
    if (!this.#begun) return []
    const nowMs = this.#options.clock.mono()
    const due: Due[] = []
    for (const waiting of [this.#second, this.#failed, this.#first]) {
      const later = waiting.findIndex(({ atMs }) => atMs > nowMs)
      const ready = later < 0 ? waiting.length : later
      due.push(...waiting.splice(0, Math.min(ready, atOnce - due.length)))
    }
    return due
  }

  /** One look at each change; what fails is looked at again and holds up no other. */
  async look(due: readonly Due[]): Promise<void> {
    const { db, clock, onError } = this.#options
    const tokens: TokenToRevoke[] = []
    const looked: Due[] = []
    for (const one of due) {
      try {
        tokens.push(...(await tokensOf(this.#options, one.change)))
        looked.push(one)
      } catch (cause) {
        onError(cause)
        this.#again([one])
      }
      await turn() // A search takes its time in this thread: others have theirs between two.
    }
    try {
      await revokeTokens(db, { tokens, nowMs: clock.now() })
    } catch (cause) {
      this.#again(looked)
      throw cause
    }
    // Dying before this: the changes are looked at again, and what is revoked stays so.
    for (const { change, looks } of looked) {
      if (looks === 1) this.#second.push({ change, looks: 2, atMs: clock.mono() + lookAgainMs })
      else this.#done = Math.max(this.#done, change.position)
    }
    await this.#keepDone()
  }

  #again(due: readonly Due[]): void {
    const atMs = this.#options.clock.mono() + tryAgainMs
    for (const one of due) this.#failed.push({ ...one, atMs })
  }

  /**
   * What was done with before this process is passed over, unless the bureau has begun its numbering anew; and
   * everything is, if there is nothing yet that could be revoked.
   */
  #begin(): void {
    const { feed, ledger } = this.#options
    if (this.#begun || !feed.isFresh()) return
    this.#begun = true
    const head = feed.position()
    if (head < this.#done) {
      this.#done = 0
      this.#kept = 0
    }
    if (this.#done === 0 && ledger.readEntry(0) === undefined) this.#done = head
    this.#first = this.#first.filter(({ change }) => change.position > this.#done)
  }

  /** A change that is not done with holds the position back: it would be missed after a restart. */
  async #keepDone(): Promise<void> {
    const { db, clock } = this.#options
    const heads = [this.#first[0], this.#second[0], ...this.#failed].filter((one) => one !== undefined)
    const waiting = Math.min(this.#done + 1, ...heads.map(({ change }) => change.position))
    const safe = Math.min(this.#done, waiting - 1)
    if (safe <= this.#kept || clock.mono() - this.#keptAt < keepEveryMs) return
    this.#keptAt = clock.mono()
    await keepFeedPosition(db, safe)
    this.#kept = safe
  }
}

/** Tokens in force that say yes about whom a change names. */
async function tokensOf(options: Options, change: FeedChange): Promise<TokenToRevoke[]> {
  const { clock, ledger, tagKeyOf, recordKeyOf } = options
  const sinceMs = clock.now() - tokenLifeMs
  const indices = new Set<number>()
  for (let day = epochOf(sinceMs, dayMs); day <= epochOf(clock.now(), dayMs); day++) {
    const tagKey = await tagKeyOf(day)
    if (!tagKey) continue
    for (const [kind, tag] of tagsOf(tagKey, change))
      for (const index of ledger.indicesOfTag(kind, tag, sinceMs)) indices.add(index)
  }
  const tokens: TokenToRevoke[] = []
  for (const index of indices) {
    const entry = parseEntry(ledger.readEntry(index)?.data ?? Buffer.alloc(0))
    if (entry?.answer !== answerCode.yes) continue
    const row = ledger.readPrivate(index)
    const key = row && (await recordKeyOf(row.day))
    const who = row && key && parsePrivate(openRow(key, row.day, row.blob) ?? Buffer.alloc(0))?.who
    if (!who) throw new Error(`The private row of entry ${index} cannot be opened: its token is not revoked`)
    tokens.push({ jti: who.jti, carrier: who.carrier, endsAtMs: entry.timeMs + tokenLifeMs })
  }
  return tokens
}

type Tag = ['subject' | 'card', Buffer]

function tagsOf(tagKey: KeyObject, { docType, issuingState: state, number, serial }: FeedChange): Tag[] {
  const tags: Tag[] = []
  if (number !== undefined) {
    const read = docType === 'ID' ? number.toUpperCase() : number // x is read as X (PROTOCOL section 8).
    tags.push(['subject', deriveSubjectTag(tagKey, { docType, state, number: read })])
  }
  const bytes = serial === undefined ? undefined : parseBase64url(serial)
  if (bytes) tags.push(['card', deriveCardTag(tagKey, { docType, state, serial: bytes })])
  return tags
}
