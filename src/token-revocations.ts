// Revokes the tokens of whom the bureau names: a change of its feed leads by tag to the answers of the last 24 h
// about that person or card (PROTOCOL sections 9 to 11). Of a private row only carrier and token id are taken.
import type { KeyObject } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { parseBase64url, printBase64url } from './base/bytes.ts'
import { type Clock, dayMs, epochOf } from './base/clock.ts'
import { limits } from './base/limits.ts'
import type { Feed, FeedListener } from './bureau/feed.ts'
import type { FeedChange } from './bureau/protocol.ts'
import {
  deriveCardTag,
  deriveSubjectTag,
  openRow,
  parseEntry,
  parsePrivate,
  type Subject,
} from './ledger/entry.ts'
import type { RecordKeyOf } from './ledger/issue.ts'
import type { Ledger } from './ledger/ledger.ts'
import type { RegistryReader } from './registry/reader.ts'
import {
  keepFeedPosition,
  readFeedPosition,
  revokeTokens,
  type TokenToRevoke,
} from './registry/revoked-tokens.ts'
import type { RegistryDb } from './registry/schema.ts'
import { answerCode } from './verify/outcome.ts'
import type { LedgerView } from './verify/services.ts'

type Options = {
  db: RegistryDb
  clock: Clock
  feed: Pick<Feed, 'onChange' | 'isFresh' | 'position'>
  /** The one that tells here which tokens are revoked. */
  registry: Pick<RegistryReader, 'poll'>
  ledger: Pick<Ledger, 'indicesOfTag' | 'readEntry' | 'readPrivate' | 'settled'>
  /** Tag key of a day (Unix days); undefined if that day has none. */
  tagKeyOf: (day: number) => Promise<KeyObject | undefined>
  recordKeyOf: RecordKeyOf
  /** Told again and again how many changes wait for their first look. */
  onWaiting: (count: number) => void
  onError: (cause: unknown) => void
}

export type TokenRevocations = {
  /**
   * Whether the feed is fresh and none of its changes waits for long: else a token may be revoked and not known so.
   */
  isFresh(): boolean
  /** Told of each yes once it is durable: whom the bureau has just named is looked for again at once. */
  recorded(subject: Subject | undefined): void
  close(): Promise<void>
}

const tokenLifeMs = limits.answerTokenLifeS * 1000
/** A request that asked before the change may be recorded after it, by any gateway: looked at again by then. */
const lookAgainMs = limits.requestMsMax + 1000
const tryAgainMs = 1000
const lookEveryMs = 50
/** The position is a write of its own; what is looked at twice after a restart costs little. */
const keepEveryMs = 5000
const atOnce = 64
/** With a poll of the feed and one of the registry, within a second. */
const waitMsMax = 250

/** `atMs` is when it is due, `sinceMs` when it came (monotonic ms). */
type Due = { change: FeedChange; looks: 1 | 2; atMs: number; sinceMs: number }

/** Follows the feed, which is started after it, from the last position that was done with, across restarts. */
export async function followTokenRevocations(options: Options): Promise<TokenRevocations> {
  const { feed, onWaiting, onError } = options
  const follower = new Follower(options, await readFeedPosition(options.db))
  const stop = feed.onChange(follower)
  let closed = false
  let running: Promise<void> | undefined

  async function lookAtAll(): Promise<void> {
    for (let due = follower.take(); due.length > 0 && !closed; due = follower.take()) await follower.look(due)
    await follower.keepDone()
  }

  const timer = setInterval(() => {
    onWaiting(follower.waiting())
    running ??= lookAtAll()
      .catch(onError)
      .finally(() => {
        running = undefined
      })
  }, lookEveryMs)
  return {
    isFresh: () => feed.isFresh() && follower.waitsMs() < waitMsMax,
    recorded: (subject) => subject && follower.recorded(subject),
    async close() {
      closed = true
      stop()
      clearInterval(timer)
      await running
    },
  }
}

const firstsOf = (queue: readonly Due[]) => queue.filter(({ looks }) => looks === 1)

/** What is to be looked at, and up to where the feed is done with. */
class Follower implements FeedListener {
  readonly #options: Options
  /** What came while we follow, before what was there at the start; then second looks, and what failed. */
  #news: Due[] = []
  #backlog: Due[] = []
  #second: Due[] = []
  #failed: Due[] = []
  /** Changes that wait for their second look, by whom they name. */
  readonly #named = new Map<string, FeedChange>()
  #settling: Promise<void> | undefined
  /** Every append that was made before is settled (monotonic ms). */
  #settledAtMs = Number.NEGATIVE_INFINITY
  /** First looks under way. */
  #looking: Due[] = []
  /** Every change up to here was looked at twice, but for those that wait. */
  #done: number
  #kept: number
  #keptAt = Number.NEGATIVE_INFINITY
  #begun = false
  /** Counts the numberings, so that what was begun under one changes nothing of the next. */
  #generation = 0

  constructor(options: Options, done: number) {
    this.#options = options
    this.#done = done
    this.#kept = done
  }

  change(change: FeedChange, head: number): void {
    if (head < this.#done) this.anew() // The bureau has begun its numbering anew while nobody followed.
    if (change.position <= this.#done) return
    const { clock, feed } = this.#options
    const nowMs = clock.mono()
    // Read late, after a time without news: nobody knows for how long it was there to be read.
    const sinceMs = feed.isFresh() ? nowMs : Number.NEGATIVE_INFINITY
    const due: Due = { change, looks: 1, atMs: nowMs, sinceMs }
    if (this.#begun) this.#news.push(due)
    else this.#backlog.push(due)
    // What was there before we began may be millions, and nothing was on its way here then.
    if (feed.isFresh()) for (const name of namesIn(change)) this.#named.set(name, change)
  }

  anew(): void {
    this.#generation++
    this.#done = 0
    this.#kept = Number.NEGATIVE_INFINITY // So that it is kept that nothing is done with.
    for (const queue of this.#queues()) queue.length = 0
    this.#named.clear()
  }

  /** The bureau was asked before it named them, or this would not be a yes: it is not left to the second look. */
  recorded(subject: Subject): void {
    if (this.#named.size === 0) return
    const nowMs = this.#options.clock.mono()
    // One change may name both the person and the card: it is looked at once.
    for (const change of new Set(namesOf(subject).map((name) => this.#named.get(name))))
      if (change) this.#news.push({ change, looks: 1, atMs: nowMs, sinceMs: nowMs })
  }

  /** Changes that were not looked at yet. */
  waiting(): number {
    const failed = this.#failed.length === 0 ? 0 : firstsOf(this.#failed).length
    return this.#news.length + this.#backlog.length + failed + this.#looking.length
  }

  /** How long the change has waited that waits longest for its first look; 0 if none does. Asked with each token. */
  waitsMs(): number {
    if (this.waiting() === 0) return 0
    const oldest = [this.#backlog[0], this.#news[0], ...this.#looking, ...firstsOf(this.#failed)]
    const nowMs = this.#options.clock.mono()
    return Math.max(0, ...oldest.map((one) => (one ? nowMs - one.sinceMs : 0)))
  }

  /** Takes what is due now, at most `atOnce`; nothing before the feed was read to its head. */
  take(): Due[] {
    const { clock } = this.#options
    this.#begin()
    if (!this.#begun) return []
    const nowMs = clock.mono()
    const due: Due[] = []
    // What was on its way when the change came is durable by a second look, or never will be.
    const [second] = this.#second
    if (second && second.atMs <= nowMs && second.atMs > this.#settledAtMs) this.#settling ??= this.#settle()
    const settledMs = Math.min(nowMs, this.#settledAtMs)
    for (const queue of [this.#news, this.#second, this.#failed]) {
      const limitMs = queue === this.#second ? settledMs : nowMs
      let ready = 0
      while (ready < atOnce - due.length && (queue[ready]?.atMs ?? Number.POSITIVE_INFINITY) <= limitMs)
        ready++
      due.push(...queue.splice(0, ready))
    }
    // All of it is due, and it may be millions: from its end, which moves nothing.
    due.push(...this.#backlog.splice(Math.max(0, this.#backlog.length - (atOnce - due.length))))
    this.#looking = firstsOf(due)
    return due
  }

  /** Waits until the second looks that are due now may be taken. */
  async #settle(): Promise<void> {
    const { clock, ledger } = this.#options
    const atMs = clock.mono()
    await ledger.settled()
    this.#settledAtMs = atMs
    this.#settling = undefined
  }

  /** One look at each change; what fails is looked at again and holds up no other. */
  async look(due: readonly Due[]): Promise<void> {
    const { db, clock, registry, onError } = this.#options
    const generation = this.#generation
    const tokens: TokenToRevoke[] = []
    const looked: Due[] = []
    for (const one of due) {
      try {
        tokens.push(...(await tokensOf(this.#options, one.change)))
        looked.push(one)
      } catch (cause) {
        onError(cause)
        if (generation === this.#generation) this.#again([one])
      }
      await turn() // A search takes its time in this thread: others have theirs between two.
    }
    try {
      await revokeTokens(db, { tokens, nowMs: clock.now() })
      // Only then is it known here that they are: until then a change still waits.
      if (tokens.length > 0) await registry.poll()
    } catch (cause) {
      if (generation === this.#generation) this.#again(looked)
      throw cause
    } finally {
      this.#looking = []
    }
    if (generation !== this.#generation) return
    // Dying before this: the changes are looked at again, and what is revoked stays so.
    for (const { change, looks, sinceMs } of looked) {
      if (looks === 1) this.#second.push({ change, looks: 2, atMs: clock.mono() + lookAgainMs, sinceMs })
      else this.#finish(change)
    }
  }

  #finish(change: FeedChange): void {
    this.#done = Math.max(this.#done, change.position)
    for (const name of namesIn(change)) if (this.#named.get(name) === change) this.#named.delete(name)
  }

  /** Keeps how far we are. A change that is not done with holds it back: it would be missed after a restart. */
  async keepDone(): Promise<void> {
    const { db, clock } = this.#options
    if (this.#done <= this.#kept || clock.mono() - this.#keptAt < keepEveryMs) return
    this.#keptAt = clock.mono()
    let safe = this.#done
    for (const queue of this.#queues())
      for (const { change } of queue) safe = Math.min(safe, change.position - 1)
    if (safe <= this.#kept) return
    const generation = this.#generation
    await keepFeedPosition(db, safe)
    if (generation === this.#generation) this.#kept = safe
  }

  #queues = () => [this.#news, this.#second, this.#failed, this.#backlog]

  #again(due: readonly Due[]): void {
    const atMs = this.#options.clock.mono() + tryAgainMs
    for (const one of due) this.#failed.push({ ...one, atMs })
  }

  /** Before the first entry there is nothing that could be revoked: what was before it is passed over. */
  #begin(): void {
    const { feed, ledger } = this.#options
    if (this.#begun || !feed.isFresh()) return
    this.#begun = true
    if (this.#done > 0 || ledger.readEntry(0) !== undefined) return
    this.#done = feed.position()
    // But for what has just come: an answer may be on its way.
    this.#backlog = this.#backlog.filter(({ sinceMs }) => sinceMs > Number.NEGATIVE_INFINITY)
  }
}

/** The ledger as a verification has it: each yes is told of once it is durable. */
export const tellingYes = (
  ledger: LedgerView,
  { recorded }: Pick<TokenRevocations, 'recorded'>,
): LedgerView => ({
  find: (challenge) => ledger.find(challenge),
  async append(entry) {
    const appended = await ledger.append(entry)
    if (entry.type === 'verify' && entry.answer === answerCode.yes) recorded(entry.subject)
    return appended
  },
})

/** Tokens in force that say yes about whom a change names. */
async function tokensOf(options: Options, change: FeedChange): Promise<TokenToRevoke[]> {
  const { clock, ledger, tagKeyOf, recordKeyOf, onError } = options
  const sinceMs = clock.now() - tokenLifeMs
  const indices = new Set<number>()
  for (let day = epochOf(sinceMs, dayMs); day <= epochOf(clock.now(), dayMs); day++) {
    const tagKey = await tagKeyOf(day)
    if (!tagKey) {
      // Both keys of a day are made with its first entry: without either there is none.
      if (await recordKeyOf(day)) throw new Error(`The tag key of day ${day} cannot be read`)
      continue
    }
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
    const endsAtMs = entry.timeMs + tokenLifeMs
    if (who) tokens.push({ jti: who.jti, carrier: who.carrier, endsAtMs })
    else if (entry.jtiHash) {
      onError(new Error(`The private row of entry ${index} cannot be opened: its carrier is not told`))
      tokens.push({ jti: entry.jtiHash, carrier: undefined, endsAtMs })
    }
  }
  return tokens
}

type Named = Pick<FeedChange, 'docType' | 'issuingState' | 'number' | 'serial'>

/** Whom a change names, as `namesOf` names them. */
const namesIn = ({ docType, issuingState, number, serial }: Named): string[] => [
  ...(number === undefined ? [] : [`${docType}/${issuingState}/${readNumber(docType, number)}`]),
  ...(serial === undefined ? [] : [`${docType}/${issuingState}/card/${serial}`]),
]

const namesOf = ({ docType, state, number, serial }: Subject): string[] =>
  namesIn({ docType, issuingState: state, number, serial: printBase64url(serial) })

/** x is read as X (PROTOCOL section 8). */
const readNumber = (docType: string, number: string) => (docType === 'ID' ? number.toUpperCase() : number)

type Tag = ['subject' | 'card', Buffer]

function tagsOf(tagKey: KeyObject, { docType, issuingState: state, number, serial }: FeedChange): Tag[] {
  const tags: Tag[] = []
  if (number !== undefined) {
    const subject = { docType, state, number: readNumber(docType, number) }
    tags.push(['subject', deriveSubjectTag(tagKey, subject)])
  }
  const bytes = serial === undefined ? undefined : parseBase64url(serial)
  if (bytes) tags.push(['card', deriveCardTag(tagKey, { docType, state, serial: bytes })])
  return tags
}
