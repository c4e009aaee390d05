// Answers of the bureau, sealed so that whoever reads or writes the store learns and moves nothing, and used
// only while the change feed vouches for them (PROTOCOL section 8). It knows no store, only two functions.
import { type KeyObject, randomInt } from 'node:crypto'
import { assert } from '../base/assert.ts'
import { printBase64url, readU64, sha256, u32 } from '../base/bytes.ts'
import { type Clock, dayMs, epochOf } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { open, seal, sealOverhead } from '../base/seal.ts'
import { bind } from '../base/t2l.ts'
import { deriveCacheKey, printWho, storageKey, type Who } from './key.ts'

/**
 * An answer as cached: 1 yes, 2 no with the refusal; Unix times in ms; `position` of the feed before the
 * question was sent; `transaction` 16 bytes of the bureau.
 */
export type CachedAnswer = {
  answer: 1 | 2
  refusal: number
  issuedAtMs: number
  expiresAtMs: number
  position: number
  transaction: Buffer
}

/** Where a cached answer lies: its day and the two keys of the person with the carrier. */
export type CachePlace = { day: number; ck: Buffer; vk: () => Buffer }

const answerBytes = 48
const padding = Buffer.alloc(6)
export const sealedAnswerBytes = answerBytes + sealOverhead

const aadOf = (at: { day: number; ck: Buffer }) => bind('cache', u32(at.day), at.ck)

/** Seals an answer to its place: always `sealedAnswerBytes` long. */
export function sealAnswer(value: CachedAnswer, at: CachePlace): Buffer {
  assert(value.transaction.length === 16, 'a transaction has 16 bytes')
  const plain = Buffer.alloc(answerBytes) // The last six are padding.
  plain[0] = value.answer
  plain[1] = value.refusal
  plain.writeBigUInt64BE(BigInt(value.issuedAtMs), 2)
  plain.writeBigUInt64BE(BigInt(value.expiresAtMs), 10)
  plain.writeBigUInt64BE(BigInt(value.position), 18)
  plain.set(value.transaction, 26)
  return seal(at.vk(), plain, aadOf(at))
}

/** Opens what `sealAnswer` made for this very place; undefined for anything else. */
export function openAnswer(sealed: Buffer, at: CachePlace): CachedAnswer | undefined {
  if (sealed.length !== sealedAnswerBytes) return undefined
  const plain = open(at.vk(), sealed, aadOf(at))
  return plain && parseAnswer(plain)
}

function parseAnswer(plain: Buffer): CachedAnswer | undefined {
  const [answer, refusal] = [plain.readUInt8(0), plain.readUInt8(1)]
  if (answer !== 1 && answer !== 2) return undefined
  if ((answer === 1) !== (refusal === 0)) return undefined
  if (!plain.subarray(42).equals(padding)) return undefined
  const offsets = [2, 10, 18]
  if (offsets.some((offset) => plain.readUInt32BE(offset) > 0x1f_ffff)) return undefined // Beyond 2^53 - 1.
  const [issuedAtMs, expiresAtMs, position] = [readU64(plain, 2), readU64(plain, 10), readU64(plain, 18)]
  if (expiresAtMs <= issuedAtMs) return undefined
  return { answer, refusal, issuedAtMs, expiresAtMs, position, transaction: plain.subarray(26, 42) }
}

/** What the change feed of this node can say about a cached answer. */
export type FeedView = {
  /** The feed was read to its head by a poll begun less than 750 ms ago. */
  isFresh(): boolean
  /** This node holds every change after `position`. */
  covers(position: number): boolean
  /** A change after `position` names (docType, state, number) or (docType, state, serial). */
  changedSince(
    position: number,
    who: { docType: string; state: string; number: string; serial: Buffer },
  ): boolean
}

/** Whether an answer, yes or no, may be given again now; if not, it is a miss. */
export function isUsable(value: CachedAnswer, who: Who, options: { nowMs: number; feed: FeedView }): boolean {
  const { nowMs, feed } = options
  if (nowMs >= value.expiresAtMs) return false
  if (value.issuedAtMs > nowMs + limits.clockSkewS * 1000) return false // Our clock, or the writer's, is wrong.
  return isCurrent(value.position, who, feed)
}

/** Whether an answer of that position is still the bureau's, as far as its news tells. */
export const isCurrent = (position: number, who: Who, feed: FeedView): boolean =>
  feed.isFresh() && feed.covers(position) && !feed.changedSince(position, who)

/** Where the answer about one person for one carrier may lie; `flightKey` names the question within this node. */
export type Slots = {
  readonly who: Who
  readonly flightKey: string
  readonly current: CachePlace | undefined
  readonly previous: CachePlace | undefined
}

/** What the bureau said, before it has times. */
export type FreshAnswer = Pick<CachedAnswer, 'answer' | 'refusal' | 'position' | 'transaction'>

export type AnswerCache = {
  /** Derives the keys of the current and the previous day; no input or output. */
  prepare(carrier: string, who: Who): Slots
  /** Reads both days in one call, made in this tick; undefined is a miss. Rejects as the store does. */
  read(slots: Slots): Promise<CachedAnswer | undefined>
  /** Keeps an answer under the current day: a yes 24 h less a random 0-10 %, a no 60 s. Not awaited. */
  write(slots: Slots, value: FreshAnswer): void
}

/**
 * The cache of bureau answers over a store's two functions.
 * @param options.secretOf K_cache of a day (Unix days) or undefined: then that day neither reads nor writes
 * @param options.random integer from 0 up to but without its argument; by default crypto.randomInt
 */
export function createAnswerCache(options: {
  store: {
    readAnswers(keys: readonly string[]): Promise<(Buffer | undefined)[]>
    putAnswer(key: string, value: Buffer, ttlMs: number): void
  }
  secretOf: (day: number) => KeyObject | undefined
  feed: FeedView
  clock: Clock
  random?: (below: number) => number
}): AnswerCache {
  const { store, secretOf, feed, clock, random = randomInt } = options

  const placeOf = (day: number, carrier: string, who: Buffer): CachePlace | undefined => {
    const secret = secretOf(day)
    return secret && { day, ...deriveCacheKey(secret, carrier, who) }
  }
  const keyOf = (place: CachePlace) => storageKey(place.day, place.ck)
  const lifeMs = (answer: 1 | 2) =>
    answer === 1 ? limits.cachePositiveMs - random(limits.cachePositiveMs / 10 + 1) : limits.cacheNegativeMs

  return {
    prepare(carrier, who) {
      const printed = printWho(who)
      const today = epochOf(clock.now(), dayMs)
      const current = placeOf(today, carrier, printed)
      const previous = placeOf(today - 1, carrier, printed)
      // Without a secret nothing is cached, but questions at once are still one.
      const name = current ? current.ck : sha256(bind('ck', carrier, printed))
      return { who, flightKey: printBase64url(name), current, previous }
    },
    async read(slots) {
      const places = [slots.current, slots.previous].filter((place) => place !== undefined)
      if (places.length === 0) return undefined
      const found = await store.readAnswers(places.map(keyOf))
      const nowMs = clock.now()
      for (const [i, place] of places.entries()) {
        const sealed = found[i]
        const value = sealed && openAnswer(sealed, place)
        if (value && isUsable(value, slots.who, { nowMs, feed })) return value
      }
      return undefined
    },
    write(slots, { answer, refusal, position, transaction }) {
      if (!slots.current) return
      const ttlMs = lifeMs(answer)
      const issuedAtMs = clock.now()
      const value = { answer, refusal, position, transaction, issuedAtMs, expiresAtMs: issuedAtMs + ttlMs }
      store.putAnswer(keyOf(slots.current), sealAnswer(value, slots.current), ttlMs)
    },
  }
}
