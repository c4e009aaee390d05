// Keys past their life are destroyed for good: also out of backups, whoever dies in between, beside a gateway.
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { ensureDevPki } from '../../certs/generate.ts'
import { dayMs, epochOf, manualClock } from '../../src/base/clock.ts'
import { type DestroyOptions, destroyKeys, type Step, unfinished } from '../../src/keys/destruction.ts'
import { loadKeks, makeKek } from '../../src/keys/kek.ts'
import { Keyring } from '../../src/keys/keyring.ts'
import { kindNames } from '../../src/keys/kinds.ts'
import { importKey, openKeyringFile, readKeys, sealKey } from '../../src/keys/store.ts'
import { openRow, sealRow } from '../../src/ledger/entry.ts'
import { actsIn, readActs } from '../helpers/acts.ts'

const startMs = Date.UTC(2026, 10, 24, 12)
const firstDay = epochOf(startMs, dayMs)
const steps: Step[] = [
  ...(['planned', 'written', 'recorded', 'entered', 'kek made', 'kek held'] as const),
  ...(['wrapped', 'folded', 'retired', 'erased', 'done'] as const),
]

/** A keyring with the keys of six days, of which the first three are past a retention of two. */
async function startTest(t: Test) {
  const root = t.testdir()
  const [kekDirectory, file, acts] = [join(root, 'certs'), join(root, 'keyring.db'), join(root, 'acts')]
  mkdirSync(kekDirectory)
  makeKek(kekDirectory, 1)
  const clock = manualClock(startMs)
  const openRing = (node?: string) => {
    const named = node === undefined ? {} : { node }
    return Keyring.open({ file, keks: () => loadKeks(kekDirectory), clock, ...named })
  }
  const ring = await openRing()
  const rows = new Map<number, Buffer>()
  for (let day = firstDay; ; day++) {
    rows.set(day, sealRow(await ring.ofDay('record', day), day, Buffer.from(`row of ${day}`)))
    if (day === firstDay + 5) break
    clock.advance(dayMs)
    await ring.tend()
  }
  const bytesOf = (of: Keyring) =>
    kindNames.flatMap((kind) =>
      of.all(kind).map(({ epoch, key }) => {
        const bytes = key.type === 'secret' ? key.export() : key.export({ format: 'der', type: 'pkcs8' })
        return `${kind}/${epoch} ${bytes.toString('hex')}`
      }),
    )
  const before = bytesOf(ring)
  await ring.close()
  const backup = join(root, 'backup.db')
  copyFileSync(file, backup)

  const destroy = (change: Partial<DestroyOptions> = {}) =>
    destroyKeys({
      ...{ file, kekDirectory, clock, retentionDays: 2, waitMs: 0 },
      ...{ acts: actsIn(acts), say: () => {}, ...change },
    })
  const dieAt = (step: Step) => (reached: Step) => {
    if (reached === step) throw new Error(step)
  }
  /** Days whose row opens with the keyring in `from`. */
  function openDays(from = file): number[] {
    const db = openKeyringFile(from)
    try {
      const keks = loadKeks(kekDirectory)
      return [...rows].flatMap(([day, blob]) => {
        const [row] = readKeys(db, { kind: 'record', epoch: day })
        if (row?.kek_version === undefined || !keks.has(row.kek_version)) return []
        return openRow(importKey(keks, row), day, blob) ? [day] : []
      })
    } finally {
      db.close()
    }
  }
  /** All is as a whole destruction leaves it. */
  async function assertDestroyed(t: Test) {
    t.same(openDays(), [firstDay + 3, firstDay + 4, firstDay + 5])
    t.same(readdirSync(kekDirectory), ['kek-2.key'])
    t.equal(readActs(acts).length, 1, 'one act')
    const opened = await openRing()
    const gone = [0, 1, 2].flatMap((n) => [`record/${firstDay + n} `, `tag/${firstDay + n} `])
    const stays = before.filter((line) => !gone.some((name) => line.startsWith(name)))
    t.same(bytesOf(opened), stays, 'all other keys are what they were')
    await opened.close()
    t.same(openDays(backup), [], 'the backup opens nothing')
    const restored = Keyring.open({ file: backup, keks: () => loadKeks(kekDirectory), clock })
    await t.rejects(restored, /needs KEK version 1, which is not loaded.*backup from before a "keys destroy"/)
  }
  return {
    root,
    file,
    kekDirectory,
    acts,
    clock,
    backup,
    openRing,
    destroy,
    dieAt,
    openDays,
    assertDestroyed,
  }
}

t.test('record and tag keys past their life are destroyed, and a backup opens nothing', async (t) => {
  const { destroy, assertDestroyed, openDays, backup, file, kekDirectory, acts } = await startTest(t)
  t.equal(openDays(backup).length, 6, 'before, a backup opens every day')
  const db = new DatabaseSync(backup, { readOnly: true })
  const sealed = readKeys(db).map((row) => Buffer.from(row.sealed))
  db.close()
  const taken: Step[] = []
  const outcome = await destroy({ onStep: (step) => taken.push(step) })
  t.match(outcome, { end: 'done', destruction: { state: 'done', kekVersion: 2, seq: 1 }, moreDue: 0 })
  t.same(taken, steps)
  const days = [[firstDay, firstDay + 2]]
  t.same(readActs(acts)[0]?.act, { keys: { record: days, tag: days }, kek: 2, retentionDays: 2 })
  const left = ['', '-wal'].filter((end) => existsSync(file + end)).map((end) => readFileSync(file + end))
  t.notOk(
    left.some((bytes) => sealed.some((each) => bytes.includes(each))),
    'nothing sealed under the old KEK is left in the file',
  )
  t.equal(statSync(join(kekDirectory, 'kek-2.key')).mode & 0o777, 0o600)
  await assertDestroyed(t)
  t.same(await destroy(), { end: 'nothing due' })
  t.same(readdirSync(kekDirectory), ['kek-2.key'], 'and nothing was made')
  await ensureDevPki({ directory: kekDirectory, nowMs: startMs })
  t.notOk(existsSync(join(kekDirectory, 'kek-1.key')), 'nor does the development PKI make the first again')
})

t.test('dying after any step leaves a keyring that opens, and the next run ends it', async (t) => {
  for (const step of steps) {
    await t.test(step, async (t) => {
      const { destroy, dieAt, openDays, openRing, backup, file, assertDestroyed } = await startTest(t)
      await t.rejects(destroy({ onStep: dieAt(step) }), { message: step })
      const isWrapped = steps.indexOf(step) >= steps.indexOf('wrapped')
      t.equal(openDays().length, isWrapped ? 3 : 6)
      t.equal(openDays(backup).length, steps.indexOf(step) >= steps.indexOf('retired') ? 0 : 6)
      const ring = await openRing()
      t.ok(ring.get('record', firstDay + 5), 'a gateway that starts now opens it')
      await ring.close()
      const db = openKeyringFile(file)
      t.equal(unfinished(db) === undefined, step === 'done')
      db.close()
      t.match(await destroy(), { end: step === 'done' ? 'nothing due' : 'done' })
      await assertDestroyed(t)
    })
  }
})

t.test('dying twice, at each pair of steps, ends the same', async (t) => {
  const { destroy, dieAt, assertDestroyed } = await startTest(t)
  for (const step of steps.slice(0, -1))
    await t.rejects(destroy({ onStep: dieAt(step) }), { message: step }, step)
  t.match(await destroy(), { end: 'done' })
  await assertDestroyed(t)
})

t.test('a process that is killed in the middle of it is resumed by the next', async (t) => {
  const main = fileURLToPath(new URL('../helpers/destroy-keys.ts', import.meta.url))
  for (const step of ['written', 'kek made', 'wrapped', 'retired'] as const) {
    await t.test(step, async (t) => {
      const { file, kekDirectory, acts, clock, destroy, assertDestroyed } = await startTest(t)
      const args = [main, file, kekDirectory, acts, String(clock.now()), step]
      t.equal(spawnSync(process.execPath, args, { stdio: 'inherit' }).signal, 'SIGKILL')
      t.match(await destroy(), { end: 'done' }, 'its lock ended with it')
      await assertDestroyed(t)
    })
  }
})

t.test(
  'a running gateway is waited for, goes on with the new KEK, and drops what was destroyed',
  async (t) => {
    const { destroy, openRing, clock, openDays, assertDestroyed } = await startTest(t)
    const ring = await openRing('gateway-1')
    t.ok(ring.get('record', firstDay))
    const said: string[] = []
    const pending = await destroy({ waitMs: 500, say: (line) => said.push(line) })
    t.match(pending, {
      end: 'gateways pending',
      kekVersion: 2,
      missing: [{ node: 'gateway-1', kekVersion: 1 }],
    })
    t.same(said, ['Waiting until every gateway has loaded KEK version 2: gateway-1'])
    t.equal(openDays().length, 6, 'nothing was destroyed')
    const tending = setInterval(() => ring.tend().catch(t.fail), 100)
    t.match(await destroy({ waitMs: 5000 }), { end: 'done' })
    clearInterval(tending)
    await ring.tend()
    t.notOk(ring.get('record', firstDay))
    t.notOk(ring.get('tag', firstDay + 2))
    t.ok(ring.get('record', firstDay + 3))
    t.notOk(await ring.find('record', firstDay), 'nor is it found')
    await t.rejects(ring.ofDay('record', firstDay), /is missing/, 'nor made again')
    t.ok(ring.isUsable())
    await assertDestroyed(t)
    clock.advance(dayMs)
    await ring.tend()
    t.ok(ring.get('record', firstDay + 6), 'keys are made under the new one')
    await ring.close()
    const again = await openRing()
    t.ok(again.get('record', firstDay + 6))
    await again.close()
  },
)

t.test('a gateway that comes in the last moment is seen inside the transaction', async (t) => {
  const { destroy, file, clock, openDays } = await startTest(t)
  const onStep = (step: Step) => {
    if (step !== 'kek held') return
    const db = openKeyringFile(file)
    db.prepare('insert into holders values (?, ?, ?)').run('late', 1, clock.now() - 170_000)
    db.close()
  }
  t.match(await destroy({ onStep }), { end: 'gateways pending', missing: [{ node: 'late' }] })
  t.equal(openDays().length, 6)
  clock.advance(11_000)
  t.match(await destroy(), { end: 'done' }, 'not seen for 3 minutes, it is taken for gone')
})

t.test('a gateway that was asleep all the time finds the new KEK by itself', async (t) => {
  const { destroy, openRing, clock } = await startTest(t)
  const ring = await openRing('asleep')
  clock.advance(181_000)
  t.match(await destroy(), { end: 'done' })
  clock.advance(dayMs)
  const key = await ring.ofDay('record', firstDay + 6)
  await ring.tend()
  const other = await openRing()
  t.same(other.get('record', firstDay + 6)?.export(), key.export())
  await Promise.all([ring.close(), other.close()])
})

t.test('no entry, no destruction: not even a new KEK', async (t) => {
  const { destroy, acts, kekDirectory, openDays, assertDestroyed } = await startTest(t)
  const isEntered = async () => false
  for (let i = 0; i < 2; i++) {
    const outcome = await destroy({ acts: { ...actsIn(acts), isEntered } })
    t.same(outcome, { end: 'entry pending', seq: 1 })
  }
  t.same(readdirSync(kekDirectory), ['kek-1.key'])
  t.equal(openDays().length, 6)
  t.match(await destroy({ retentionDays: 500 }), { end: 'done' }, 'what was recorded is what is done')
  await assertDestroyed(t)
})

t.test('a plan that was never recorded is made anew from what is asked now', async (t) => {
  const { destroy, dieAt, acts, openDays } = await startTest(t)
  await t.rejects(destroy({ onStep: dieAt('planned'), retentionDays: 1 }), { message: 'planned' })
  t.same(await destroy({ retentionDays: 500 }), { end: 'nothing due' })
  t.same(readActs(acts), [])
  t.equal(openDays().length, 6)
})

t.test('one at a time', async (t) => {
  const { destroy, assertDestroyed } = await startTest(t)
  let second: Promise<unknown> = Promise.resolve()
  const onStep = (step: Step) => {
    if (step === 'entered') second = destroy().catch((error: Error) => error.message)
  }
  t.match(await destroy({ onStep }), { end: 'done' })
  t.equal(await second, 'Another "keys destroy" is running; wait for its end.')
  await assertDestroyed(t)
})

t.test('a key that stays and does not open stops it before anything is promised, or lost', async (t) => {
  const { destroy, file, kekDirectory, acts, openDays } = await startTest(t)
  const db = openKeyringFile(file)
  t.teardown(() => db.close())
  const spoil = (epoch: number, sealed: Uint8Array) =>
    db.prepare("update keyring set sealed = ? where kind = 'tag' and epoch = ?").run(sealed, epoch)
  const [row] = readKeys(db, { kind: 'tag', epoch: firstDay + 5 })
  const refused = new RegExp(`Key tag/${firstDay + 5} does not open under KEK version 1`)
  spoil(firstDay, randomBytes(60)) // A target: it need not open.
  spoil(firstDay + 5, randomBytes(60))
  await t.rejects(destroy(), refused)
  t.same([readActs(acts), readdirSync(kekDirectory)], [[], ['kek-1.key']])
  spoil(firstDay + 5, row?.sealed as Uint8Array)
  const onStep = (step: Step) => {
    if (step === 'kek held') spoil(firstDay + 5, randomBytes(60))
  }
  await t.rejects(destroy({ onStep }), refused)
  t.same(readdirSync(kekDirectory), ['kek-1.key', 'kek-2.key'])
  t.equal(openDays().length, 6)
})

t.test('recipient keys are due a day after their epoch, whatever the retention', async (t) => {
  const { destroy, openRing, clock, acts } = await startTest(t)
  const epoch = epochOf(startMs, 30 * dayMs)
  clock.advance((epoch + 1) * 30 * dayMs + dayMs - 1 - clock.now())
  const ring = await openRing()
  await ring.close()
  t.same(await destroy({ retentionDays: 500 }), { end: 'nothing due' })
  clock.advance(1)
  t.match(await destroy({ retentionDays: 500 }), { end: 'done' })
  t.same(readActs(acts)[0]?.act.keys, { recipient: [[epoch, epoch]] })
})

t.test('versions only grow, and every lower one is erased, also one that somebody left', async (t) => {
  const { destroy, kekDirectory, clock, openRing } = await startTest(t)
  makeKek(kekDirectory, 7)
  t.match(await destroy(), { end: 'done', destruction: { kekVersion: 8 } })
  t.same(readdirSync(kekDirectory), ['kek-8.key'])
  clock.advance(dayMs)
  await (await openRing()).close()
  t.match(await destroy(), { end: 'done', destruction: { kekVersion: 9 } })
  t.same(readdirSync(kekDirectory), ['kek-9.key'])
})

t.test('more than one act could name are destroyed by the next run', async (t) => {
  const { destroy, file, clock, acts, kekDirectory } = await startTest(t)
  const db = openKeyringFile(file)
  const insert = db.prepare('insert into keyring values (?, ?, ?, ?, 0)')
  const keks = loadKeks(kekDirectory)
  db.exec('begin')
  for (let n = 0; n < 1500; n++) {
    const row = { kind: 'tag', epoch: 10_000 + 2 * n, kek_version: 1 } // No two are neighbours.
    insert.run(row.kind, row.epoch, row.kek_version, sealKey(keks, row, randomBytes(32)))
  }
  db.exec('commit')
  db.close()
  t.match(await destroy(), { end: 'done', moreDue: 503 })
  t.ok(JSON.stringify(readActs(acts)[0]).length < 40_000)
  clock.advance(1)
  t.match(await destroy(), { end: 'done', moreDue: 0 })
})
