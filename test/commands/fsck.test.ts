// fsck as a command: an untouched ledger is right, offline and beside a writer, and so is whatever a gateway leaves when
// it dies, forgets or has its clock set back; what is signed, by whom, and what others hold. See test/ledger/damage.test.ts.
import { createSecretKey, generateKeyPairSync } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { dayMs } from '../../src/base/clock.ts'
import { limits } from '../../src/base/limits.ts'
import { deriveJti } from '../../src/ledger/entry.ts'
import { makeReceipt } from '../../src/ledger/issue.ts'
import { printVkey } from '../../src/ledger/note.ts'
import { appendAll, damage, fill, fsck, sessionAt, signer, verifyAt } from '../helpers/checked-ledger.ts'
import { keysOf, noon, openIn, until, verifyOf, written } from '../helpers/ledger.ts'

t.test('an untouched ledger is right, with one thread and with several', async (t) => {
  const file = await fill(t)
  for (const threads of ['1', '3']) {
    const { code, text } = await fsck(file, '--threads', threads)
    t.equal(code, 0, text)
    t.match(text, /^4200 entries are right, 4200 of them signed as ledger\.test, 4200 shown\./m)
    t.match(text, /Not opened, and so not checked/)
  }
  // Runs of 1,536 entries: the faults of another thread than the first, and of the order between two.
  for (const [edit, said] of [
    [`update private_rows set blob = zeroblob(4) where idx = 3000`, /^Entry 3000: its private row/m],
    [`delete from acts where seq = 3`, /^Entry 662: it is an act/m],
    [`delete from consumed where idx = 3000`, /^Entry 3000: the challenge that it used/m],
    ['delete from finds where kind = 3 and part = 7', /^Entry \d+: the search blocks leave it out/m],
  ] as const) {
    const { code, text } = await fsck(damage(file, edit), '--threads', '3')
    t.equal(code, 1)
    t.match(text, said)
  }
})

t.test('it runs beside a gateway that appends, files and forgets', async (t) => {
  const { ledger, file, clock } = await openIn(t, { signer })
  let going = true
  let seq = 0
  const appending = (async () => {
    while (going) {
      // The test's clock runs a minute a round: every round some used challenges are past their time.
      clock.advance(60_000)
      const entries = Array.from({ length: 50 }, () => verifyAt(clock.now()))
      await appendAll(ledger, [...entries, { type: 'act', kind: 5, act: '{}', seq: ++seq }])
    }
  })()
  await until(() => ledger.signed().size > 0)
  const checked = []
  try {
    for (let i = 0; i < 4; i++) checked.push(await fsck(file, ...(i === 3 ? ['--threads', '2'] : [])))
    // A challenge is kept for some 71 minutes, here 71 rounds: only later is more forgotten than kept.
    await until(() => seq > 160, 60_000) // However slow: what is looked at is what was kept.
  } finally {
    going = false
    await appending
  }
  for (const { code, text } of checked) t.equal(code, 0, text)
  const db = new DatabaseSync(file, { readOnly: true })
  const kept = Number(db.prepare('select count(*) as n from consumed').get()?.['n'])
  db.close()
  t.ok(kept < (await ledger.size()) / 2, `${kept} challenges are left: the others were forgotten`)
})

t.test('what was forgotten is not missed, whatever the clock and the last commit were', async (t) => {
  const { ledger, file, clock } = await openIn(t, { signer })
  const old = Array.from({ length: 300 }, () => verifyAt())
  await appendAll(ledger, old)
  const check = async (what: string) => {
    const { code, text } = await fsck(file)
    t.equal(code, 0, `${what}: ${text}`)
  }
  await until(() => ledger.signed().size > 0)
  await check('fresh')
  const forget = async (ms: number) => {
    clock.advance(ms)
    await ledger.append(verifyAt(clock.now()))
    await ledger.append(verifyOf({ type: 'undecided', answer: 3 }))
  }
  await forget(limits.consumedKeepMs + (limits.challengeTtlBatchS + 1) * 1000)
  await check('past their time')
  t.equal(await ledger.find((old[0] as { challenge: Buffer }).challenge), undefined, 'forgotten indeed')
  // A commit that only loses forgets too, and leaves no entry with its time.
  const last = verifyAt(clock.now())
  await ledger.append(last)
  clock.advance(600_000)
  await ledger.append(last)
  await check('after a commit that only lost')
  await forget(2 * dayMs)
  await check('days later, and under another day')
})

t.test('a clock that was set back by a quarter of an hour is no fault', async (t) => {
  let nowMs = noon
  const clock = { now: () => nowMs, mono: () => 0 }
  const { ledger, file } = await openIn(t, { signer, clock })
  nowMs += 15 * 60_000
  await ledger.append(verifyAt(nowMs))
  for (let minute = 0; minute < 100; minute++) {
    nowMs = noon + minute * 60_000
    await appendAll(ledger, [verifyAt(nowMs), sessionAt(nowMs)])
    if (minute % 10 === 9) t.equal((await fsck(file)).code === 1, false, `minute ${minute}`)
  }
})

t.test(
  'killed before its first checkpoint: nothing is signed, and that is said with a code of its own',
  async (t) => {
    const { ledger, file } = await openIn(t, { signer })
    const early = join(file, '..', 'early.db')
    const db = new DatabaseSync(file)
    await appendAll(ledger, [verifyAt(), sessionAt()])
    db.exec(`vacuum into '${early}'`)
    db.close()
    const { code, text } = await fsck(early)
    t.equal(code, 3, text)
    t.match(text, /^Nothing is signed yet: 2 entries prove nothing\.$/m)
    await until(() => ledger.signed().size === 2)
    const held = join(file, '..', 'held.note')
    writeFileSync(held, ledger.checkpoint().note)
    t.match(await fsck(early, '--checkpoint', held), {
      code: 1,
      text: /^nothing is signed here, and the checkpoint of .*held\.note was/,
    })
    const empty = await openIn(t, { signer })
    t.match(await fsck(empty.file), { code: 0, text: /^0 entries are right, 0 of them signed/ })
  },
)

t.test(
  'a checkpoint that others hold tells a ledger that was replaced with all that lies beside it',
  async (t) => {
    const { ledger, file } = await openIn(t, { signer })
    const wanted = Array.from({ length: 300 }, () => verifyAt())
    await appendAll(ledger, wanted)
    await until(() => ledger.signed().size === 300)
    const held = join(file, '..', 'held.note')
    writeFileSync(held, ledger.checkpoint().note)
    const { digest } = wanted[7] as { digest: Buffer }
    const asked = { jti: deriveJti(digest), carrier: 'swift-parcel' }
    const issued = await makeReceipt(ledger, async (day) => createSecretKey(keysOf(day).record), asked)
    if (issued.state !== 'issued') throw new Error(issued.state)
    const receipt = join(file, '..', 'receipt.txt')
    writeFileSync(receipt, issued.receipt)
    t.equal(written(await ledger.append(verifyAt())).index, 300)
    await ledger.close()
    const both = ['--checkpoint', held, '--checkpoint', receipt]
    t.match(await fsck(file, ...both), {
      code: 0,
      text: /^They begin with the 300 of the checkpoint of .*held/m,
    })

    for (const count of [200, 400]) {
      const other = await openIn(t, { signer })
      await appendAll(
        other.ledger,
        Array.from({ length: count }, () => verifyAt()),
      )
      await other.ledger.close()
      t.equal((await fsck(other.file)).code, 0, 'by itself it is right')
      const said =
        count < 300 ? /^Entry 200: the checkpoint of .* is of 300 entries/ : /held\.note has another root/
      t.match(await fsck(other.file, '--checkpoint', held), { code: 1, text: said })
      t.equal((await fsck(other.file, '--checkpoint', receipt)).code, 1)
    }
    writeFileSync(held, readFileSync(held, 'utf8').replace('300', '301'))
    for (const path of [held, join(file, '..', 'absent'), file])
      t.match(await fsck(file, '--checkpoint', path), {
        code: 2,
        errors: /does not hold a checkpoint signed by/,
      })
  },
)

t.test('entries replaced whole, leaves and private rows with them, are told by the tree', async (t) => {
  const file = damage(await fill(t), (db) => {
    const copy = (table: string, columns: string[]) => {
      const from = (column: string) =>
        `(select ${column} from ${table} as old where old.idx = ${table}.idx - 256)`
      const sets = columns.map((column) => `${column} = ${from(column)}`).join(', ')
      db.exec(`update ${table} set ${sets} where idx between 300 and 310`)
    }
    copy('entries', ['data', 'leaf'])
    copy('private_rows', ['blob'])
    db.exec('delete from finds')
  })
  const { code, text } = await fsck(file)
  t.equal(code, 1)
  t.match(text, /^Entry 256: tile 1\/0 differs/, 'the first entry under the hash that differs')
})

t.test('another key, or nothing to check with', async (t) => {
  const file = await fill(t)
  const stranger = printVkey('ledger.test', generateKeyPairSync('ed25519').privateKey)
  t.match((await fsck(file, '--key', stranger)).text, /^the signed checkpoint is not signed by/)
  t.equal((await fsck(join(file, '..', 'absent.db'))).code, 2)
  t.equal((await fsck(file, '--key', 'rubbish')).code, 2)
  t.equal((await fsck(file, '--threads', '0')).code, 64)
})
