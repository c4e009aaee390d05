// What may stand only once: challenges and changes of the registry, across groups and handles (PROTOCOL
// sections 4, 12).
import { createSecretKey, randomBytes } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { dayMs, hourMs } from '../../src/base/clock.ts'
import { limits } from '../../src/base/limits.ts'
import { openRow, parseEntry, parsePrivate } from '../../src/ledger/entry.ts'
import { type Appended, openLedger, type VerifyEntry } from '../../src/ledger/ledger.ts'
import { challengeAt, verifyAt } from '../helpers/checked-ledger.ts'
import { keysOf, noon, openIn, reasonOf, sessionOf, verifyOf } from '../helpers/ledger.ts'

t.test('one challenge has one entry, whoever asks again', async (t) => {
  const { ledger, options } = await openIn(t)
  const first = verifyOf()
  const other = verifyOf({ challenge: first.challenge, answer: 2 })
  const free = verifyOf()
  const [a, b, c, d] = await Promise.all([first, { ...first }, other, free].map((e) => ledger.append(e)))
  t.equal((a as Appended).index, 0)
  t.same(b, { lost: first.digest, index: 0 }, 'the same digest in the same group')
  t.same(c, { lost: first.digest, index: 0 }, 'another digest in the same group')
  t.equal(d?.index, 1, 'the group is not spoiled and no index is skipped')
  t.same(await ledger.append(other), { lost: first.digest, index: 0 }, 'another digest, later')
  t.same(await ledger.append({ ...sessionOf('{}'), challenge: first.challenge }), {
    lost: first.digest,
    index: 0,
  })

  const second = await openLedger(options)
  t.teardown(() => second.close())
  t.same(await second.append(first), { lost: first.digest, index: 0 }, 'through another handle on the file')
  t.equal((await second.append(verifyOf())).index, 2)
  t.equal((await ledger.append(verifyOf())).index, 3)
  t.equal(await second.size(), 4)
})

t.test('two ledgers on one file race for the same challenges and agree', async (t) => {
  const { ledger, options } = await openIn(t)
  const second = await openLedger(options)
  t.teardown(() => second.close())
  const all = new Set<number>()
  for (let round = 0; round < 20; round++) {
    const wanted = Array.from({ length: 50 }, () => verifyOf())
    const pairs = await Promise.all(
      wanted.map((e) => Promise.all([ledger.append(e), second.append({ ...e, digest: randomBytes(32) })])),
    )
    for (const [i, pair] of pairs.entries()) {
      const winners = pair.filter((appended) => !('lost' in appended))
      const [loser] = pair.filter((appended) => 'lost' in appended)
      if (winners.length !== 1 || loser?.index !== winners[0]?.index) t.fail('not one winner')
      all.add(winners[0]?.index ?? -1)
      const found = await ledger.find((wanted[i] as VerifyEntry).challenge)
      if (found?.index !== loser?.index || !loser || !found?.digest.equals(loser.lost)) {
        t.fail('what is found is not what won')
      }
    }
  }
  t.same(
    [...all].sort((a, b) => a - b),
    Array.from({ length: 1000 }, (_, i) => i),
  )
})

t.test('an undecided entry consumes nothing and has no token', async (t) => {
  const { ledger } = await openIn(t)
  const wanted = verifyOf()
  const undecided = verifyOf({ ...wanted, type: 'undecided', answer: 3 })
  t.equal((await ledger.append(undecided)).index, 0)
  t.equal((await ledger.append(undecided)).index, 1, 'as often as a question had left')
  t.equal(await ledger.find(wanted.challenge), undefined)
  t.equal((await ledger.append(wanted)).index, 2)
  t.equal((await ledger.find(wanted.challenge))?.index, 2)
  const entry = parseEntry(ledger.readEntry(0)?.data as Buffer)
  t.equal(entry?.answer, 3)
  t.equal(entry?.jtiHash, undefined)
  const day = Math.floor(noon / dayMs)
  const plain = openRow(createSecretKey(keysOf(day).record), day, ledger.readPrivate(0)?.blob as Buffer)
  t.same(parsePrivate(plain as Buffer)?.who.jti, Buffer.alloc(16))
})

t.test('each change of the registry has one entry', async (t) => {
  const { ledger, options } = await openIn(t)
  t.equal(await ledger.lastSeq(), 0)
  const actOf = (seq: number) => ({ type: 'act' as const, kind: 4 as const, act: `{"seq":${seq}}`, seq })
  const got = await Promise.all([1, 2, 2, 3, 1].map((seq) => ledger.append(actOf(seq))))
  t.same(
    got.map(({ index }) => index),
    [0, 1, 1, 2, 0],
  )
  t.same(got[2], { lost: Buffer.alloc(0), index: 1 })
  t.same(await ledger.append(actOf(3)), { lost: Buffer.alloc(0), index: 2 })
  const second = await openLedger(options)
  t.teardown(() => second.close())
  t.same(await second.append(actOf(1)), { lost: Buffer.alloc(0), index: 0 })
  t.equal(await second.lastSeq(), 3)
  t.equal(await second.entryOfSeq(2), 1)
  t.equal(await second.entryOfSeq(4), undefined)
  t.equal(await ledger.size(), 3)
})

t.test('an entry that cannot be read is never taken for a free challenge', async (t) => {
  const { ledger, file } = await openIn(t)
  const wanted = verifyOf()
  await ledger.append(wanted)
  const other = new DatabaseSync(file)
  other.exec(`update entries set data = x'00'`)
  other.close()
  t.equal(await reasonOf(ledger.find(wanted.challenge)), 'entry_unreadable')
  t.equal(await reasonOf(ledger.append(verifyOf())), 'commit_failed', 'nor built upon')
})

t.test('challenges are forgotten one hour after their end, a bounded number at a time', async (t) => {
  const { ledger, clock, file } = await openIn(t)
  const old = Array.from({ length: 1200 }, () => verifyAt())
  const longer = verifyOf(challengeAt(noon, 64))
  await Promise.all([...old, longer].map((entry) => ledger.append(entry)))
  const other = new DatabaseSync(file, { readOnly: true })
  t.teardown(() => other.close())
  const count = () => other.prepare('select count(*) as n from consumed').get()?.['n']
  const act = () => ledger.append({ type: 'act', kind: 7, act: '{}' })
  clock.advance(limits.challengeTtlBatchS * 1000 + limits.consumedKeepMs)
  await act()
  t.equal(count(), 1201, 'not before')
  clock.advance(1)
  await act()
  t.equal(count(), 1201, 'nor within the second of their issue')
  clock.advance(999)
  await act()
  t.equal(count(), 1201 - 1024, 'no more than 1,024 by one commit')
  await act()
  t.equal(count(), 0, 'all by the next')
  t.equal(await ledger.find(longer.challenge), undefined)
  t.equal(await ledger.size(), 1205, 'entries stay')
})

t.test('a challenge that has not ended is kept, wherever its key lies', async (t) => {
  const { ledger } = await openIn(t)
  const ahead = verifyAt(noon + 5 * hourMs) // Issued by a clock that was set back since.
  const odd = verifyOf({ challenge: Buffer.alloc(42, 1), expiresMs: noon })
  await Promise.all([ahead, odd].map((entry) => ledger.append(entry)))
  await ledger.append(verifyAt())
  t.equal((await ledger.find(ahead.challenge))?.index, 0)
  t.equal((await ledger.find(odd.challenge))?.index, 1)
})
