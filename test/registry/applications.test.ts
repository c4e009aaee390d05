// Applications: who may review one, over all its rounds, and that an applicant comes in only through a sandbox that
// stands.
import { join } from 'node:path'
import t, { type Test } from 'tap'
import {
  admitApplicant,
  fileApplication,
  listApplications,
  outcomes,
  proveOutcome,
  reviewApplication,
  sandboxOf,
} from '../../src/registry/applications.ts'
import { listCarriers, reinstateCarrier, suspendCarrier } from '../../src/registry/carriers.ts'
import { changes, changesAfter } from '../../src/registry/changes.ts'
import { openRegistry, type RegistryDb } from '../../src/registry/schema.ts'

const id = 'plum-parcel'
const nowMs = 1000

async function openTest(t: Test) {
  const db = await openRegistry(join(t.testdir(), 'registry.db'))
  t.teardown(() => db.destroy())
  return db
}

const file = (db: RegistryDb, operator: string) =>
  fileApplication(db, {
    ...{ id, name: 'Plum Parcel', contact: 'Operations desk', operator, nowMs },
    outlets: [{ id: 'harbour', name: 'Harbour' }],
    evidence: [{ name: 'plan.pdf', sha256: 'ab'.repeat(32) }],
  })
const review = (db: RegistryDb, operator: string, verdict: 'approve' | 'reject' = 'approve') =>
  reviewApplication(db, { id, verdict, note: 'plan read', operator, nowMs })

const dependent = { name: 'RegistryError', reason: 'reviewer not independent' }

t.test(
  'who filed any round of an application reviews none of it, however often it is filed again',
  async (t) => {
    const db = await openTest(t)
    await file(db, 'amy')
    await t.rejects(review(db, 'amy'), dependent)
    t.match(await review(db, 'bob', 'reject'), { status: 'rejected' })
    await file(db, 'bob')
    await t.rejects(review(db, 'bob'), dependent)
    await t.rejects(review(db, 'amy'), { ...dependent, message: /"amy" has filed/ }, 'the first filer')
    t.match(await review(db, 'cat', 'reject'), { status: 'rejected' })
    await file(db, 'dan')
    for (const filer of ['amy', 'bob', 'dan']) await t.rejects(review(db, filer), dependent, filer)
    t.match(await review(db, 'cat'), { status: 'filed' }, 'who rejected an earlier round may review this one')
    await t.rejects(review(db, 'cat'), { ...dependent, message: /"cat" has reviewed/ })
    t.match(await review(db, 'eve'), { status: 'approved' })
    t.match(await listApplications(db), [{ round: 3, filedBy: 'dan', status: 'approved' }])
  },
)

t.test(
  'an applicant is admitted only while its sandbox is active, and not as a direct admission',
  async (t) => {
    const db = await openTest(t)
    await file(db, 'amy')
    await review(db, 'bob')
    await review(db, 'cat')
    await changes(db, async (tx) => {
      const acts = []
      for (const outcome of outcomes)
        acts.push(...(await proveOutcome(tx, { carrier: sandboxOf(id), outcome, evidence: 'x', nowMs })))
      return { result: undefined, acts }
    })
    const sandbox = { id: sandboxOf(id), operator: 'amy', nowMs }
    const admit = () => admitApplicant(db, { id, operator: 'amy', nowMs })
    await suspendCarrier(db, sandbox)
    await t.rejects(admit(), { name: 'RegistryError', reason: 'sandbox not active' })
    t.match(await listApplications(db), [{ status: 'approved' }], 'nothing was changed')
    await reinstateCarrier(db, sandbox)
    const { seq } = await admit()
    t.match(await listCarriers(db), [{ id, status: 'active' }, { id: sandboxOf(id) }])
    const [change] = await changesAfter(db, seq - 1, 1)
    const act = JSON.parse(change?.act ?? '')
    t.match(act, { act: 'carrier.admit', carrier: id })
    t.notOk('direct' in act)
  },
)
