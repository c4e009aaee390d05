// Carriers: admitted once, suspended and reinstated, and refused in words that say why.
import { join } from 'node:path'
import t, { type Test } from 'tap'
import {
  admitCarrier,
  expelCarrier,
  listCarriers,
  markProduction,
  reinstateCarrier,
  setTerms,
  suspendCarrier,
} from '../../src/registry/carriers.ts'
import { changesAfter, headOfChanges } from '../../src/registry/changes.ts'
import { openRegistry } from '../../src/registry/schema.ts'

const operator = 'lin.qiao'
const outlets = [
  { id: 'old-bridge', name: 'Old Bridge' },
  { id: 'harbour', name: 'Harbour' },
]
const good = { id: 'swift-crane', name: 'Swift Crane Express', outlets, operator, nowMs: 1000 }

async function openTest(t: Test) {
  const db = await openRegistry(join(t.testdir(), 'registry.db'))
  t.teardown(() => db.destroy())
  return db
}

const noTerms = { sandboxOf: null, conditions: null, quota: null, reviewAtMs: null }

t.test('a carrier is admitted, suspended and reinstated, each with a seq', async (t) => {
  const db = await openTest(t)
  t.same(await admitCarrier(db, good), { seq: 1 })
  t.same(await admitCarrier(db, { ...good, id: 'a1', outlets: [] }), { seq: 2 })
  const act = { id: 'swift-crane', operator, nowMs: 2000 }
  t.same(await suspendCarrier(db, { ...act, reason: 'certificate leaked' }), { seq: 3 })
  const listed = await listCarriers(db)
  t.same(listed, [
    { id: 'a1', name: good.name, status: 'active', admittedAtMs: 1000, outlets: [], ...noTerms },
    {
      id: 'swift-crane',
      name: good.name,
      status: 'suspended',
      admittedAtMs: 1000,
      outlets: ['harbour', 'old-bridge'],
      ...noTerms,
    },
  ])
  t.same(await reinstateCarrier(db, act), { seq: 4 })
  t.equal((await listCarriers(db))[1]?.status, 'active')
})

t.test('what is wrong is refused with its word, and changes nothing', async (t) => {
  const db = await openTest(t)
  await admitCarrier(db, good)
  const other = { ...good, id: 'river-post' }
  const outlet = (id: string, name = 'X') => ({ ...other, outlets: [{ id, name }] })
  const table: [word: string, attempt: () => Promise<unknown>][] = [
    ['carrier malformed', () => admitCarrier(db, { ...good, id: 'a' })],
    ['carrier malformed', () => admitCarrier(db, { ...good, id: 'x'.repeat(33) })],
    ['carrier malformed', () => admitCarrier(db, { ...good, id: 'River' })],
    ['carrier malformed', () => admitCarrier(db, { ...good, id: 'river post' })],
    ['carrier malformed', () => admitCarrier(db, { ...good, id: 'river-post\n' })],
    ['carrier malformed', () => admitCarrier(db, { ...other, name: '' })],
    ['carrier malformed', () => admitCarrier(db, { ...other, name: 'a\tb' })],
    ['outlet malformed', () => admitCarrier(db, outlet(''))],
    ['outlet malformed', () => admitCarrier(db, outlet('a_b'))],
    ['outlet malformed', () => admitCarrier(db, outlet('x'.repeat(33)))],
    ['outlet malformed', () => admitCarrier(db, outlet('harbour', 'a\nb'))],
    ['outlet repeated', () => admitCarrier(db, { ...other, outlets: [...outlets, ...outlets] })],
    ['carrier known already', () => admitCarrier(db, good)],
    ['carrier unknown', () => suspendCarrier(db, { id: 'river-post', operator, nowMs: 1 })],
    ['carrier unknown', () => reinstateCarrier(db, { id: 'river-post', operator, nowMs: 1 })],
    ['carrier status unchanged', () => reinstateCarrier(db, { id: 'swift-crane', operator, nowMs: 1 })],
    ['carrier malformed', () => setTerms(db, { id: 'swift-crane', operator, nowMs: 1 })],
    ['carrier malformed', () => setTerms(db, { id: 'swift-crane', operator, nowMs: 1, quota: -1 })],
    ['carrier malformed', () => setTerms(db, { id: 'swift-crane', operator, nowMs: 1, quota: 0.5 })],
    ['carrier malformed', () => setTerms(db, { id: 'swift-crane', operator, nowMs: 1, conditions: 'a\nb' })],
    ['carrier unknown', () => setTerms(db, { id: 'river-post', operator, nowMs: 1, quota: 1 })],
    ['carrier unknown', () => expelCarrier(db, { id: 'river-post', operator, nowMs: 1 })],
    ['reason malformed', () => suspendCarrier(db, { id: 'swift-crane', operator, nowMs: 1, reason: 'a\nb' })],
  ]
  for (const [reason, attempt] of table) await t.rejects(attempt(), { name: 'RegistryError', reason })
  t.equal(await headOfChanges(db), 1)
  t.equal((await listCarriers(db)).length, 1)
})

t.test('of two suspensions at once one is made and one is refused', async (t) => {
  const db = await openTest(t)
  await admitCarrier(db, good)
  const act = { id: 'swift-crane', operator, nowMs: 1 }
  const ended = await Promise.allSettled([suspendCarrier(db, act), suspendCarrier(db, act)])
  t.same(ended.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
  t.equal(await headOfChanges(db), 2)
})

t.test('what is expelled stays so, and a sandbox goes with its carrier', async (t) => {
  const db = await openTest(t)
  await admitCarrier(db, good)
  await admitCarrier(db, { ...good, id: 'swift-crane-sandbox', sandboxOf: 'swift-crane' })
  const act = { id: 'swift-crane', operator, nowMs: 1 }
  const statuses = async () => (await listCarriers(db)).map(({ status }) => status)
  t.same(await suspendCarrier(db, act), { seq: 3 })
  t.same(await statuses(), ['suspended', 'suspended'])
  t.same(await reinstateCarrier(db, act), { seq: 5 }, 'each is a change')
  t.same(await statuses(), ['active', 'active'])
  await expelCarrier(db, { ...act, reason: 'sold readings' })
  t.same(await statuses(), ['expelled', 'expelled'])
  for (const move of [suspendCarrier, reinstateCarrier, expelCarrier])
    await t.rejects(move(db, act), { name: 'RegistryError', reason: 'carrier expelled' })
  await t.rejects(setTerms(db, { ...act, quota: 5 }), { name: 'RegistryError', reason: 'carrier expelled' })
})

t.test(
  'a direct admission says so in its act, and is refused once the registry was served in production',
  async (t) => {
    const db = await openTest(t)
    await admitCarrier(db, good)
    const [change] = await changesAfter(db, 0, 1)
    t.match(JSON.parse(change?.act ?? ''), { act: 'carrier.admit', carrier: 'swift-crane', direct: true })
    await markProduction(db, 5000)
    await markProduction(db, 6000)
    const kept = await db.selectFrom('counters').select('value').where('name', '=', 'production').execute()
    t.same(kept, [{ value: 5000 }], 'the first time stands')
    const refused = { name: 'RegistryError', reason: 'direct admission refused', message: /carrier apply/ }
    await t.rejects(admitCarrier(db, { ...good, id: 'river-post' }), refused)
    t.equal(await headOfChanges(db), 1)
    t.equal((await listCarriers(db)).length, 1)
  },
)

t.test(
  'a sandbox falls and rises with its carrier, but rises by itself only while its carrier stands',
  async (t) => {
    const db = await openTest(t)
    const [id, sandbox] = ['swift-crane', 'swift-crane-sandbox']
    await admitCarrier(db, good)
    await admitCarrier(db, { ...good, id: sandbox, sandboxOf: id })
    const of = (id: string) => ({ id, operator, nowMs: 1 })
    const statuses = async () => (await listCarriers(db)).map(({ status }) => status)
    const held = { name: 'RegistryError', reason: 'carrier of sandbox not active' }
    await suspendCarrier(db, of(id))
    await t.rejects(reinstateCarrier(db, of(sandbox)), held)
    t.same(await statuses(), ['suspended', 'suspended'])
    await reinstateCarrier(db, of(id))
    t.same(await statuses(), ['active', 'active'])

    await suspendCarrier(db, of(sandbox))
    await suspendCarrier(db, of(id))
    await reinstateCarrier(db, of(id))
    t.same(await statuses(), ['active', 'suspended'], 'suspended for itself, before')
    await reinstateCarrier(db, of(sandbox))
    t.same(await statuses(), ['active', 'active'])

    await suspendCarrier(db, of(id))
    await suspendCarrier(db, of(sandbox))
    await t.rejects(suspendCarrier(db, of(sandbox)), {
      name: 'RegistryError',
      reason: 'carrier status unchanged',
    })
    await reinstateCarrier(db, of(id))
    t.same(await statuses(), ['active', 'suspended'], 'suspended for itself, meanwhile')

    await db.updateTable('carriers').set({ status: 'expelled' }).where('id', '=', id).execute()
    await t.rejects(reinstateCarrier(db, of(sandbox)), held, 'of an expelled carrier')
  },
)

t.test(
  'the sandbox of an applicant, whose carrier is not there yet, is suspended and reinstated',
  async (t) => {
    const db = await openTest(t)
    const act = { id: 'swift-crane-sandbox', operator, nowMs: 1 }
    await admitCarrier(db, { ...good, id: act.id, sandboxOf: 'swift-crane' })
    await suspendCarrier(db, act)
    await reinstateCarrier(db, act)
    t.equal((await listCarriers(db))[0]?.status, 'active')
  },
)
