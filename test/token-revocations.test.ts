// Tokens revoked by the bureau's feed: found by tag within a day, looked for twice, across restarts and a numbering that
// begins anew; and a fault of one change holds up no other.
import { createSecretKey, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { printBase64url } from '../src/base/bytes.ts'
import { dayMs, epochOf, manualClock } from '../src/base/clock.ts'
import type { FeedListener } from '../src/bureau/feed.ts'
import type { FeedChange } from '../src/bureau/protocol.ts'
import { deriveJti } from '../src/ledger/entry.ts'
import { openLedger, type VerifyEntry } from '../src/ledger/ledger.ts'
import { admitCarrier } from '../src/registry/carriers.ts'
import { createRegistryReader } from '../src/registry/reader.ts'
import { readFeedPosition, readRevokedTokens } from '../src/registry/revoked-tokens.ts'
import { openRegistry } from '../src/registry/schema.ts'
import { followTokenRevocations, tellingYes } from '../src/token-revocations.ts'
import { until } from './helpers/carrier.ts'
import { sessionOf, verifyOf } from './helpers/ledger.ts'

const startMs = Date.UTC(2026, 10, 24, 15, 59)
const person = { docType: 'ID', state: 'CHN', number: '780001199001010018', serial: Buffer.alloc(16, 7) }
const other = { ...person, number: '78000119900101002X', serial: Buffer.alloc(16, 8) }

function createFeed() {
  const listeners = new Set<FeedListener>()
  let head = 0
  const send = (change: Omit<FeedChange, 'position' | 'docType' | 'issuingState'>) => {
    const whole = { docType: 'ID', issuingState: 'CHN', ...change, position: ++head }
    for (const listener of listeners) listener.change(whole, head)
  }
  return {
    feed: {
      onChange(listener: FeedListener) {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
      isFresh: () => true,
      position: () => head,
    },
    lost: (number: string) => send({ kind: 'card_lost', number }),
    lostCard: (serial: Buffer) => send({ kind: 'card_lost', serial: printBase64url(serial) }),
    begin(at: number) {
      if (at < head) for (const listener of listeners) listener.anew()
      head = at
    },
  }
}

async function makePlace(t: Test) {
  const clock = manualClock(startMs)
  const folder = t.testdir()
  const db = await openRegistry(join(folder, 'registry.db'))
  await admitCarrier(db, { id: 'swift-crane', name: 'X', outlets: [], operator: 'lin.qiao', nowMs: startMs })
  const keys = new Map<number, { record: Buffer; tag: Buffer }>()
  const keysOf = (day: number) => {
    const found = keys.get(day) ?? { record: randomBytes(32), tag: randomBytes(32) }
    keys.set(day, found)
    return found
  }
  const dayKeys = async (day: number) => {
    const { record, tag } = keysOf(day)
    return { record: Buffer.from(record), tag: Buffer.from(tag) }
  }
  const ledger = await openLedger({ file: join(folder, 'ledger.db'), clock, dayKeys })
  t.teardown(async () => {
    await ledger.close()
    await db.destroy()
  })
  const faults: unknown[] = []
  /** Not started: it knows what it was made to read. */
  const registry = createRegistryReader({ db, clock })
  const options = (feed: ReturnType<typeof createFeed>['feed']) => ({
    ...{ db, clock, feed, ledger, registry },
    tagKeyOf: async (day: number) => (keys.has(day) ? createSecretKey(keysOf(day).tag) : undefined),
    recordKeyOf: async (day: number) => (keys.has(day) ? createSecretKey(keysOf(day).record) : undefined),
    onWaiting: () => {},
    onError: (cause: unknown) => faults.push(cause),
  })
  async function answer(subject: typeof person, word: 1 | 2 = 1, carrier = 'swift-crane') {
    const digest = randomBytes(32)
    const entry: VerifyEntry = {
      ...{
        type: 'verify',
        digest,
        challenge: randomBytes(42),
        expiresMs: clock.now() + 60_000,
        answer: word,
      },
      ...{ carrier, outlet: 'harbour', device: randomBytes(16), courier: Buffer.alloc(16) },
      ...{ parcel: randomBytes(32), sealedHash: randomBytes(32), refusal: word === 1 ? 0 : 30 },
      ...{ transaction: randomBytes(16), subject },
    }
    await ledger.append(entry)
    return printBase64url(deriveJti(digest))
  }
  const revoked = async () => (await readRevokedTokens(db, clock.now())).sort()
  return { clock, db, ledger, registry, options, answer, revoked, faults }
}

t.test('yes-tokens of the last 24 h about a person or card, over midnight, and no others', async (t) => {
  const p = await makePlace(t)
  const { feed, lost, lostCard } = createFeed()
  const old = await p.answer(person)
  p.clock.advance(dayMs - 60_000)
  const [yesterday] = [await p.answer(person)]
  const seen = epochOf(p.clock.now(), dayMs)
  p.clock.advance(9 * 3_600_000)
  t.not(epochOf(p.clock.now(), dayMs), seen, 'another day, with other keys')
  const today = await p.answer(person)
  const no = await p.answer(person, 2)
  const theirs = await p.answer(other)
  const follower = await followTokenRevocations(p.options(feed))
  t.teardown(() => follower.close())
  lost(person.number.toLowerCase())
  await until(async () => (await p.revoked()).length === 2, 'two')
  t.same(await p.revoked(), [yesterday, today].sort(), `not ${old}, ${no}`)
  lostCard(other.serial)
  await until(async () => (await p.revoked()).length === 3, 'by its card')
  t.ok((await p.revoked()).includes(theirs))
  t.same(p.faults, [])
})

t.test('an answer that was on its way when the change came is found by the second look', async (t) => {
  const p = await makePlace(t)
  const { feed, lost } = createFeed()
  await p.answer(other)
  const follower = await followTokenRevocations(p.options(feed))
  t.teardown(() => follower.close())
  lost(person.number)
  await sleep(300)
  const late = await p.answer(person)
  t.same(await p.revoked(), [])
  p.clock.advance(3900)
  await sleep(300)
  t.same(await p.revoked(), [], 'not yet')
  p.clock.advance(200)
  await until(async () => (await p.revoked()).includes(late), 'the second look')
})

t.test('a yes that this gateway recorded after the change is looked for at once', async (t) => {
  const p = await makePlace(t)
  const { feed, lost, lostCard } = createFeed()
  await p.answer(other)
  const follower = await followTokenRevocations(p.options(feed))
  t.teardown(() => follower.close())
  lost(person.number.toLowerCase())
  lostCard(other.serial)
  await until(async () => (await p.revoked()).length === 1, 'the first looks')
  const late = [await p.answer(person), await p.answer({ ...other, number: '780001199001010034' })]
  const unnamed = { ...person, number: '780001199001010042', serial: Buffer.alloc(16, 9) }
  await p.answer(unnamed)
  for (const subject of [person, other, unnamed, undefined]) follower.recorded(subject)
  const began = performance.now()
  await until(async () => (await p.revoked()).length === 3, 'by number and by card')
  t.ok(performance.now() - began < 1000, 'within a second, with the clock standing still')
  for (const jti of late) t.ok((await p.revoked()).includes(jti))
  p.clock.advance(4100)
  await until(async () => (await readFeedPosition(p.db)) === 2, 'done with')
  const after = await p.answer(person) // The bureau knew: were it yes, it would be the bureau's word.
  follower.recorded(person)
  await sleep(200)
  t.notOk((await p.revoked()).includes(after), 'and then no more')
  t.same(p.faults, [])
})

t.test('those who follow are told of each yes once it is durable, and of nothing else', async (t) => {
  const { ledger } = await makePlace(t)
  const told: unknown[] = []
  const telling = tellingYes(ledger, { recorded: (subject) => told.push([subject?.number]) })
  const subjectOf = (n: number) => ({ ...person, number: `78000119900101${n}` })
  const yes = verifyOf({ subject: subjectOf(1001) })
  const appended = await telling.append(yes)
  t.same(told, [['780001199001011001']])
  await telling.append(verifyOf({ answer: 2, refusal: 31, subject: subjectOf(1002) }))
  await telling.append(verifyOf({ type: 'undecided', answer: 3, subject: subjectOf(1003) }))
  await telling.append(sessionOf('{}'))
  t.equal(told.length, 1)
  t.match(await telling.find(yes.challenge), { index: (appended as { index: number }).index })
  await ledger.close()
  await t.rejects(telling.append(verifyOf({ subject: subjectOf(1004) })))
  t.equal(told.length, 1, 'nor of what may not stand')
})

t.test(
  'the position is kept once a change is done with, and found again; a new numbering is read from its start',
  async (t) => {
    const p = await makePlace(t)
    await p.answer(person) // Before the first entry there is nothing to look for.
    const one = createFeed()
    const first = await followTokenRevocations(p.options(one.feed))
    one.lost(other.number)
    one.lost(other.number)
    await sleep(300)
    await first.close()
    t.equal(await readFeedPosition(p.db), 0, 'they wait for a second look')
    const second = await followTokenRevocations(p.options(one.feed))
    await sleep(150)
    for (const number of [other.number, other.number]) one.lost(number)
    await sleep(300)
    p.clock.advance(4100)
    await until(async () => (await readFeedPosition(p.db)) === 4, 'kept')
    await second.close()

    const two = createFeed()
    const token = await p.answer(person)
    const third = await followTokenRevocations(p.options(two.feed))
    t.teardown(() => third.close())
    two.lost(person.number)
    await until(async () => (await p.revoked()).includes(token), 'its head is below what was kept')
    two.begin(0)
    const next = await p.answer({ ...person, number: '780001199001010034' })
    two.lost('780001199001010034')
    await until(async () => (await p.revoked()).includes(next), 'begun anew while we follow')
  },
)

t.test('a search that fails is tried again, and holds up no other', async (t) => {
  const p = await makePlace(t)
  const { feed, lost } = createFeed()
  const [bad, good] = [await p.answer(person), await p.answer(other)]
  let broken = true
  const ledger = {
    readEntry: (index: number) => p.ledger.readEntry(index),
    readPrivate(index: number) {
      if (broken && index === 0) throw new Error('the disk is gone')
      return p.ledger.readPrivate(index)
    },
    settled: () => p.ledger.settled(),
    indicesOfTag: (kind: 'subject' | 'card', tag: Buffer, since: number) =>
      p.ledger.indicesOfTag(kind, tag, since),
  }
  const options = { ...p.options(feed), ledger }
  const follower = await followTokenRevocations(options)
  t.teardown(() => follower.close())
  lost(person.number)
  lost(other.number)
  await until(async () => (await p.revoked()).includes(good), 'the good one')
  t.match(p.faults, [/disk is gone/])
  p.clock.advance(251)
  t.equal(follower.isFresh(), false, 'it was not looked at')
  broken = false
  p.clock.advance(1100)
  await until(async () => (await p.revoked()).includes(bad), 'tried again')
})

t.test('a token whose private row cannot be opened is revoked by its hash', async (t) => {
  const p = await makePlace(t)
  const { feed, lost } = createFeed()
  const jti = await p.answer(person)
  const ledger = {
    readEntry: (index: number) => p.ledger.readEntry(index),
    readPrivate(index: number) {
      const row = p.ledger.readPrivate(index)
      return row && { ...row, blob: Buffer.alloc(60) }
    },
    settled: () => p.ledger.settled(),
    indicesOfTag: (kind: 'subject' | 'card', tag: Buffer, since: number) =>
      p.ledger.indicesOfTag(kind, tag, since),
  }
  const follower = await followTokenRevocations({ ...p.options(feed), ledger })
  t.teardown(() => follower.close())
  lost(person.number)
  await until(async () => (await p.revoked()).length === 1, 'revoked')
  t.match(p.faults, [/its carrier is not told/])
  await p.registry.poll()
  t.equal(p.registry.isTokenRevoked(jti), true)
  t.equal(p.registry.isTokenRevoked(printBase64url(randomBytes(16))), false)
})

t.test(
  'news that came while nobody followed is fresh once the registry’s reader knows what it revoked',
  async (t) => {
    const p = await makePlace(t)
    const { feed, lost } = createFeed()
    const jti = await p.answer(person)
    let fresh = false
    let failing = true
    const registry = {
      async poll() {
        if (failing) throw new Error('the registry is gone')
        await p.registry.poll()
      },
    }
    const options = { ...p.options(feed), registry, feed: { ...feed, isFresh: () => fresh } }
    const follower = await followTokenRevocations(options)
    t.teardown(() => follower.close())
    lost(person.number)
    fresh = true
    await until(async () => (await p.revoked()).includes(jti), 'revoked')
    await sleep(200)
    t.equal(p.registry.isTokenRevoked(jti), false)
    t.equal(follower.isFresh(), false, 'here nobody knows yet')
    t.match(p.faults, [/registry is gone/])
    failing = false
    p.clock.advance(1100)
    await until(() => follower.isFresh(), 'read')
    t.equal(p.registry.isTokenRevoked(jti), true)
  },
)

t.test('two gateways that find the same revoke it once', async (t) => {
  const p = await makePlace(t)
  const feeds = [createFeed(), createFeed()]
  await p.answer(person)
  const followers = await Promise.all(feeds.map(({ feed }) => followTokenRevocations(p.options(feed))))
  t.teardown(() => Promise.all(followers.map((follower) => follower.close())))
  for (const { lost } of feeds) lost(person.number)
  await until(async () => (await p.revoked()).length === 1, 'one')
  await sleep(300)
  const changes = await p.db.selectFrom('changes').select('act').where('kind', '=', 'token').execute()
  t.equal(changes.length, 1)
  t.notMatch(changes[0]?.act, person.number)
})

t.test('an append that hangs is waited for by the second look, however long', async (t) => {
  const p = await makePlace(t)
  const { feed, lost } = createFeed()
  await p.answer(other)
  let settle = () => {}
  const hanging = new Promise<void>((resolve) => {
    settle = resolve
  })
  const ledger = {
    readPrivate: (index: number) => p.ledger.readPrivate(index),
    readEntry: (index: number) => p.ledger.readEntry(index),
    indicesOfTag: (kind: 'subject' | 'card', tag: Buffer, since: number) =>
      p.ledger.indicesOfTag(kind, tag, since),
    settled: () => hanging,
  }
  const follower = await followTokenRevocations({ ...p.options(feed), ledger })
  t.teardown(() => follower.close())
  lost(person.number)
  await sleep(200)
  p.clock.advance(20_000)
  await sleep(200)
  const late = await p.answer(person)
  t.same(await p.revoked(), [])
  const soon = { ...person, number: '780001199001010034' }
  const next = await p.answer(soon)
  lost(soon.number)
  await until(async () => (await p.revoked()).includes(next), 'first looks go on')
  t.ok(follower.isFresh())
  settle()
  await until(async () => (await p.revoked()).includes(late), 'found')
})

t.test(
  'what waits for its first look is told, and makes the news stale; new changes go before the backlog',
  async (t) => {
    const p = await makePlace(t)
    const { feed, lost } = createFeed()
    const token = await p.answer(person)
    const counts: number[] = []
    let fresh = false
    const looked: string[] = []
    const ledger = {
      readPrivate: (index: number) => p.ledger.readPrivate(index),
      readEntry: (index: number) => p.ledger.readEntry(index),
      settled: () => p.ledger.settled(),
      indicesOfTag(kind: 'subject' | 'card', tag: Buffer, since: number) {
        if (looked.push(tag.toString('hex')) === 1) lost(person.number)
        return p.ledger.indicesOfTag(kind, tag, since)
      },
    }
    const options = {
      ...{ ...p.options(feed), ledger, onWaiting: (count: number) => counts.push(count) },
      feed: { ...feed, isFresh: () => fresh },
    }
    const follower = await followTokenRevocations(options)
    t.teardown(() => follower.close())
    for (let i = 0; i < 300; i++) lost(other.number)
    t.equal(follower.isFresh(), false, 'the feed is not')
    fresh = true
    t.equal(follower.isFresh(), false, 'nobody knows for how long they were there')
    await until(async () => (await p.revoked()).includes(token), 'the new one')
    const at = looked.findIndex((tag) => tag !== looked[0])
    t.ok(at < 150, `after ${at} looks, not after all`)
    await until(() => follower.isFresh(), 'all looked at')
    lost(person.number)
    t.equal(follower.isFresh(), true, 'it has come just now')
    p.clock.advance(251)
    t.equal(follower.isFresh(), false, 'it waits')
    t.ok(Math.max(...counts) >= 300 - 64)
  },
)
