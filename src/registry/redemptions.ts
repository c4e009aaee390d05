// Tokens redeemed and parcels accepted: what a carrier tells of its day, and what "every accepted parcel has a
// redeemed token" is counted from. Nothing here names a parcel or a person.

import type { DaysAsked } from '../ledger/ledger.ts'
import { changes, type Tx } from './changes.ts'
import type { RegistryDb } from './schema.ts'

/** `jti` 16 bytes; `day` of carrierDay. */
export type Redemption = { jti: Buffer; carrier: string; outlet: string; day: number; atMs: number }

/** Keeps that a token was redeemed; resolves to when, which is the first time. */
export async function redeem(tx: Tx, { jti, carrier, outlet, day, atMs }: Redemption): Promise<number> {
  const made = await tx
    .insertInto('redemptions')
    .values({ jti, carrier, outlet, day, at: atMs })
    .onConflict((c) => c.doNothing())
    .executeTakeFirst()
  if (Number(made.numInsertedOrUpdatedRows ?? 0) === 1) {
    await tx
      .insertInto('redeemed')
      .values({ carrier, day, outlet, count: 1 })
      .onConflict((c) =>
        c
          .columns(['carrier', 'day', 'outlet'])
          .doUpdateSet((eb) => ({ count: eb('redeemed.count', '+', 1) })),
      )
      .execute()
    return atMs
  }
  const row = await tx.selectFrom('redemptions').select('at').where('jti', '=', jti).executeTakeFirstOrThrow()
  return Number(row.at)
}

/** Whether a token (jti, 16 bytes) was redeemed by this carrier. */
export async function isRedeemed(db: RegistryDb | Tx, carrier: string, jti: Buffer): Promise<boolean> {
  const row = await db.selectFrom('redemptions').select('carrier').where('jti', '=', jti).executeTakeFirst()
  return row?.carrier === carrier
}

/** Sets how many parcels an outlet accepted on a day; the last word stands. False for an unknown outlet. */
export async function setAcceptances(
  tx: Tx,
  given: { carrier: string; day: number; outlet: string; count: number },
): Promise<boolean> {
  const { carrier, outlet, count } = given
  const place = await tx
    .selectFrom('outlets')
    .select('id')
    .where('carrier', '=', carrier)
    .where('id', '=', outlet)
    .executeTakeFirst()
  if (!place) return false
  await tx
    .insertInto('acceptances')
    .values(given)
    .onConflict((c) => c.columns(['carrier', 'day', 'outlet']).doUpdateSet({ count }))
    .execute()
  return true
}

export type Told = { day: number; outlet: string; accepted: number | null; redeemed: number }

/** What a carrier told and redeemed, one row for each day and outlet: at most `limit` of either kind. */
export async function readTold(db: RegistryDb, asked: DaysAsked): Promise<Told[]> {
  const { carrier, after, toDay, limit } = asked
  const countsOf = (table: 'acceptances' | 'redeemed') =>
    db
      .selectFrom(table)
      .select(['day', 'outlet', 'count'])
      .where('carrier', '=', carrier)
      .where((eb) => eb(eb.refTuple('day', 'outlet'), '>', eb.tuple(after.day, after.outlet)))
      .where('day', '<=', toDay)
      .orderBy('day')
      .orderBy('outlet')
      .limit(limit)
      .execute()
  const [accepted, redeemed] = [await countsOf('acceptances'), await countsOf('redeemed')]
  const told = new Map<string, Told>()
  for (const { day, outlet, count } of accepted)
    told.set(`${day}/${outlet}`, { day, outlet, accepted: Number(count), redeemed: 0 })
  for (const { day, outlet, count } of redeemed) {
    const standing = told.get(`${day}/${outlet}`) ?? { day, outlet, accepted: null, redeemed: 0 }
    told.set(`${day}/${outlet}`, { ...standing, redeemed: Number(count) })
  }
  return [...told.values()]
}

/** Forgets at most `limit` redemptions of a carrier of days before `day`; resolves to how many. */
export async function pruneRedemptions(
  db: RegistryDb,
  given: { carrier: string; day: number; limit: number },
): Promise<number> {
  const { carrier, day, limit } = given
  const { result } = await changes(db, async (tx) => {
    const old = tx
      .selectFrom('redemptions')
      .select('jti')
      .where('carrier', '=', carrier)
      .where('day', '<', day)
    const gone = await tx.deleteFrom('redemptions').where('jti', 'in', old.limit(limit)).executeTakeFirst()
    return { result: Number(gone.numDeletedRows), acts: [] }
  })
  return result
}
