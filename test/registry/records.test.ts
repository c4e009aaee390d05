// Records in memory: what a change overtook is not kept, nor ever answered to one who asks after it.
import fc from 'fast-check'
import t from 'tap'
import { Records } from '../../src/registry/records.ts'

type Row = { version: number }

/** A load that waits until it is told what it read. */
function gated() {
  const waiting: { id: string; answer: (row: Row | undefined) => void; fail: (cause: unknown) => void }[] = []
  const load = (id: string) =>
    new Promise<Row | undefined>((answer, fail) => {
      waiting.push({ id, answer, fail })
    })
  const next = () => {
    const read = waiting.shift()
    if (!read) throw new Error('nothing is being read')
    return read
  }
  const tick = () => new Promise((go) => setImmediate(go))
  return { load, next, waiting, tick, records: new Records<Row>({ load, recordsMax: 3, unknownMax: 2 }) }
}

t.test('a record is read once for all who ask, and kept', async (t) => {
  const { records, next, waiting } = gated()
  const asked = [records.get('a'), records.get('a'), records.get('a')]
  t.equal(waiting.length, 1)
  const row = { version: 1 }
  next().answer(row)
  for (const answer of await Promise.all(asked)) t.equal(answer, row)
  t.equal(await records.get('a'), row)
  t.equal(waiting.length, 0)
  t.same(records.size, { known: 1, unknown: 0, reads: 0 })
})

t.test('a read that a change overtook is not kept, and those who wait get the newer record', async (t) => {
  const { records, next, waiting, tick } = gated()
  const asked = records.get('a')
  records.forget('a')
  next().answer({ version: 1 })
  await tick()
  t.same(records.size, { known: 0, unknown: 0, reads: 1 }, 'read again, not kept')
  next().answer({ version: 2 })
  t.same(await asked, { version: 2 })
  t.same(await records.get('a'), { version: 2 })
  t.equal(waiting.length, 0)
})

t.test('who asks after the change does not join the read that began before it', async (t) => {
  const { records, next, waiting } = gated()
  const before = records.get('a')
  records.forget('a')
  const after = records.get('a')
  t.equal(waiting.length, 2)
  const [old, fresh] = [next(), next()]
  fresh.answer({ version: 2 })
  t.same(await after, { version: 2 })
  old.answer({ version: 1 }) // The older read ends last.
  t.same(await before, { version: 2 })
  t.same(await records.get('a'), { version: 2 })
})

t.test('a change to another record disturbs nothing', async (t) => {
  const { records, next } = gated()
  const asked = records.get('a')
  records.forget('b')
  next().answer({ version: 1 })
  t.same(await asked, { version: 1 })
  t.same(records.size, { known: 1, unknown: 0, reads: 0 })
})

t.test('that there is no such record is kept too, in a room of its own', async (t) => {
  const { records, next, waiting } = gated()
  const asked = records.get('known')
  next().answer({ version: 1 })
  await asked
  for (let i = 0; i < 50; i++) {
    const unknown = records.get(`unknown-${i}`)
    next().answer(undefined)
    t.equal(await unknown, undefined)
  }
  t.same(records.size, { known: 1, unknown: 2, reads: 0 }, 'unknown ids push out no known one')
  t.equal(await records.get('unknown-49'), undefined)
  t.equal(waiting.length, 0, 'answered from memory')
  records.forget('unknown-49')
  const registered = records.get('unknown-49')
  next().answer({ version: 1 })
  t.same(await registered, { version: 1 }, 'registered since')
})

t.test('a read that fails is told to all who wait, and the next one tries again', async (t) => {
  const { records, next, tick } = gated()
  const asked = [records.get('a'), records.get('a')]
  next().fail(new Error('disk gone'))
  for (const answer of asked) await t.rejects(answer, { message: 'disk gone' })
  t.same(records.size, { known: 0, unknown: 0, reads: 0 })
  const overtaken = records.get('a')
  records.forget('a')
  next().fail(new Error('disk gone'))
  await t.rejects(overtaken, { message: 'disk gone' })
  await tick()
  t.same(records.size, { known: 0, unknown: 0, reads: 0 }, 'nothing is left behind')
  const again = records.get('a')
  next().answer({ version: 1 })
  t.same(await again, { version: 1 })
})

t.test('forgetting all forgets what is being read as well', async (t) => {
  const { records, next } = gated()
  const kept = records.get('a')
  next().answer({ version: 1 })
  await kept
  const reading = records.get('b')
  records.forgetAll()
  next().answer({ version: 1 })
  await new Promise((go) => setImmediate(go))
  next().answer({ version: 2 })
  t.same(await reading, { version: 2 })
  t.same(records.size, { known: 1, unknown: 0, reads: 0 })
})

t.test(
  'in any order of asking, reading and changing, no answer is older than a change applied before',
  async (t) => {
    const step = fc.constantFrom('ask', 'change', 'end oldest', 'end newest')
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        let version = 0
        const open: { read: number; answer: (row: Row) => void }[] = []
        const records = new Records<Row>({
          recordsMax: 2,
          unknownMax: 2,
          load: () => new Promise((answer) => open.push({ read: version, answer })),
        })
        const asked: { applied: number; answer: Promise<Row | undefined> }[] = []
        const end = (at: number) => {
          const [read] = open.splice(at, 1)
          read?.answer({ version: read.read })
        }
        for (const what of steps) {
          if (what === 'ask') asked.push({ applied: version, answer: records.get('a') })
          if (what === 'change') {
            version++
            records.forget('a')
          }
          if (what === 'end oldest') end(0)
          if (what === 'end newest') end(-1)
          await new Promise((go) => setImmediate(go))
        }
        while (open.length > 0) {
          end(0)
          await new Promise((go) => setImmediate(go))
        }
        for (const { applied, answer } of asked) {
          if (((await answer)?.version ?? -1) < applied) throw new Error('an answer older than its change')
        }
        const last = records.get('a')
        end(0)
        if ((await last)?.version !== version) throw new Error('a stale record was kept')
        if (records.size.reads !== 0) throw new Error('a read was left behind')
      }),
      { numRuns: 300 },
    )
    t.pass('300 orders')
  },
)
