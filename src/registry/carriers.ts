// Carriers and their outlets: admitted, suspended, reinstated. Each change is one transaction with its row.
import { change } from './changes.ts'
import { isLabel, type RegistryDb, RegistryError } from './schema.ts'

export type Outlet = { id: string; name: string }

const carrierId = /^[a-z0-9-]{2,32}$/
const outletId = /^[A-Za-z0-9-]{1,32}$/
const labelForm = '1 to 100 characters, none of them a control character'

type Admission = { id: string; name: string; outlets: Outlet[]; operator: string; nowMs: number }

/**
 * Admits a carrier with its outlets.
 * @returns seq of the change
 * @throws RegistryError if an id or name has a wrong form, an outlet comes twice or the carrier is known
 */
export async function admitCarrier(db: RegistryDb, given: Admission): Promise<{ seq: number }> {
  const { id, name, outlets, operator, nowMs } = given
  assertAdmissible(given)
  const act = { act: 'carrier.admit', carrier: id, name, outlets: outlets.map((outlet) => outlet.id) }
  const described = () => ({ kind: 'carrier' as const, subject: id, operator, nowMs, act })
  const { seq } = await change(db, described, async (tx) => {
    const known = await tx.selectFrom('carriers').select('id').where('id', '=', id).executeTakeFirst()
    if (known) {
      throw new RegistryError(
        `Carrier "${id}" is known already; see "vouchsafe carrier list".`,
        'carrier known already',
      )
    }
    await tx.insertInto('carriers').values({ id, name, status: 'active', admitted_at: nowMs }).execute()
    for (const outlet of outlets) {
      await tx.insertInto('outlets').values({ carrier: id, id: outlet.id, name: outlet.name }).execute()
    }
  })
  return { seq }
}

function assertAdmissible({ id, name, outlets }: Admission): void {
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

type Standing = { id: string; operator: string; nowMs: number; reason?: string }

async function setStatus(db: RegistryDb, given: Standing, status: 'active' | 'suspended') {
  const { id, operator, nowMs, reason } = given
  if (reason !== undefined && !isLabel(reason)) {
    throw new RegistryError(`The reason must be ${labelForm}.`, 'reason malformed')
  }
  const act = {
    act: status === 'active' ? 'carrier.reinstate' : 'carrier.suspend',
    carrier: id,
    ...(reason === undefined ? {} : { reason }),
  }
  const described = () => ({ kind: 'carrier' as const, subject: id, operator, nowMs, act })
  const { seq } = await change(db, described, async (tx) => {
    const known = await tx.selectFrom('carriers').select('status').where('id', '=', id).executeTakeFirst()
    if (!known) {
      throw new RegistryError(`Carrier "${id}" is unknown; see "vouchsafe carrier list".`, 'carrier unknown')
    }
    if (known.status === status) {
      throw new RegistryError(
        `Carrier "${id}" is ${status} already; nothing was changed.`,
        'carrier status unchanged',
      )
    }
    await tx.updateTable('carriers').set({ status }).where('id', '=', id).execute()
  })
  return { seq }
}

/**
 * Nothing of the carrier works any more once a node has read the change, at most 1 s later.
 * @throws RegistryError if the carrier is unknown or suspended already
 */
export const suspendCarrier = (db: RegistryDb, given: Standing): Promise<{ seq: number }> =>
  setStatus(db, given, 'suspended')

/** @throws RegistryError if the carrier is unknown or active already */
export const reinstateCarrier = (db: RegistryDb, given: Standing): Promise<{ seq: number }> =>
  setStatus(db, given, 'active')

/** All carriers by id, each with the ids of its outlets. */
export async function listCarriers(db: RegistryDb) {
  const carriers = await db.selectFrom('carriers').selectAll().orderBy('id').execute()
  const outlets = await db.selectFrom('outlets').selectAll().orderBy('id').execute()
  const outletsOf = Map.groupBy(outlets, (outlet) => outlet.carrier)
  return carriers.map(({ admitted_at, ...carrier }) => ({
    ...carrier,
    admittedAtMs: Number(admitted_at),
    outlets: (outletsOf.get(carrier.id) ?? []).map((outlet) => outlet.id),
  }))
}
