// The ledger's worker: keys of the day, full queues, failing commits, its death, and its end.
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Worker } from 'node:worker_threads'
import t from 'tap'
import { dayMs, manualClock } from '../../src/base/clock.ts'
import { limits } from '../../src/base/limits.ts'
import { openLedger } from '../../src/ledger/ledger.ts'
import { signer } from '../helpers/checked-ledger.ts'
import { keysOf, noon, openIn, reasonOf, until, verifyOf } from '../helpers/ledger.ts'

t.test('the keys of a day are asked for once, and a group waits for them', async (t) => {
  const asked: number[] = []
  let give: ((keys: { record: Buffer; tag: Buffer }) => void) | undefined
  const today = Math.floor(noon / dayMs)
  const dayKeys = (day: number) => {
    asked.push(day)
    if (day === today) return Promise.resolve(keysOf(day))
    return new Promise<{ record: Buffer; tag: Buffer }>((resolve) => {
      give = resolve
    })
  }
  const { ledger, clock } = await openIn(t, { dayKeys })
  await ledger.append(verifyOf())
  t.same(asked, [today], 'at the start, before any entry')
  clock.advance(dayMs)
  const held = [1, 2, 3].map(() => ledger.append(verifyOf()))
  await until(() => give !== undefined)
  held.push(ledger.append(verifyOf()))
  t.equal(await ledger.size(), 1)
  give?.(keysOf(today + 1))
  t.same(
    (await Promise.all(held)).map(({ index }) => index),
    [1, 2, 3, 4],
  )
  t.same(asked, [today, today + 1])
  t.equal(ledger.readPrivate(4)?.day, today + 1)
})

t.test('without the keys of the day appends fail, and the next one asks again', async (t) => {
  let keys: ((day: number) => { record: Buffer; tag: Buffer }) | undefined
  const dayKeys = async (day: number) => {
    if (!keys) throw new Error('no keyring')
    return keys(day)
  }
  const { ledger } = await openIn(t, { dayKeys })
  const wanted = verifyOf()
  const both = () => Promise.all([wanted, verifyOf()].map((entry) => reasonOf(ledger.append(entry))))
  t.same(await both(), ['day_keys', 'day_keys'])
  keys = () => ({ record: Buffer.alloc(16), tag: Buffer.alloc(32) })
  t.same(await both(), ['day_keys', 'day_keys'], 'keys of a wrong size are no keys')
  t.ok(ledger.isUp())
  t.equal(await ledger.size(), 0)
  keys = keysOf
  t.equal((await ledger.append(wanted)).index, 0)
})

t.test('keys that do not come fail the appends after the deadline', async (t) => {
  const { ledger } = await openIn(t, { dayKeys: () => new Promise(() => {}) })
  const began = performance.now()
  t.equal(await reasonOf(ledger.append(verifyOf())), 'day_keys')
  t.ok(performance.now() - began < limits.requestMsMax + 1000)
})

t.test('a full queue refuses at once and lets the others through', async (t) => {
  const { ledger } = await openIn(t)
  const entry = { type: 'act' as const, kind: 7 as const, act: '{}' }
  const accepted = Array.from({ length: limits.ledgerQueueMax }, () => ledger.append(entry))
  t.equal(await reasonOf(ledger.append(entry)), 'queue_full')
  await Promise.all(accepted)
  t.equal((await ledger.append(entry)).index, limits.ledgerQueueMax)
})

t.test('an append that no entry can hold fails alone', async (t) => {
  const { ledger } = await openIn(t)
  const [bad, good] = await Promise.allSettled([
    ledger.append(verifyOf({ digest: Buffer.alloc(31) })),
    ledger.append(verifyOf()),
  ])
  t.match(bad, { status: 'rejected', reason: { code: 'ledger_unavailable', reason: 'entry_malformed' } })
  t.match(good, { status: 'fulfilled', value: { index: 0 } })
})

t.test('a commit that fails leaves nothing, and the ledger recovers by itself', async (t) => {
  const { ledger, file } = await openIn(t)
  await ledger.append(verifyOf())
  const other = new DatabaseSync(file)
  t.teardown(() => other.close())
  // The last statement of every group fails: what was inserted before it must go again.
  other.exec(
    `create trigger stop before insert on private_rows when new.idx = 2 begin select raise(abort, 'stop'); end`,
  )
  const wanted = [verifyOf(), verifyOf(), verifyOf()]
  const reasons = await Promise.all(wanted.map((entry) => reasonOf(ledger.append(entry))))
  t.same(reasons, ['commit_failed', 'commit_failed', 'commit_failed'])
  t.equal(await ledger.size(), 1)
  t.equal(await ledger.find(wanted[0]?.challenge as Buffer), undefined, 'no challenge is burnt')
  t.ok(ledger.isUp())
  other.exec('drop trigger stop')
  t.same(
    (await Promise.all(wanted.map((e) => ledger.append(e)))).map(({ index }) => index),
    [1, 2, 3],
  )
})

t.test('a worker that dies fails what waits and is started again', async (t) => {
  const workers: Worker[] = []
  const note = (worker: Worker) => workers.push(worker)
  process.on('worker', note)
  t.teardown(() => process.off('worker', note))
  let broken = true
  const dayKeys = async (day: number) => {
    while (broken) await new Promise((resolve) => setTimeout(resolve, 5))
    return keysOf(day)
  }
  const { ledger } = await openIn(t, { dayKeys })
  await until(() => workers.length === 1)
  const waiting = [verifyOf(), verifyOf()]
  const reasons = Promise.all(waiting.map((entry) => reasonOf(ledger.append(entry))))
  await new Promise(setImmediate)
  // A message of a wrong form is a defect, on which the worker ends.
  workers[0]?.postMessage({ kind: 'append', id: 0, nowMs: noon, packed: new ArrayBuffer(9) })
  t.same(await reasons, ['worker_ended', 'worker_ended'])
  t.notOk(ledger.isUp())
  t.equal(await reasonOf(ledger.append(verifyOf())), 'worker_down')
  broken = false
  await until(() => ledger.isUp())
  t.same(
    (await Promise.all(waiting.map((e) => ledger.append(e)))).map(({ index }) => index),
    [0, 1],
  )
  t.equal(workers.length, 2)
})

t.test('close drains what was accepted, refuses the rest and leaves one file', async (t) => {
  const dir = t.testdir()
  const file = join(dir, 'ledger.db')
  const clock = manualClock(noon)
  const ledger = await openLedger({ file, clock, dayKeys: async (day) => keysOf(day) })
  const accepted = Array.from({ length: 2000 }, () => ledger.append(verifyOf()))
  const closed = Promise.all([ledger.close(), ledger.close()])
  t.equal(await reasonOf(ledger.append(verifyOf())), 'closed')
  t.equal((await Promise.all(accepted)).length, 2000)
  await closed
  t.notOk(ledger.isUp())
  t.equal(await reasonOf(ledger.find(Buffer.alloc(42))), 'read_failed')
  t.throws(() => rmSync(`${file}-wal`), { code: 'ENOENT' }, 'the WAL is folded into the file')
  const again = await openLedger({ file, clock, dayKeys: async (day) => keysOf(day) })
  t.equal(await again.size(), 2000)
  await again.close()
})

t.test('close waits for a worker that is just being started again', async (t) => {
  const workers: Worker[] = []
  const note = (worker: Worker) => workers.push(worker)
  process.on('worker', note)
  t.teardown(() => process.off('worker', note))
  const { ledger } = await openIn(t)
  await until(() => workers.length === 1)
  workers[0]?.postMessage({ kind: 'append', id: 0, nowMs: noon, packed: new ArrayBuffer(9) })
  await until(() => workers.length === 2)
  let exited = false
  workers[1]?.once('exit', () => {
    exited = true
  })
  await ledger.close()
  t.ok(exited)
})

t.test('a file that cannot be opened is ledger_unavailable', async (t) => {
  const dir = t.testdir()
  mkdirSync(join(dir, 'ledger.db'))
  const clock = manualClock(noon)
  const opening = openLedger({ file: join(dir, 'ledger.db'), clock, dayKeys: async (day) => keysOf(day) })
  t.equal(await reasonOf(opening), 'open_failed')
})

t.test(
  'a ledger whose last checkpoint was altered is refused at the start, with nothing left to sign',
  async (t) => {
    const { ledger, file, options } = await openIn(t, { signer })
    await ledger.append(verifyOf())
    await ledger.close()
    const other = new DatabaseSync(file)
    other.exec('update checkpoints set root = zeroblob(32)')
    other.close()
    t.equal(await reasonOf(openLedger(options)), 'root_differs')
  },
)
