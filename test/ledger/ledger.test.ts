// What the ledger writes: exact entries and rows, groups, tags and times (PROTOCOL section 9).
import { createSecretKey } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { type Clock, dayMs } from '../../src/base/clock.ts'
import { limits } from '../../src/base/limits.ts'
import { bind } from '../../src/base/t2l.ts'
import {
  deriveJti,
  deriveTags,
  hashAct,
  hashWho,
  openRow,
  parseEntry,
  parsePrivate,
  parsePrivateAct,
} from '../../src/ledger/entry.ts'
import type { VerifyEntry } from '../../src/ledger/ledger.ts'
import { keysOf, noon, openIn, person, sessionOf, sha, verifyOf, written } from '../helpers/ledger.ts'

t.test('a verification is written as the specification says, and its row opens to all of it', async (t) => {
  const { ledger } = await openIn(t)
  const wanted = verifyOf({ answer: 2, refusal: 33 })
  const { index, leaf, timeMs } = written(await ledger.append(wanted))
  t.equal(index, 0)
  t.equal(timeMs, noon)
  const stored = ledger.readEntry(0)
  const row = ledger.readPrivate(0)
  if (!stored || !row) throw new Error('nothing was written')
  t.same(leaf, sha(Buffer.of(0), stored.data))
  t.same(leaf, stored.leaf)

  const day = Math.floor(noon / dayMs)
  t.equal(row.day, day)
  const keys = keysOf(day)
  const plain = openRow(createSecretKey(keys.record), day, row.blob)
  const opened = plain && parsePrivate(plain)
  if (!opened) throw new Error('the row does not open')
  const { carrier, outlet, device, courier, parcel } = wanted
  const jti = deriveJti(wanted.digest)
  t.same(opened, {
    refusal: 33,
    who: { carrier, outlet, device, courier, parcel, jti, blind: opened.who.blind },
    transaction: wanted.transaction,
  })
  t.same(parseEntry(stored.data), {
    type: 1,
    timeMs: noon,
    who: hashWho(opened.who),
    answer: 2,
    sealedHash: wanted.sealedHash,
    jtiHash: sha(jti),
    privateHash: sha(row.blob),
  })
  t.equal(openRow(createSecretKey(keys.tag), day, row.blob), undefined, 'only with the right key')
  t.equal(openRow(createSecretKey(keysOf(day + 1).record), day, row.blob), undefined, 'of the right day')
  t.same(await ledger.find(wanted.challenge), {
    digest: wanted.digest,
    index: 0,
    answer: 2,
    leaf,
    timeMs: noon,
  })
})

t.test('sessions and acts keep act and blind in the private row', async (t) => {
  const { ledger } = await openIn(t)
  const session = sessionOf('{"act":"session.open"}')
  const acts = [session, { type: 'act' as const, kind: 8 as const, act: '{"name":"云山速递"}' }]
  const indices = (await Promise.all(acts.map((act) => ledger.append(act)))).map(({ index }) => index)
  t.same(indices, [0, 1])
  const day = Math.floor(noon / dayMs)
  for (const [i, { act }] of acts.entries()) {
    const row = ledger.readPrivate(i)
    const plain = row && openRow(createSecretKey(keysOf(day).record), day, row.blob)
    const opened = plain && parsePrivateAct(plain)
    if (!opened) throw new Error('the row does not open')
    t.equal(opened.act, act)
    const entry = parseEntry(ledger.readEntry(i)?.data as Buffer)
    t.same(entry, { type: [3, 8][i], timeMs: noon, actHash: hashAct(act, opened.blind) })
  }
  t.equal((await ledger.find(session.challenge))?.answer, 0)
})

t.test('thousand appends of one turn get contiguous indices in order, in groups', async (t) => {
  const sizes: number[] = []
  const { ledger } = await openIn(t, { onGroup: ({ size }) => sizes.push(size) })
  for (let round = 0; round < 3; round++) {
    const wanted = Array.from({ length: 1000 }, () => verifyOf())
    const got = await Promise.all(wanted.map((entry) => ledger.append(entry)))
    t.same(
      got.map(({ index }) => index),
      Array.from({ length: 1000 }, (_, i) => round * 1000 + i),
    )
    const found = await ledger.find((wanted[999] as VerifyEntry).challenge)
    t.same(found?.digest, wanted[999]?.digest, 'each caller has its own entry')
  }
  t.equal(await ledger.size(), 3000)
  t.equal(
    sizes.reduce((sum, size) => sum + size, 0),
    3000,
  )
  t.ok(sizes.length >= 6 && Math.max(...sizes) <= limits.ledgerGroupMax, `${sizes}`)
  t.equal(ledger.readEntry(3000), undefined)
  t.equal(ledger.readPrivate(3000), undefined)
})

t.test('tags find one person on one day, and are random where nobody was proved', async (t) => {
  const { ledger, clock } = await openIn(t)
  const rowOf = async (subject: VerifyEntry['subject']) => {
    const { index } = await ledger.append(verifyOf({ subject }))
    const row = ledger.readPrivate(index)
    if (!row) throw new Error('no row')
    return row
  }
  const [one, again, newCard, none, noneAgain] = [
    await rowOf(person),
    await rowOf({ ...person }),
    await rowOf({ ...person, serial: Buffer.alloc(16, 7) }),
    await rowOf(undefined),
    await rowOf(undefined),
  ]
  const { subjectTag, cardTag } = deriveTags(createSecretKey(keysOf(one.day).tag), person)
  t.same([one.subjectTag, one.cardTag], [subjectTag, cardTag])
  t.same([again.subjectTag, again.cardTag], [subjectTag, cardTag])
  t.same(newCard.subjectTag, subjectTag)
  t.notSame(newCard.cardTag, cardTag)
  const random = [none, noneAgain].flatMap((row) => [row.subjectTag, row.cardTag])
  t.equal(new Set([subjectTag, ...random].map((tag) => tag.toString('hex'))).size, 5)
  t.notSame(one.blob, again.blob, 'blind and nonce are fresh')
  clock.advance(dayMs)
  t.notSame((await rowOf(person)).subjectTag, subjectTag, 'another day, another tag')
})

t.test('time never goes back, even if the clock does', async (t) => {
  let nowMs = noon
  const clock: Clock = { now: () => nowMs, mono: () => 0 }
  const { ledger } = await openIn(t, { clock })
  const times: number[] = []
  for (const step of [0, 5, -dayMs, 1, -1000, dayMs * 2, 7]) {
    nowMs += step
    times.push(written(await ledger.append(verifyOf())).timeMs)
  }
  t.same(times, [noon, noon + 5, noon + 5, noon + 5, noon + 5, noon + dayMs - 994, noon + dayMs - 987])
  const row = ledger.readPrivate(2)
  t.equal(row?.day, Math.floor(noon / dayMs), 'and the row is of the day of its entry')
})

t.test('nothing of a person is in the file in clear', async (t) => {
  const { ledger, file } = await openIn(t)
  await ledger.append(verifyOf())
  const other = new DatabaseSync(file, { readOnly: true })
  t.teardown(() => other.close())
  const stored = ['entries', 'private_rows', 'consumed'].flatMap((table) =>
    other
      .prepare(`select * from ${table}`)
      .all()
      .flatMap((row) => Object.values(row).filter((value) => value instanceof Uint8Array)),
  )
  const all = Buffer.concat(stored)
  const unwanted = [
    person.number,
    person.serial,
    Buffer.from(person.number, 'utf16le'),
    'swift-parcel',
    'SH-0042',
  ]
  for (const text of unwanted) t.notOk(all.includes(text))
  t.ok(all.includes(bind('entry').subarray(0)), 'the search would find it')
})
