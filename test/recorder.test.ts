// The recorder: an entry for every change of the registry, exactly once by seq and in order, whatever the ledger
// does meanwhile (PROTOCOL section 12). The registry is real; the ledger does what the test says.
import { createSecretKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { manualClock } from '../src/base/clock.ts'
import { printPrivateAct, sealRow } from '../src/ledger/entry.ts'
import type { ActEntry, Append, Appended } from '../src/ledger/ledger.ts'
import { appendChanges, assertRecorded } from '../src/recorder.ts'
import { admitCarrier, suspendCarrier } from '../src/registry/carriers.ts'
import { change, changesAfter } from '../src/registry/changes.ts'
import { registerDevice } from '../src/registry/devices.ts'
import { addOperator } from '../src/registry/operators.ts'
import { createRegistryReader } from '../src/registry/reader.ts'
import { openRegistry, type RegistryDb } from '../src/registry/schema.ts'
import { proveDeviceKey } from '../src/sdk/reader.ts'

const operator = 'lin.qiao'
const startMs = Date.UTC(2026, 10, 24, 12)

type Fault = 'before' | 'after' | undefined

/** Keeps each seq once, as the real one does by its unique key. */
class FakeLedger {
  readonly entries: ActEntry[] = []
  /** Seqs in the order in which they were asked for, repeats included. */
  readonly asked: number[] = []
  /** What happens to the n-th append from now; `after`: committed, and the acknowledgement lost. */
  faults: Fault[] = []
  lastSeqFails = 0
  lastSeqAsked = 0
  atOnce = 0
  gate: Promise<void> | undefined
  readonly #waiting: { count: number; wake: () => void }[] = []

  async lastSeq(): Promise<number> {
    this.lastSeqAsked++
    if (this.lastSeqFails-- > 0) throw new Error('the ledger cannot be read')
    return Math.max(0, ...this.entries.map((entry) => entry.seq ?? 0))
  }

  async append(append: Append): Promise<Appended> {
    const entry = append as ActEntry
    const seq = entry.seq ?? 0
    this.asked.push(seq)
    if (++this.atOnce > 1) throw new Error('two appends at once')
    await (this.gate ?? new Promise<void>((resolve) => setImmediate(resolve)))
    this.atOnce--
    const fault = this.faults.shift()
    if (fault === 'before') throw new Error('the ledger is down')
    const standing = this.entries.findIndex((each) => each.seq === seq)
    if (standing < 0) this.entries.push(entry)
    for (const { count, wake } of this.#waiting) if (this.entries.length >= count) wake()
    if (fault === 'after') throw new Error('the acknowledgement was lost')
    if (standing >= 0) return { lost: Buffer.alloc(0), index: standing }
    return { index: this.entries.length - 1, leaf: randomBytes(32), timeMs: startMs }
  }

  /** Resolves once so many entries stand. */
  has(count: number): Promise<void> {
    if (this.entries.length >= count) return Promise.resolve()
    return new Promise((wake) => this.#waiting.push({ count, wake }))
  }

  get seqs() {
    return this.entries.map((entry) => entry.seq)
  }
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1)
/** The recorder's own timer does not keep a process alive; this does, and ends what would hang. */
async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms`)), ms)
  })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}

async function open(t: Test) {
  const file = join(t.testdir(), 'registry.db')
  const db = await openRegistry(file)
  const registry = createRegistryReader({ db, clock: manualClock(startMs) })
  const ledger = new FakeLedger()
  const errors: unknown[] = []
  const closers: (() => Promise<void>)[] = []
  const start = () => {
    const recorder = appendChanges({ db, ledger, registry, onError: (cause) => errors.push(cause) })
    closers.push(() => recorder.close())
    return recorder
  }
  t.teardown(async () => {
    for (const close of closers) await close()
    await registry.close()
    await db.destroy()
  })
  const admit = (id: string) =>
    admitCarrier(db, {
      id,
      name: 'X',
      outlets: [{ id: 'harbour', name: 'Harbour' }],
      operator,
      nowMs: startMs,
    })
  return { db, registry, ledger, errors, start, admit }
}

/** One change of each kind. */
async function changeEverything(db: RegistryDb): Promise<void> {
  const given = { operator, nowMs: startMs }
  await addOperator(db, { name: operator, role: 'admin', by: operator, nowMs: startMs })
  const outlets = [{ id: 'harbour', name: 'Harbour' }]
  await admitCarrier(db, { id: 'swift-crane', name: 'Swift Crane', outlets, ...given })
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const proof = proveDeviceKey(privateKey, 'swift-crane', 'S1')
  const device = { carrier: 'swift-crane', outlet: 'harbour', serial: 'S1', model: 'M', ...proof }
  await registerDevice(db, { ...device, ...given })
  await suspendCarrier(db, { id: 'swift-crane', ...given })
}

t.test('each kind of change becomes its kind of entry, with the act as the registry wrote it', async (t) => {
  const { db, ledger, start, errors } = await open(t)
  await changeEverything(db)
  start()
  await within(5000, ledger.has(4))
  const changes = await changesAfter(db, 0, 10)
  t.same(
    ledger.entries,
    changes.map(({ seq, act }, i) => ({ type: 'act', kind: [6, 5, 4, 5][i], act, seq })),
  )
  t.same(errors, [])
})

t.test('acts that change nothing in the registry become entries of their own types', async (t) => {
  const { db, ledger, start, errors } = await open(t)
  const kinds = ['key', 'destruction', 'disclosure'] as const
  for (const kind of kinds) {
    const described = () => ({ kind, subject: 'x', operator, nowMs: startMs, act: { act: kind } })
    await change(db, described, async () => {})
  }
  start()
  await within(5000, ledger.has(3))
  t.same(
    ledger.entries.map(({ kind, act }) => [kind, JSON.parse(act)]),
    kinds.map((kind, i) => [7 + i, { act: kind, operator, at: startMs }]),
  )
  t.same(errors, [])
})

t.test('what was there before the start is recorded in order, and each once', async (t) => {
  const { ledger, start, admit } = await open(t)
  for (let i = 0; i < 20; i++) await admit(`carrier-${i}`)
  start()
  await within(5000, ledger.has(20))
  t.same(ledger.asked, upTo(20))
  t.same(
    ledger.entries.map((entry) => JSON.parse(entry.act).carrier),
    upTo(20).map((n) => `carrier-${n - 1}`),
  )
})

t.test('it goes on from the last entry of the ledger, and asks for that once', async (t) => {
  const { registry, ledger, start, admit } = await open(t)
  for (let i = 0; i < 5; i++) await admit(`carrier-${i}`)
  for (const seq of upTo(3)) ledger.entries.push({ type: 'act', kind: 5, act: '{}', seq })
  start()
  await within(5000, ledger.has(5))
  t.same(ledger.asked, [4, 5])
  await admit('another')
  await registry.poll()
  await within(5000, ledger.has(6))
  t.same(ledger.asked, [4, 5, 6])
  t.equal(ledger.lastSeqAsked, 1)
})

t.test('news of the registry wakes it at once, without waiting for its own turn', async (t) => {
  const { registry, ledger, start, admit } = await open(t)
  start()
  await registry.poll()
  for (const seq of upTo(5)) {
    await admit(`carrier-${seq}`)
    await registry.poll()
    await within(500, ledger.has(seq))
  }
  t.same(ledger.seqs, upTo(5))
})

t.test('news without an ear is found all the same: it looks by itself', async (t) => {
  const { ledger, start, admit } = await open(t)
  start()
  await admit('swift-crane')
  await within(5000, ledger.has(1))
  t.same(ledger.seqs, [1])
})

t.test('many more changes than fit on a page are recorded in order, each once', async (t) => {
  const { db, ledger, start } = await open(t)
  const rows = upTo(5003).map((seq) => ({
    ...{ seq, time: startMs, kind: 'carrier', subject: 'x', operator },
    act: `{"act":"test","n":${seq}}`,
  }))
  for (let i = 0; i < rows.length; i += 500) {
    await db
      .insertInto('changes')
      .values(rows.slice(i, i + 500))
      .execute()
  }
  await db.updateTable('counters').set({ value: 5003 }).where('name', '=', 'changes').execute()
  start()
  await within(5000, ledger.has(5003))
  t.same(ledger.asked, upTo(5003))
})

t.test('after a failed append it goes on by itself, from that one, and the order is kept', async (t) => {
  const { ledger, start, admit, errors } = await open(t)
  for (let i = 0; i < 4; i++) await admit(`carrier-${i}`)
  ledger.faults = [undefined, 'before', undefined, 'before']
  start()
  await within(8000, ledger.has(4))
  t.same(ledger.asked, [1, 2, 2, 3, 3, 4])
  t.same(ledger.seqs, upTo(4))
  t.match(errors, [{ message: 'the ledger is down' }, { message: 'the ledger is down' }])
})

t.test('news after a failure wakes it too: what failed comes before what is new', async (t) => {
  const { registry, ledger, start, admit, errors } = await open(t)
  start()
  ledger.faults = ['before']
  await admit('one')
  await registry.poll()
  while (errors.length === 0) await new Promise(setImmediate)
  await admit('two')
  await registry.poll()
  await within(5000, ledger.has(2))
  t.same(ledger.asked, [1, 1, 2])
})

t.test('an entry whose acknowledgement was lost is asked for again and stands once', async (t) => {
  const { ledger, start, admit } = await open(t)
  for (let i = 0; i < 3; i++) await admit(`carrier-${i}`)
  ledger.faults = [undefined, 'after']
  start()
  await within(8000, ledger.has(3))
  t.same(ledger.asked, [1, 2, 2, 3])
  t.same(ledger.seqs, upTo(3))
})

t.test('a ledger that cannot be read at the start is asked again', async (t) => {
  const { ledger, start, admit, errors } = await open(t)
  await admit('swift-crane')
  ledger.lastSeqFails = 1
  start()
  await within(8000, ledger.has(1))
  t.same(ledger.seqs, [1])
  t.match(errors, [{ message: 'the ledger cannot be read' }])
})

t.test('a registry that cannot be read is told, and what it holds is recorded once it can be', async (t) => {
  const { db, ledger, start, admit, errors } = await open(t)
  await db.schema.alterTable('changes').renameTo('away').execute()
  start()
  while (errors.length === 0) await new Promise(setImmediate)
  t.match(errors, [{ message: /no such table/ }])
  await db.schema.alterTable('away').renameTo('changes').execute()
  await admit('swift-crane')
  await within(8000, ledger.has(1))
  t.same(ledger.seqs, [1])
})

t.test('changes that come while one is being appended are recorded after it, never beside it', async (t) => {
  const { registry, ledger, start, admit, errors } = await open(t)
  const { promise, resolve } = Promise.withResolvers<void>()
  ledger.gate = promise
  start()
  for (let i = 0; i < 5; i++) {
    await admit(`carrier-${i}`)
    await registry.poll()
  }
  t.same(ledger.asked, [1], 'the first is still under way')
  ledger.gate = undefined
  resolve()
  await within(8000, ledger.has(5))
  t.same(ledger.asked, upTo(5))
  t.same(errors, [])
})

t.test('two recorders of one ledger, as two gateways have: each change stands once, in order', async (t) => {
  const { db, ledger, admit } = await open(t)
  for (let i = 0; i < 30; i++) await admit(`carrier-${i}`)
  ledger.append = async (append) => {
    ledger.asked.push((append as ActEntry).seq ?? 0)
    await new Promise(setImmediate)
    const known = ledger.seqs.indexOf((append as ActEntry).seq)
    if (known >= 0) return { lost: Buffer.alloc(0), index: known }
    ledger.entries.push(append as ActEntry)
    return { index: ledger.entries.length - 1, leaf: randomBytes(32), timeMs: startMs }
  }
  const quiet = {
    db,
    ledger,
    registry: { onChange: () => () => {} },
    onError: (cause: unknown) => t.fail(String(cause)),
  }
  const recorders = [appendChanges(quiet), appendChanges(quiet)]
  while (ledger.asked.length < 60) await new Promise(setImmediate)
  for (const recorder of recorders) await recorder.close()
  t.same(ledger.seqs, upTo(30))
})

t.test('closing waits for the append under way, and nothing is appended afterwards', async (t) => {
  const { registry, ledger, start, admit } = await open(t)
  const { promise, resolve } = Promise.withResolvers<void>()
  ledger.gate = promise
  await admit('one')
  const recorder = start()
  while (ledger.asked.length === 0) await new Promise(setImmediate)
  let closed = false
  const closing = recorder.close().then(() => {
    closed = true
  })
  await new Promise(setImmediate)
  t.equal(closed, false)
  resolve()
  await closing
  t.same(ledger.seqs, [1])
  await admit('two')
  await registry.poll()
  await new Promise((done) => setTimeout(done, 1200)) // Longer than its own turn.
  t.same(ledger.asked, [1])
})

const recordKey = createSecretKey(Buffer.alloc(32, 7))

/** A ledger that recorded these acts as changes 1, 2, ...: entry `10 + seq` of day `seq`. */
function recordedIn(acts: readonly string[]) {
  return {
    lastSeq: async () => acts.length,
    entryOfSeq: async (seq: number) => (acts[seq - 1] === undefined ? undefined : 10 + seq),
    readPrivate(index: number) {
      const seq = index - 10
      const plain = printPrivateAct(acts[seq - 1] as string, Buffer.alloc(16))
      return {
        day: seq,
        subjectTag: Buffer.alloc(16),
        cardTag: Buffer.alloc(16),
        blob: Buffer.from(sealRow(recordKey, seq, plain)),
      }
    },
  }
}

t.test('a start holds the last 300 changes against what the ledger recorded of them', async (t) => {
  const { db } = await open(t)
  const count = 400
  const acts = upTo(count).map((n) => `{"act":"test","n":${n}}`)
  const rows = acts.map((act, i) => ({
    seq: i + 1,
    time: startMs,
    kind: 'carrier',
    subject: 'x',
    operator,
    act,
  }))
  for (const from of [0, 200]) {
    await db
      .insertInto('changes')
      .values(rows.slice(from, from + 200))
      .execute()
  }
  const check = async (recorded: readonly string[], destroyedTo = 0) => {
    const recordKeyOf = async (day: number) => (day > destroyedTo ? recordKey : undefined)
    try {
      await assertRecorded({ db, ledger: recordedIn(recorded), recordKeyOf })
      return 'right'
    } catch (error) {
      return (error as Error).message
    }
  }
  const other = (seq: number) => acts.with(seq - 1, '{"act":"other"}')
  t.equal(await check([]), 'right', 'nothing recorded')
  t.equal(await check(acts), 'right')
  t.equal(await check(acts.slice(0, 390)), 'right', 'the last ten are not recorded yet')
  t.match(await check([...acts, '{}']), /change 401, the last that was recorded, is missing here/)
  t.match(await check(other(400)), /change 400, the last that was recorded, is another one here/)
  t.match(
    await check(other(399)),
    /change 399, of 400 recorded, is another one here.*Fix: put back/,
    'the last is the same',
  )
  t.match(await check(other(101)), /change 101, of 400 recorded, is another one/)
  t.equal(await check(other(100)), 'right', 'further back is not looked at')
  t.equal(await check(other(300), 300), 'right', 'nobody can open it any more')
  await db.deleteFrom('changes').where('seq', '<', 400).execute()
  t.equal(await check(other(300)), 'right', 'only the last is there')
  t.match(await check(other(400)), /change 400, the last that was recorded, is another one here/)
})
