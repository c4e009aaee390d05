// The change feed: every change of the registry has a row, numbered in commit order by one counter row that
// its transaction updates; a database sequence would number before the commit (PROTOCOL section 12).
import type { Transaction } from 'kysely'
import { limits } from '../base/limits.ts'
import { inTurn, type RegistryDb, RegistryError, type RegistryTables } from './schema.ts'

/** The last three change nothing in the registry: they are acts whose ledger entry its writer appends. */
export type ChangeKind = 'carrier' | 'device' | 'operator' | 'key' | 'destruction' | 'disclosure'

/** `act`: UTF-8 JSON that names act, subject and operator, and nothing of a person who sends parcels. */
export type Change = {
  seq: number
  timeMs: number
  kind: ChangeKind
  subject: string
  operator: string
  act: string
}

type Described = {
  kind: ChangeKind
  subject: string
  operator: string
  nowMs: number
  act: Record<string, unknown> & { act: string }
}

/** Runs a change and its row in one transaction; resolves to the row's seq and what the change came to. */
export async function change<T>(
  db: RegistryDb,
  described: (result: T) => Described,
  work: (tx: Transaction<RegistryTables>) => Promise<T>,
): Promise<{ seq: number; result: T }> {
  const transact = () =>
    db.transaction().execute(async (tx) => {
      // The counter first: it takes the write lock, so that what `work` reads cannot change under it.
      const counter = await tx
        .updateTable('counters')
        .set((eb) => ({ value: eb('value', '+', 1) }))
        .where('name', '=', 'changes')
        .returning('value')
        .executeTakeFirstOrThrow()
      const result = await work(tx)
      const { kind, subject, operator, nowMs, act } = described(result)
      const seq = Number(counter.value)
      const row = { seq, time: nowMs, kind, subject, operator, act: printAct({ ...act, operator }) }
      await tx.insertInto('changes').values(row).execute()
      return { seq, result }
    })
  return inTurn(transact)
}

/** A change that no entry could hold must not be made: every later one would wait behind it. */
function printAct(act: Record<string, unknown>): string {
  const printed = JSON.stringify(act)
  const bytes = Buffer.byteLength(printed)
  if (bytes <= limits.actBytesMax) return printed
  throw new RegistryError(
    `This change takes ${bytes} bytes in the ledger, which holds ${limits.actBytesMax}; make it in smaller parts.`,
    'act too large',
  )
}

/** Changes after `seq`, oldest first, at most `limit`. */
export async function changesAfter(db: RegistryDb, seq: number, limit: number): Promise<Change[]> {
  const rows = await db
    .selectFrom('changes')
    .selectAll()
    .where('seq', '>', seq)
    .orderBy('seq')
    .limit(limit)
    .execute()
  return rows.map(({ time, kind, ...row }) => ({
    ...row,
    seq: Number(row.seq),
    timeMs: Number(time),
    kind: kind as ChangeKind,
  }))
}

/** Seq of the first change of a kind about a subject; undefined if there is none. Reads all of the kind. */
export async function seqOfChange(
  db: RegistryDb,
  of: { kind: ChangeKind; subject: string },
): Promise<number | undefined> {
  const row = await db
    .selectFrom('changes')
    .select('seq')
    .where('kind', '=', of.kind)
    .where('subject', '=', of.subject)
    .orderBy('seq')
    .executeTakeFirst()
  return row && Number(row.seq)
}

/** Seq of the last change, 0 if there is none. */
export async function headOfChanges(db: RegistryDb): Promise<number> {
  const row = await db.selectFrom('counters').select('value').where('name', '=', 'changes').executeTakeFirst()
  return Number(row?.value ?? 0)
}
