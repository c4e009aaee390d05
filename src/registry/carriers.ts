// Carriers and their outlets: admitted, suspended, reinstated. Each change is one transaction with its row.
import { change } from './changes.ts'
import { type RegistryDb, RegistryError } from './schema.ts'

export type Outlet = { id: string; name: string }

const carrierId = /^[a-z0-9-]{2,32}$/
const outletId = /^[A-Za-z0-9-]{1,32}$/

/** @throws RegistryError if an id has a wrong form or the carrier is known */
export async function admitCarrier(
  db: RegistryDb,
  given: { id: string; name: string; outlets: Outlet[]; operator: string; nowMs: number },
): Promise<{ seq: number }> {
  const { id, name, outlets, operator, nowMs } = given
  if (!carrierId.test(id)) throw new RegistryError(`Carrier id "${id}" must be 2 to 32 of a-z, 0-9 and -.`)
  for (const outlet of outlets) {
    if (!outletId.test(outlet.id)) {
      throw new RegistryError(`Outlet id "${outlet.id}" must be 1 to 32 of A-Z, a-z, 0-9 and -.`)
    }
  }
  const act = { act: 'carrier.admit', carrier: id, name, outlets: outlets.map((outlet) => outlet.id) }
  const described = () => ({ kind: 'carrier' as const, subject: id, operator, nowMs, act })
  return change(db, described, async (tx) => {
    const known = await tx.selectFrom('carriers').select('id').where('id', '=', id).executeTakeFirst()
    if (known) throw new RegistryError(`Carrier "${id}" is known already; see "vouchsafe carrier list".`)
    await tx.insertInto('carriers').values({ id, name, status: 'active', admitted_at: nowMs }).execute()
    for (const outlet of outlets)
      await tx
        .insertInto('outlets')
        .values({ carrier: id, ...outlet })
        .execute()
  })
}

type Standing = { id: string; operator: string; nowMs: number; reason?: string }

async function setStatus(db: RegistryDb, given: Standing, status: 'active' | 'suspended') {
  const { id, operator, nowMs, reason } = given
  const act = {
    act: status === 'active' ? 'carrier.reinstate' : 'carrier.suspend',
    carrier: id,
    ...(reason === undefined ? {} : { reason }),
  }
  const described = () => ({ kind: 'carrier' as const, subject: id, operator, nowMs, act })
  return change(db, described, async (tx) => {
    const { numUpdatedRows } = await tx
      .updateTable('carriers')
      .set({ status })
      .where('id', '=', id)
      .where('status', '!=', status)
      .executeTakeFirst()
    if (numUpdatedRows === 0n) {
      throw new RegistryError(
        `Carrier "${id}" is unknown or already ${status}; see "vouchsafe carrier list".`,
      )
    }
  })
}

/** Nothing of the carrier works any more once a node has read the change, at most 1 s later. */
export const suspendCarrier = (db: RegistryDb, given: Standing): Promise<{ seq: number }> =>
  setStatus(db, given, 'suspended')

export const reinstateCarrier = (db: RegistryDb, given: Standing): Promise<{ seq: number }> =>
  setStatus(db, given, 'active')

export async function listCarriers(db: RegistryDb) {
  const carriers = await db.selectFrom('carriers').selectAll().orderBy('id').execute()
  const outlets = await db.selectFrom('outlets').selectAll().orderBy('id').execute()
  return carriers.map(({ admitted_at, ...carrier }) => ({
    ...carrier,
    admittedAtMs: Number(admitted_at),
    outlets: outlets.filter((outlet) => outlet.carrier === carrier.id).map((outlet) => outlet.id),
  }))
}
