// The sealed cache of answers: size, tampering, moving, the rules of use, days and lives (PROTOCOL section 8).
import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import t from 'tap'
import { u32 } from '../../src/base/bytes.ts'
import { dayMs, manualClock } from '../../src/base/clock.ts'
import { seal } from '../../src/base/seal.ts'
import { bind } from '../../src/base/t2l.ts'
import {
  type CachedAnswer,
  type CachePlace,
  createAnswerCache,
  type FeedView,
  isUsable,
  openAnswer,
  sealAnswer,
} from '../../src/cache/answers.ts'
import { deriveCacheKey, printWho, type Who } from '../../src/cache/key.ts'

const startMs = Date.UTC(2026, 10, 23, 12)
const day = Math.floor(startMs / dayMs)
const who: Who = {
  docType: 'ID',
  state: 'CHN',
  number: '780001199001010017',
  name: '欧阳春晓',
  serial: Buffer.alloc(16, 3),
  validTo: '20360101',
}
const secret = createSecretKey(Buffer.alloc(32, 9))
const placeOf = (carrier = 'carrier-one', on = day, person = who): CachePlace => ({
  day: on,
  ...deriveCacheKey(secret, carrier, printWho(person)),
})
const yes: CachedAnswer = {
  answer: 1,
  refusal: 0,
  issuedAtMs: startMs,
  expiresAtMs: startMs + dayMs,
  position: 77,
  transaction: Buffer.alloc(16, 5),
}
const no: CachedAnswer = { ...yes, answer: 2, refusal: 33, expiresAtMs: startMs + 60_000 }

t.test('what is sealed opens at its own place, and is 76 bytes for every answer', async (t) => {
  const most: CachedAnswer = {
    ...no,
    refusal: 255,
    position: Number.MAX_SAFE_INTEGER,
    issuedAtMs: 0,
    expiresAtMs: Number.MAX_SAFE_INTEGER,
  }
  for (const value of [yes, no, most]) {
    const sealed = sealAnswer(value, placeOf())
    t.equal(sealed.length, 12 + 48 + 16)
    t.same(openAnswer(sealed, placeOf()), value)
  }
  t.notSame(sealAnswer(yes, placeOf()), sealAnswer(yes, placeOf()), 'the nonce is random')
})

t.test('every flipped bit, every truncation and every longer value is refused', async (t) => {
  const place = placeOf()
  const sealed = sealAnswer(yes, place)
  let opened = 0
  for (let bit = 0; bit < sealed.length * 8; bit += 1) {
    const changed = Buffer.from(sealed)
    changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    if (openAnswer(changed, place)) opened += 1
  }
  for (let length = 0; length < sealed.length; length += 1) {
    if (openAnswer(sealed.subarray(0, length), place)) opened += 1
  }
  if (openAnswer(Buffer.concat([sealed, Buffer.alloc(1)]), place)) opened += 1
  t.equal(opened, 0, `of ${sealed.length * 9 + 1}`)
})

t.test('a value moved to another place does not open', async (t) => {
  const sealed = sealAnswer(yes, placeOf())
  const own = placeOf()
  const elsewhere: [string, CachePlace][] = [
    ['another person', placeOf('carrier-one', day, { ...who, number: '780001199001010025' })],
    ['another name', placeOf('carrier-one', day, { ...who, name: '欧阳春明' })],
    ['another card', placeOf('carrier-one', day, { ...who, serial: Buffer.alloc(16, 4) })],
    ['another carrier', placeOf('carrier-two')],
    ['another day', placeOf('carrier-one', day + 1)],
    ['another key', { ...own, ck: Buffer.alloc(16) }],
    ['another sealing key', { ...own, vk: () => randomBytes(32) }],
  ]
  for (const [what, place] of elsewhere) t.equal(openAnswer(sealed, place), undefined, what)
})

t.test('what is sealed rightly but is no answer does not open', async (t) => {
  const place = placeOf()
  const aad = bind('cache', u32(place.day), place.ck)
  const plain = Buffer.alloc(48)
  plain.writeUInt8(1, 0)
  plain.writeBigUInt64BE(BigInt(startMs), 2)
  plain.writeBigUInt64BE(BigInt(startMs + 1), 10)
  t.ok(openAnswer(seal(place.vk(), plain, aad), place), 'the form this table changes is right')
  const wrong: [string, (bytes: Buffer) => unknown][] = [
    ['answer 0', (b) => b.writeUInt8(0, 0)],
    ['answer 3', (b) => b.writeUInt8(3, 0)],
    ['a yes with a refusal', (b) => b.writeUInt8(30, 1)],
    ['a no without a refusal', (b) => b.writeUInt8(2, 0)],
    ['ends when it begins', (b) => b.writeBigUInt64BE(BigInt(startMs), 10)],
    ['issued beyond a safe integer', (b) => b.writeBigUInt64BE(2n ** 53n, 2)],
    ['ends beyond a safe integer', (b) => b.writeBigUInt64BE(2n ** 53n, 10)],
    ['position beyond a safe integer', (b) => b.writeBigUInt64BE(2n ** 64n - 1n, 18)],
    ...[42, 43, 44, 45, 46, 47].map(
      (at) => [`padding byte ${at}`, (b: Buffer) => b.writeUInt8(1, at)] as [string, (b: Buffer) => unknown],
    ),
  ]
  for (const [what, change] of wrong) {
    const changed = Buffer.from(plain)
    change(changed)
    t.equal(openAnswer(seal(place.vk(), changed, aad), place), undefined, what)
  }
  for (const length of [0, 47, 49]) {
    t.equal(openAnswer(seal(place.vk(), Buffer.alloc(length), aad), place), undefined, `${length} bytes`)
  }
})

const quiet: FeedView = { isFresh: () => true, covers: () => true, changedSince: () => false }

t.test('an answer is used only by the rules of PROTOCOL section 8', async (t) => {
  const rows: [string, CachedAnswer, { nowMs?: number; feed?: Partial<FeedView> }, boolean][] = [
    ['all is well', yes, {}, true],
    ['a no, all is well', no, {}, true],
    ['the last ms of its life', yes, { nowMs: yes.expiresAtMs - 1 }, true],
    ['expired by our clock', yes, { nowMs: yes.expiresAtMs }, false],
    ['a no expired by our clock', no, { nowMs: no.expiresAtMs }, false],
    ['issued 5 s ahead of our clock', yes, { nowMs: startMs - 5000 }, true],
    ['issued more than 5 s ahead', yes, { nowMs: startMs - 5001 }, false],
    ['feed not fresh', yes, { feed: { isFresh: () => false } }, false],
    ['a no, feed not fresh', no, { feed: { isFresh: () => false } }, false],
    ['position no longer covered', yes, { feed: { covers: () => false } }, false],
    ['position just covered', yes, { feed: { covers: (position) => position >= 77 } }, true],
    ['position just not covered', yes, { feed: { covers: (position) => position >= 78 } }, false],
    ['a later change names the person', yes, { feed: { changedSince: () => true } }, false],
    ['a no, a later change names the person', no, { feed: { changedSince: () => true } }, false],
  ]
  for (const [what, value, { nowMs = startMs, feed = {} }, usable] of rows) {
    t.equal(isUsable(value, who, { nowMs, feed: { ...quiet, ...feed } }), usable, what)
  }
  isUsable(yes, who, {
    nowMs: startMs,
    feed: {
      ...quiet,
      changedSince(position, named) {
        t.equal(position, 77)
        t.match(named, { docType: 'ID', state: 'CHN', number: who.number, serial: who.serial })
        return false
      },
    },
  })
})

function setUp(options: { secretOf?: (day: number) => KeyObject | undefined; feed?: FeedView } = {}) {
  const clock = manualClock(startMs)
  const held = new Map<string, { value: Buffer; ttlMs: number }>()
  const calls: string[][] = []
  const store = {
    async readAnswers(keys: readonly string[]) {
      calls.push([...keys])
      return keys.map((key) => held.get(key)?.value)
    },
    putAnswer: (key: string, value: Buffer, ttlMs: number) => void held.set(key, { value, ttlMs }),
  }
  const secrets = new Map<number, KeyObject>()
  const secretOf = (of: number) => {
    const key = secrets.get(of) ?? createSecretKey(randomBytes(32))
    secrets.set(of, key)
    return key
  }
  const feed = options.feed ?? quiet
  const draws: number[] = []
  const random = (below: number) => {
    draws.push(below)
    return below - 1
  }
  const cache = createAnswerCache({ store, secretOf: options.secretOf ?? secretOf, feed, clock, random })
  return { cache, clock, held, calls, store, draws, secretOf }
}

const fresh = { answer: 1, refusal: 0, position: 77, transaction: Buffer.alloc(16, 5) } as const

t.test('an answer written is read again, by one call for both days', async (t) => {
  const { cache, calls, held } = setUp()
  const slots = cache.prepare('carrier-one', who)
  t.equal(await cache.read(slots), undefined)
  cache.write(slots, fresh)
  t.match(await cache.read(slots), { ...fresh, issuedAtMs: startMs })
  t.equal(calls.length, 2)
  t.match(calls[0], [new RegExp(`^v1:c:${day}:`), new RegExp(`^v1:c:${day - 1}:`)])
  t.same([...held.keys()], [calls[0]?.[0]], 'written under the current day')
})

t.test('the read leaves in the tick of its call', async (t) => {
  const { cache, calls } = setUp()
  const reading = cache.read(cache.prepare('carrier-one', who))
  t.equal(calls.length, 1)
  await reading
})

t.test('a yes lives 24 h less up to a tenth by chance, a no 60 s, by store and by seal', async (t) => {
  const { cache, clock, held, draws } = setUp()
  const slots = cache.prepare('carrier-one', who)
  cache.write(slots, fresh)
  t.same(draws, [dayMs / 10 + 1], 'one draw from 0 to a tenth of a day')
  t.equal([...held.values()][0]?.ttlMs, dayMs - dayMs / 10)
  t.equal((await cache.read(slots))?.expiresAtMs, startMs + dayMs * 0.9)
  cache.write(slots, { ...fresh, answer: 2, refusal: 31 })
  t.equal([...held.values()][0]?.ttlMs, 60_000)
  clock.advance(59_999)
  t.match(await cache.read(slots), { answer: 2, refusal: 31 })
  clock.advance(1)
  t.equal(await cache.read(slots), undefined, 'expired by our own clock, though the store still has it')
})

t.test('the default chance stays within its bounds and varies', async (t) => {
  const { clock, store, secretOf } = setUp()
  const lives = new Set<number>()
  const counting = {
    ...store,
    putAnswer: (_key: string, _value: Buffer, ttlMs: number) => void lives.add(ttlMs),
  }
  const cache = createAnswerCache({ store: counting, secretOf, feed: quiet, clock })
  for (let i = 0; i < 200; i += 1) cache.write(cache.prepare('carrier-one', who), fresh)
  t.ok(Math.min(...lives) >= dayMs * 0.9 && Math.max(...lives) <= dayMs)
  t.ok(lives.size > 150)
})

t.test('an answer of the day before is read, one of two days before is not', async (t) => {
  const { cache, clock } = setUp({ secretOf: () => secret })
  cache.write(cache.prepare('carrier-one', who), fresh)
  clock.advance(13 * 3_600_000)
  const next = cache.prepare('carrier-one', who)
  t.equal(next.current?.day, day + 1)
  t.match(await cache.read(next), fresh)
  clock.advance(dayMs)
  t.equal(await cache.read(cache.prepare('carrier-one', who)), undefined)
})

t.test('an unusable answer of today does not hide a usable one of yesterday', async (t) => {
  const { cache, clock, held } = setUp()
  cache.write(cache.prepare('carrier-one', who), fresh)
  clock.advance(13 * 3_600_000)
  const slots = cache.prepare('carrier-one', who)
  cache.write(slots, { ...fresh, answer: 2, refusal: 31 })
  t.match(await cache.read(slots), { answer: 2 }, 'today comes first')
  clock.advance(60_000)
  t.match(await cache.read(slots), { answer: 1 })
  for (const entry of held.values()) entry.value.fill(0)
  t.equal(await cache.read(slots), undefined, 'what does not open is a miss')
})

t.test('another carrier or another person reads nothing', async (t) => {
  const { cache } = setUp()
  cache.write(cache.prepare('carrier-one', who), fresh)
  t.equal(await cache.read(cache.prepare('carrier-two', who)), undefined)
  t.equal(await cache.read(cache.prepare('carrier-one', { ...who, validTo: '20360102' })), undefined)
})

t.test('whoever can write to the store cannot move a yes', async (t) => {
  const { cache, held } = setUp()
  const slots = cache.prepare('carrier-one', who)
  cache.write(slots, fresh)
  const stolen = [...held.values()][0]?.value ?? Buffer.alloc(0)
  for (const other of [
    cache.prepare('carrier-two', who),
    cache.prepare('carrier-one', { ...who, state: 'TWN' }),
  ]) {
    cache.write(other, { ...fresh, answer: 2, refusal: 30 })
    const key = [...held.keys()].at(-1) ?? ''
    held.set(key, { value: stolen, ttlMs: 1 })
    t.equal(await cache.read(other), undefined)
  }
})

t.test('the feed is asked at each read, not only once', async (t) => {
  let changed = false
  const { cache } = setUp({ feed: { ...quiet, changedSince: () => changed } })
  const slots = cache.prepare('carrier-one', who)
  cache.write(slots, fresh)
  t.ok(await cache.read(slots))
  changed = true
  t.equal(await cache.read(slots), undefined)
})

t.test('a day without a secret neither reads nor writes, and questions are still one', async (t) => {
  const none = setUp({ secretOf: () => undefined })
  const slots = none.cache.prepare('carrier-one', who)
  none.cache.write(slots, fresh)
  t.equal(await none.cache.read(slots), undefined)
  t.equal(none.calls.length + none.held.size, 0)
  t.equal(none.cache.prepare('carrier-one', who).flightKey, slots.flightKey)
  t.not(none.cache.prepare('carrier-two', who).flightKey, slots.flightKey)
  const young = setUp({ secretOf: (of) => (of === day ? secret : undefined) })
  const both = young.cache.prepare('carrier-one', who)
  young.cache.write(both, fresh)
  t.ok(await young.cache.read(both))
  t.equal(young.calls[0]?.length, 1)
})

t.test('flight keys tell people and carriers apart and do not show them', async (t) => {
  const { cache } = setUp()
  const keys = [
    cache.prepare('carrier-one', who),
    cache.prepare('carrier-two', who),
    cache.prepare('carrier-one', { ...who, name: '欧阳春明' }),
  ].map(({ flightKey }) => flightKey)
  t.equal(new Set(keys).size, 3)
  t.ok(keys.every((key) => /^[\w-]{22}$/.test(key)))
})

t.test('a store that fails fails the read and nothing else', async (t) => {
  const { clock } = setUp()
  const store = {
    readAnswers: () => Promise.reject(new Error('store gone')),
    putAnswer: () => {},
  }
  const cache = createAnswerCache({ store, secretOf: () => secret, feed: quiet, clock })
  const slots = cache.prepare('carrier-one', who)
  await t.rejects(cache.read(slots), /store gone/)
  t.doesNotThrow(() => cache.write(slots, fresh))
})
