// Carriers and their outlets: what they are admitted on, suspended, reinstated, expelled. Each change is one
// transaction with its row. How a carrier comes to be admitted is applications.ts.
import { change, changes, type Described, type Tx } from './changes.ts'
import type { By } from './devices.ts'
import { inTurn, isLabel, type RegistryDb, RegistryError } from './schema.ts'

export type Outlet = { id: string; name: string }

const carrierId = /^[a-z0-9-]{2,32}$/
const outletId = /^[A-Za-z0-9-]{1,32}$/
const labelForm = '1 to 100 characters, none of them a control character'

/** What a carrier is admitted on. `quota`: answers a calendar month; `reviewAtMs`: when its standing is reviewed. */
export type Terms = { quota?: number; conditions?: string; reviewAtMs?: number }
type Admission = By & Terms & { id: string; name: string; outlets: readonly Outlet[]; sandboxOf?: string }

/** As `admitCarrier`, in a transaction of the caller's. */
export async function admit(tx: Tx, given: Admission): Promise<Described> {
  const { id, name, outlets, operator, nowMs, sandboxOf = null } = given
  const { quota = null, conditions = null, reviewAtMs = null } = given
  assertAdmissible(given)
  const known = await tx.selectFrom('carriers').select('id').where('id', '=', id).executeTakeFirst()
  if (known) {
    throw new RegistryError(
      `Carrier "${id}" is known already; see "vouchsafe carrier list".`,
      'carrier known already',
    )
  }
  const terms = { quota, conditions, review_at: reviewAtMs }
  const row = { id, name, status: 'active', admitted_at: nowMs, sandbox_of: sandboxOf, ...terms }
  await tx.insertInto('carriers').values(row).execute()
  for (const outlet of outlets) {
    await tx.insertInto('outlets').values({ carrier: id, id: outlet.id, name: outlet.name }).execute()
  }
  const said = Object.fromEntries(
    Object.entries({ ...terms, sandbox_of: sandboxOf }).filter(([, v]) => v !== null),
  )
  const act = {
    act: 'carrier.admit',
    carrier: id,
    name,
    outlets: outlets.map((outlet) => outlet.id),
    ...said,
  }
  return { kind: 'carrier', subject: id, operator, nowMs, act, carrier: id }
}

/**
 * Admits a carrier with its outlets at once, without application and review: in development only.
 * @returns seq of the change
 * @throws RegistryError if an id or name has a wrong form, an outlet comes twice, the carrier is known, or a gateway
 * has served this registry in production
 */
export async function admitCarrier(db: RegistryDb, given: Admission): Promise<{ seq: number }> {
  const { seq } = await change(
    db,
    (act: Described) => act,
    async (tx) => {
      if (await wasProduction(tx)) {
        throw new RegistryError(
          `This registry was served in production: carrier "${given.id}" must apply and be reviewed; ` +
            'see "vouchsafe carrier apply".',
          'direct admission refused',
        )
      }
      const admitted = await admit(tx, given)
      return { ...admitted, act: { ...admitted.act, direct: true } }
    },
  )
  return { seq }
}

const productionMark = 'production'

const wasProduction = async (db: RegistryDb | Tx) =>
  (await db.selectFrom('counters').select('value').where('name', '=', productionMark).executeTakeFirst()) !==
  undefined

/** Keeps, for good, that a gateway serves this registry in production; the first time stands. */
export async function markProduction(db: RegistryDb, nowMs: number): Promise<void> {
  if (await wasProduction(db)) return
  const marked = db.insertInto('counters').values({ name: productionMark, value: nowMs })
  await inTurn(() => marked.onConflict((c) => c.doNothing()).execute()) // Another gateway may come first.
}

/** Whether a text has the form of a carrier's id. */
export const isCarrierId = (text: string) => carrierId.test(text)

/** @throws RegistryError for an id, a name or an outlet of a wrong form */
export function assertAdmissible({ id, name, outlets }: Pick<Admission, 'id' | 'name' | 'outlets'>): void {
  if (!carrierId.test(id)) {
    throw new RegistryError(`Carrier id "${id}" must be 2 to 32 of a-z, 0-9 and -.`, 'carrier malformed')
  }
  if (!isLabel(name)) {
    throw new RegistryError(`The name of carrier "${id}" must be ${labelForm}.`, 'carrier malformed')
  }
  const seen = new Set<string>()
  for (const outlet of outlets) {
    if (!outletId.test(outlet.id)) {
      throw new RegistryError(
        `Outlet id "${outlet.id}" must be 1 to 32 of A-Z, a-z, 0-9 and -.`,
        'outlet malformed',
      )
    }
    if (!isLabel(outlet.name)) {
      throw new RegistryError(`The name of outlet "${outlet.id}" must be ${labelForm}.`, 'outlet malformed')
    }
    if (seen.has(outlet.id)) {
      throw new RegistryError(`Outlet "${outlet.id}" is given twice; name it once.`, 'outlet repeated')
    }
    seen.add(outlet.id)
  }
}

type Status = 'active' | 'suspended' | 'expelled'
type Standing = By & { id: string; reason?: string }
type Move = { act: string; to: Status; from: readonly Status[] }

const moves = {
  suspend: { act: 'carrier.suspend', to: 'suspended', from: ['active'] },
  reinstate: { act: 'carrier.reinstate', to: 'active', from: ['suspended'] },
  expel: { act: 'carrier.expel', to: 'expelled', from: ['active', 'suspended'] },
} as const satisfies Record<string, Move>

/** A carrier's sandbox goes with it. */
async function setStatus(db: RegistryDb, given: Standing, move: Move): Promise<{ seq: number }> {
  const { id, operator, nowMs, reason } = given
  if (reason !== undefined && !isLabel(reason)) {
    throw new RegistryError(`The reason must be ${labelForm}.`, 'reason malformed')
  }
  const { firstSeq } = await changes(db, async (tx) => {
    await assertMayMove(tx, id, move)
    // Its own standing now, whatever it fell with before.
    const own = { status: move.to, fell_with: null }
    await tx.updateTable('carriers').set(own).where('id', '=', id).execute()
    const moved = [id, ...(await moveSandbox(tx, id, move))]
    const said = reason === undefined ? {} : { reason }
    const acts = moved.map((carrier): Described => {
      const subject = { kind: 'carrier', subject: carrier, carrier } as const
      return { ...subject, operator, nowMs, act: { act: move.act, carrier, ...said } }
    })
    return { result: undefined, acts }
  })
  return { seq: firstSeq }
}

async function assertMayMove(tx: Tx, id: string, { to, from }: Move): Promise<void> {
  const standing = tx.selectFrom('carriers').select(['status', 'sandbox_of', 'fell_with'])
  const known = await standing.where('id', '=', id).executeTakeFirst()
  if (!known) {
    throw new RegistryError(`Carrier "${id}" is unknown; see "vouchsafe carrier list".`, 'carrier unknown')
  }
  // A sandbox that only fell with its carrier may be suspended for itself: it then stays so.
  const forItself = to === 'suspended' && known.fell_with !== null
  if (!from.includes(known.status as Status) && !forItself) throw standsAlready(id, known.status)
  if (to !== 'active' || known.sandbox_of === null) return
  const parent = await standing.where('id', '=', known.sandbox_of).executeTakeFirst()
  if (parent && parent.status !== 'active') {
    throw new RegistryError(
      `Carrier "${known.sandbox_of}", whose sandbox "${id}" is, is ${parent.status}; nothing was changed.`,
      'carrier of sandbox not active',
    )
  }
}

/** A reinstatement lifts only what fell with the carrier, not what was suspended for itself. Resolves to ids moved. */
async function moveSandbox(tx: Tx, id: string, { to, from }: Move): Promise<string[]> {
  let query = tx
    .updateTable('carriers')
    .set({ status: to, fell_with: to === 'suspended' ? id : null })
    .where('sandbox_of', '=', id)
    .where('status', 'in', from)
  if (to === 'active') query = query.where('fell_with', '=', id)
  const moved = await query.returning('id').execute()
  return moved.map((row) => row.id)
}

function standsAlready(id: string, status: string): RegistryError {
  if (status === 'expelled') {
    return new RegistryError(`Carrier "${id}" is expelled, which is for good.`, 'carrier expelled')
  }
  return new RegistryError(
    `Carrier "${id}" is ${status} already; nothing was changed.`,
    'carrier status unchanged',
  )
}

/**
 * Nothing of the carrier works any more once a node has read the change, at most 1 s later.
 * @throws RegistryError if the carrier is unknown or not active
 */
export const suspendCarrier = (db: RegistryDb, given: Standing): Promise<{ seq: number }> =>
  setStatus(db, given, moves.suspend)

/** @throws RegistryError if the carrier is unknown or not suspended, or the sandbox of one that is not active */
export const reinstateCarrier = (db: RegistryDb, given: Standing): Promise<{ seq: number }> =>
  setStatus(db, given, moves.reinstate)

/**
 * As a suspension, for good.
 * @throws RegistryError if the carrier is unknown or expelled already
 */
export const expelCarrier = (db: RegistryDb, given: Standing): Promise<{ seq: number }> =>
  setStatus(db, given, moves.expel)

/**
 * Sets what a carrier is admitted on; what is not given stays.
 * @throws RegistryError if the carrier is unknown or expelled, or nothing is given
 */
export async function setTerms(db: RegistryDb, given: By & Terms & { id: string }): Promise<{ seq: number }> {
  const { id, operator, nowMs, quota, conditions, reviewAtMs } = given
  assertTerms(given)
  const set = Object.fromEntries(
    Object.entries({ quota, conditions, review_at: reviewAtMs }).filter(([, value]) => value !== undefined),
  )
  if (Object.keys(set).length === 0) {
    throw new RegistryError(`Nothing was given to set for carrier "${id}".`, 'carrier malformed')
  }
  const act = { act: 'carrier.terms', carrier: id, ...set }
  const described = () => ({ kind: 'carrier' as const, subject: id, operator, nowMs, act, carrier: id })
  const { seq } = await change(db, described, async (tx) => {
    const known = await tx.selectFrom('carriers').select('status').where('id', '=', id).executeTakeFirst()
    if (!known) {
      throw new RegistryError(`Carrier "${id}" is unknown; see "vouchsafe carrier list".`, 'carrier unknown')
    }
    if (known.status === 'expelled') throw standsAlready(id, known.status)
    await tx.updateTable('carriers').set(set).where('id', '=', id).execute()
  })
  return { seq }
}

const quotaMax = 1_000_000_000_000

/** @throws RegistryError for a quota, conditions or a date of a wrong form */
export function assertTerms({ quota, conditions, reviewAtMs }: Terms): void {
  if (quota !== undefined && !(Number.isSafeInteger(quota) && quota >= 0 && quota <= quotaMax)) {
    throw new RegistryError(`The quota must be a whole number from 0 to ${quotaMax}.`, 'carrier malformed')
  }
  if (conditions !== undefined && !isLabel(conditions)) {
    throw new RegistryError(`The conditions must be ${labelForm}.`, 'carrier malformed')
  }
  if (reviewAtMs !== undefined && !(Number.isSafeInteger(reviewAtMs) && reviewAtMs > 0)) {
    throw new RegistryError('The date of the next review is no date.', 'carrier malformed')
  }
}

/** Ids of active carriers whose review is due. */
export async function carriersDue(db: RegistryDb, nowMs: number): Promise<string[]> {
  const rows = await db
    .selectFrom('carriers')
    .select('id')
    .where('status', '=', 'active')
    .where('review_at', '<=', nowMs)
    .execute()
  return rows.map((row) => row.id)
}

/** All carriers by id, each with the ids of its outlets. */
export async function listCarriers(db: RegistryDb) {
  const carriers = await db.selectFrom('carriers').selectAll().orderBy('id').execute()
  const outlets = await db.selectFrom('outlets').selectAll().orderBy('id').execute()
  const outletsOf = Map.groupBy(outlets, (outlet) => outlet.carrier)
  const numberOf = (value: unknown) => (value === null ? null : Number(value))
  return carriers.map(({ admitted_at, sandbox_of, fell_with: _, review_at, quota, ...carrier }) => ({
    ...carrier,
    admittedAtMs: Number(admitted_at),
    sandboxOf: sandbox_of,
    quota: numberOf(quota),
    reviewAtMs: numberOf(review_at),
    outlets: (outletsOf.get(carrier.id) ?? []).map((outlet) => outlet.id),
  }))
}
