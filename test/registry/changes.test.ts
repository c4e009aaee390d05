// The change feed: numbered in commit order without gaps, whichever connection writes.
import { join } from 'node:path'
import t from 'tap'
import { admitCarrier, suspendCarrier } from '../../src/registry/carriers.ts'
import { change, changesAfter, headOfChanges, seqOfChange } from '../../src/registry/changes.ts'
import { addOperator } from '../../src/registry/operators.ts'
import { openRegistry } from '../../src/registry/schema.ts'

const operator = 'lin.qiao'
const carrier = (id: string) => ({ id, name: 'X', outlets: [], operator, nowMs: 1 })

t.test(
  'two connections of one process write at once: seqs are contiguous and none waits for seconds',
  async (t) => {
    const file = join(t.testdir(), 'registry.db')
    const [a, b] = [await openRegistry(file), await openRegistry(file)]
    t.teardown(() => Promise.all([a.destroy(), b.destroy()]))
    const begun = performance.now()
    const written = await Promise.all(
      Array.from({ length: 40 }, (_, i) => admitCarrier(i % 2 ? a : b, carrier(`carrier-${i}`))),
    )
    t.ok(performance.now() - begun < 3000)
    const all = Array.from({ length: 40 }, (_, i) => i + 1)
    t.same(
      written.map(({ seq }) => seq).sort((x, y) => x - y),
      all,
    )
    t.same(
      (await changesAfter(a, 0, 100)).map(({ seq }) => seq),
      all,
    )
    t.equal(await headOfChanges(b), 40)
  },
)

t.test('a refused change leaves no row, no seq and no trace', async (t) => {
  const db = await openRegistry(join(t.testdir(), 'registry.db'))
  t.teardown(() => db.destroy())
  await admitCarrier(db, carrier('swift-crane'))
  await t.rejects(admitCarrier(db, carrier('swift-crane')), {
    name: 'RegistryError',
    reason: 'carrier known already',
  })
  const broken = change(
    db,
    () => ({ kind: 'carrier', subject: 'x', operator, nowMs: 1, act: { act: 'x' } }),
    async (tx) => {
      await tx
        .insertInto('carriers')
        .values({ id: 'half', name: 'X', status: 'active', admitted_at: 1 })
        .execute()
      throw new Error('the process fails here')
    },
  )
  await t.rejects(broken, { message: 'the process fails here' })
  t.equal(await headOfChanges(db), 1)
  t.same(await db.selectFrom('carriers').select('id').execute(), [{ id: 'swift-crane' }])
  t.equal((await suspendCarrier(db, { id: 'swift-crane', operator, nowMs: 2 })).seq, 2)
})

t.test('a change names its act, subject and operator as JSON, and pages follow each other', async (t) => {
  const db = await openRegistry(join(t.testdir(), 'registry.db'))
  t.teardown(() => db.destroy())
  const { secret } = await addOperator(db, { name: operator, role: 'admin', by: operator, nowMs: 5 })
  await admitCarrier(db, { ...carrier('swift-crane'), outlets: [{ id: 'harbour', name: 'Harbour' }] })
  await suspendCarrier(db, { id: 'swift-crane', operator, nowMs: 7, reason: 'certificate leaked' })
  const all = await changesAfter(db, 0, 10)
  t.same(
    all.map(({ act, ...rest }) => ({ ...rest, act: JSON.parse(act) })),
    [
      {
        seq: 1,
        timeMs: 5,
        kind: 'operator',
        subject: operator,
        operator,
        act: { act: 'operator.add', name: operator, role: 'admin', operator, at: 5 },
      },
      {
        seq: 2,
        timeMs: 1,
        kind: 'carrier',
        subject: 'swift-crane',
        operator,
        act: {
          ...{ act: 'carrier.admit', carrier: 'swift-crane', name: 'X', outlets: ['harbour'] },
          ...{ direct: true, operator, at: 1 },
        },
      },
      {
        seq: 3,
        timeMs: 7,
        kind: 'carrier',
        subject: 'swift-crane',
        operator,
        act: {
          ...{ act: 'carrier.suspend', carrier: 'swift-crane', reason: 'certificate leaked' },
          ...{ operator, at: 7 },
        },
      },
    ],
  )
  t.notOk(JSON.stringify(all).includes(secret), 'no secret goes into the feed')
  t.same([...(await changesAfter(db, 0, 2)), ...(await changesAfter(db, 2, 2))], all)
  t.same(await changesAfter(db, 3, 10), [])
})

t.test('the first change of a kind about a subject is found, and no other', async (t) => {
  const db = await openRegistry(join(t.testdir(), 'registry.db'))
  t.teardown(() => db.destroy())
  const write = (kind: 'destruction' | 'disclosure', subject: string) =>
    change(
      db,
      () => ({ kind, subject, operator, nowMs: 1, act: { act: 'x' } }),
      async () => {},
    )
  await write('disclosure', 'a')
  await write('destruction', 'b')
  await write('destruction', 'a')
  await write('destruction', 'a')
  t.equal(await seqOfChange(db, { kind: 'destruction', subject: 'a' }), 3)
  t.equal(await seqOfChange(db, { kind: 'disclosure', subject: 'a' }), 1)
  t.equal(await seqOfChange(db, { kind: 'disclosure', subject: 'b' }), undefined)
})
