// How a carrier comes to be admitted: an application, reviews by two operators who never filed it, a sandbox in
// which its back end proves four outcomes, admission. Every step is a change that names who took it.
import { admit, assertAdmissible, assertTerms, isCarrierId, type Outlet, type Terms } from './carriers.ts'
import { carrierActor, change, changes, type Described, type Tx } from './changes.ts'
import type { By } from './devices.ts'
import { isLabel, type RegistryDb, RegistryError } from './schema.ts'

/** A document that shows how the carrier protects what it gets: its name and SHA-256, hex; never its text. */
export type Evidence = { name: string; sha256: string }

/** What a back end must have handled in its sandbox: the three outcomes, and an audit record shown. */
export const outcomes = ['yes', 'no', 'undecided', 'audit'] as const
export type ConformanceOutcome = (typeof outcomes)[number]

export const verdicts = ['approve', 'reject'] as const
export type Verdict = (typeof verdicts)[number]

const reviewsNeeded = 2
const evidenceMax = 50
const sandboxSuffix = '-sandbox'
/** Answers a month: enough to try a back end, too few to work with. */
const sandboxQuota = 10_000

export const sandboxOf = (id: string) => `${id}${sandboxSuffix}`

type Filing = By & {
  id: string
  name: string
  contact: string
  outlets: readonly Outlet[]
  evidence: readonly Evidence[]
}

const refuse = (message: string, reason: RegistryError['reason']) => new RegistryError(message, reason)

function assertFiling({ id, name, contact, outlets, evidence }: Filing): void {
  if (id.endsWith(sandboxSuffix) || !isCarrierId(sandboxOf(id))) {
    throw refuse(
      `Carrier id "${id}" must be 2 to ${32 - sandboxSuffix.length} of a-z, 0-9 and -, and not end in "${sandboxSuffix}".`,
      'application malformed',
    )
  }
  assertAdmissible({ id, name, outlets })
  if (outlets.length === 0) throw refuse('An application names at least one outlet.', 'application malformed')
  if (!isLabel(contact)) {
    throw refuse('The contact must be 1 to 100 characters: an office, not a person.', 'application malformed')
  }
  const right = evidence.every(({ name, sha256 }) => isLabel(name) && /^[0-9a-f]{64}$/.test(sha256))
  if (!right || evidence.length === 0 || evidence.length > evidenceMax) {
    throw refuse(
      `Evidence is 1 to ${evidenceMax} documents, each a name and its SHA-256 as 64 hex digits.`,
      'application malformed',
    )
  }
}

/**
 * Files an application; one that was rejected may be filed again.
 * @throws RegistryError
 */
export async function fileApplication(db: RegistryDb, given: Filing): Promise<{ seq: number }> {
  const { id, name, contact, outlets, evidence, operator, nowMs } = given
  assertFiling(given)
  const act = { act: 'application.file', carrier: id, name, outlets: outlets.map((o) => o.id), evidence }
  const described = () => ({ kind: 'carrier' as const, subject: id, operator, nowMs, act })
  const { seq } = await change(db, described, async (tx) => {
    const standing = await tx.selectFrom('applications').selectAll().where('id', '=', id).executeTakeFirst()
    const carrier = await tx.selectFrom('carriers').select('id').where('id', '=', id).executeTakeFirst()
    if (carrier || (standing && standing.status !== 'rejected')) {
      throw refuse(`Carrier "${id}" is ${standing?.status ?? 'admitted'} already.`, 'application not open')
    }
    const row = {
      ...{ id, name, contact, filed_by: operator, filed_at: nowMs, status: 'filed' },
      ...{ outlets: JSON.stringify(outlets), evidence: JSON.stringify(evidence) },
      round: (standing?.round ?? 0) + 1,
    }
    await tx
      .insertInto('applications')
      .values(row)
      .onConflict((c) => c.column('id').doUpdateSet(row))
      .execute()
    await tx.insertInto('filings').values({ application: id, round: row.round, operator }).execute()
  })
  return { seq }
}

async function findApplication(tx: Tx, id: string) {
  const found = await tx.selectFrom('applications').selectAll().where('id', '=', id).executeTakeFirst()
  if (found) return found
  throw refuse(
    `There is no application of "${id}"; see "vouchsafe carrier applications".`,
    'application unknown',
  )
}

/** Resolves to how many reviews its present round has. Who filed an earlier round stands behind this one too. */
async function assertIndependent(
  tx: Tx,
  { id, round, operator }: { id: string; round: number; operator: string },
): Promise<number> {
  const ofId = tx.selectFrom('filings').select('operator').where('application', '=', id)
  const filed = await ofId.where('operator', '=', operator).executeTakeFirst()
  const reviews = await tx
    .selectFrom('reviews')
    .select('operator')
    .where('application', '=', id)
    .where('round', '=', round)
    .execute()
  if (!filed && !reviews.some((review) => review.operator === operator)) return reviews.length
  throw refuse(
    `Operator "${operator}" has ${filed ? 'filed' : 'reviewed'} the application of "${id}": ` +
      'two who filed no round of it must review it.',
    'reviewer not independent',
  )
}

/**
 * One operator's verdict. A rejection closes the application; the second approval opens the sandbox.
 * @throws RegistryError if the operator filed any round of it or reviewed this one, or it is not open
 */
export async function reviewApplication(
  db: RegistryDb,
  given: By & { id: string; verdict: Verdict; note: string },
): Promise<{ seq: number; status: 'filed' | 'approved' | 'rejected' }> {
  const { id, verdict, note, operator, nowMs } = given
  if (!isLabel(note))
    throw refuse('A note of 1 to 100 characters says what was looked at.', 'application malformed')
  const { firstSeq, result } = await changes(db, async (tx) => {
    const { round, status, name, outlets } = await findApplication(tx, id)
    if (status !== 'filed') throw refuse(`The application of "${id}" is ${status}.`, 'application not open')
    const reviews = await assertIndependent(tx, { id, round, operator })
    await tx
      .insertInto('reviews')
      .values({ application: id, round, operator, verdict, note, at: nowMs })
      .execute()
    const enough = reviews + 1 >= reviewsNeeded
    const next = verdict === 'reject' ? 'rejected' : enough ? 'approved' : 'filed'
    await tx.updateTable('applications').set({ status: next }).where('id', '=', id).execute()
    const act = { act: 'application.review', carrier: id, verdict, note }
    const acts: Described[] = [{ kind: 'carrier', subject: id, operator, nowMs, act }]
    if (next === 'approved') {
      const places = JSON.parse(outlets) as Outlet[]
      const sandbox = { id: sandboxOf(id), name, outlets: places, sandboxOf: id, quota: sandboxQuota }
      acts.push(await admit(tx, { ...sandbox, operator, nowMs }))
    }
    return { result: next as 'filed' | 'approved' | 'rejected', acts }
  })
  return { seq: firstSeq, status: result }
}

/**
 * Keeps that a sandbox's back end handled an outcome; the first proof of each stands.
 * @param given.carrier the sandbox
 * @throws RegistryError if the carrier is no sandbox
 */
export async function proveOutcome(
  tx: Tx,
  given: { carrier: string; outcome: ConformanceOutcome; evidence: string; nowMs: number },
): Promise<Described[]> {
  const { carrier, outcome, evidence, nowMs } = given
  const row = await tx
    .selectFrom('carriers')
    .select('sandbox_of')
    .where('id', '=', carrier)
    .executeTakeFirst()
  if (!row?.sandbox_of) throw refuse(`Carrier "${carrier}" is no sandbox.`, 'carrier unknown')
  const made = await tx
    .insertInto('conformance')
    .values({ carrier, outcome, evidence, at: nowMs })
    .onConflict((c) => c.doNothing())
    .executeTakeFirst()
  if (Number(made.numInsertedOrUpdatedRows ?? 0) === 0) return []
  const act = { act: 'carrier.conform', carrier, outcome, evidence }
  return [{ kind: 'carrier', subject: carrier, operator: carrierActor(carrier), nowMs, act, carrier }]
}

/** Outcomes that the sandbox of a carrier has proved. */
export async function provedOutcomes(
  db: RegistryDb | Tx,
  sandbox: string,
): Promise<{ outcome: ConformanceOutcome; atMs: number }[]> {
  const rows = await db.selectFrom('conformance').selectAll().where('carrier', '=', sandbox).execute()
  return rows.map(({ outcome, at }) => ({ outcome: outcome as ConformanceOutcome, atMs: Number(at) }))
}

/**
 * Admits a carrier whose application is approved and whose sandbox is active and has proved every outcome.
 * @throws RegistryError that names what is missing
 */
export async function admitApplicant(
  db: RegistryDb,
  given: By & Terms & { id: string },
): Promise<{ seq: number }> {
  const { id, operator, nowMs } = given
  assertTerms(given)
  const { seq } = await change(
    db,
    (act: Described) => act,
    async (tx) => {
      const { status, name, outlets } = await findApplication(tx, id)
      if (status !== 'approved') {
        const needs = status === 'filed' ? `; ${reviewsNeeded} operators must approve it first` : ''
        throw refuse(`The application of "${id}" is ${status}${needs}.`, 'application not approved')
      }
      await assertSandboxActive(tx, sandboxOf(id))
      const proved = new Set((await provedOutcomes(tx, sandboxOf(id))).map(({ outcome }) => outcome))
      const missing = outcomes.filter((outcome) => !proved.has(outcome))
      if (missing.length > 0) {
        throw refuse(
          `The sandbox "${sandboxOf(id)}" has not proved: ${missing.join(', ')} (POST /v1/conformance).`,
          'conformance not proved',
        )
      }
      await tx.updateTable('applications').set({ status: 'admitted' }).where('id', '=', id).execute()
      const { quota, conditions, reviewAtMs } = given
      const terms = {
        ...(quota === undefined ? {} : { quota }),
        ...(conditions === undefined ? {} : { conditions }),
        ...(reviewAtMs === undefined ? {} : { reviewAtMs }),
      }
      return admit(tx, { id, name, outlets: JSON.parse(outlets) as Outlet[], ...terms, operator, nowMs })
    },
  )
  return { seq }
}

async function assertSandboxActive(tx: Tx, id: string): Promise<void> {
  const sandbox = await tx.selectFrom('carriers').select('status').where('id', '=', id).executeTakeFirst()
  if (sandbox?.status === 'active') return
  const standing = sandbox?.status ?? 'not there'
  throw refuse(`The sandbox "${id}" is ${standing}; it must be active.`, 'sandbox not active')
}

/** All applications by id, with the reviews of their present round and what the sandbox has proved. */
export async function listApplications(db: RegistryDb) {
  const rows = await db.selectFrom('applications').selectAll().orderBy('id').execute()
  const listed = rows.map(
    async ({ id, round, name, contact, outlets, evidence, status, filed_by, filed_at }) => {
      const reviews = await db
        .selectFrom('reviews')
        .select(['operator', 'verdict', 'note', 'at'])
        .where('application', '=', id)
        .where('round', '=', round)
        .orderBy('at')
        .execute()
      return {
        ...{ id, round, name, contact, status, filedBy: filed_by, filedAtMs: Number(filed_at) },
        outlets: JSON.parse(outlets) as Outlet[],
        evidence: JSON.parse(evidence) as Evidence[],
        reviews: reviews.map(({ at, ...review }) => ({ ...review, atMs: Number(at) })),
        proved: (await provedOutcomes(db, sandboxOf(id))).map(({ outcome }) => outcome),
      }
    },
  )
  return Promise.all(listed)
}
