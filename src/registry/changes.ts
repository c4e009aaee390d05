// The change feed: every change of the registry has a row, numbered in commit order by one counter row that
// its transaction updates; a database sequence would number before the commit (PROTOCOL section 12).
import type { Transaction } from 'kysely'
import { limits } from '../base/limits.ts'
import { inTurn, type RegistryDb, RegistryError, type RegistryTables } from './schema.ts'

/** The last three change nothing in the registry: they are acts whose ledger entry its writer appends. */
export type ChangeKind =
  | 'carrier'
  | 'device'
  | 'certificate'
  | 'token'
  | 'operator'
  | 'key'
  | 'destruction'
  | 'disclosure'

/** `act`: UTF-8 JSON that names act, subject and operator, and nothing of a person who sends parcels. */
export type Change = {
  seq: number
  timeMs: number
  kind: ChangeKind
  subject: string
  operator: string
  act: string
}

export type Described = {
  kind: ChangeKind
  subject: string
  /** Who acts: a named operator, `carrier:ID`, or `system:WHAT`. */
  operator: string
  nowMs: number
  act: Record<string, unknown> & { act: string }
  /** Whose news it is: it is told by that carrier's change cursor. */
  carrier?: string
}

export type Tx = Transaction<RegistryTables>

/** Who acts when a carrier does so itself; no operator's name has a colon. */
export const carrierActor = (carrier: string) => `carrier:${carrier}`

/** Runs a change and its row in one transaction; resolves to the row's seq and what the change came to. */
export async function change<T>(
  db: RegistryDb,
  described: (result: T) => Described,
  work: (tx: Tx) => Promise<T>,
): Promise<{ seq: number; result: T }> {
  const { firstSeq, result } = await changes(db, async (tx) => {
    const result = await work(tx)
    return { result, acts: [described(result)] }
  })
  return { seq: firstSeq, result }
}

/**
 * Runs any number of changes and their rows in one transaction; the rows are numbered on from `firstSeq`, which
 * `work` is told. What changes nothing that others follow has no acts.
 */
export async function changes<T>(
  db: RegistryDb,
  work: (tx: Tx, firstSeq: number) => Promise<{ result: T; acts: readonly Described[] }>,
): Promise<{ firstSeq: number; result: T }> {
  const transact = () =>
    db.transaction().execute(async (tx) => {
      // The counter first: it takes the write lock, so that what `work` reads cannot change under it.
      const counter = await moveCounter(tx, 0)
      const firstSeq = counter + 1
      const { result, acts } = await work(tx, firstSeq)
      const rows = acts.map(({ kind, subject, operator, nowMs, act, carrier = null }, i) => {
        // With its time: a change made again after a restored backup is told from the one that was recorded.
        const printed = printAct({ ...act, operator, at: nowMs })
        return { seq: firstSeq + i, time: nowMs, kind, subject, operator, act: printed, carrier }
      })
      for (let at = 0; at < rows.length; at += rowsAtOnce)
        await tx
          .insertInto('changes')
          .values(rows.slice(at, at + rowsAtOnce))
          .execute()
      if (rows.length > 0) await moveCounter(tx, rows.length)
      return { firstSeq, result }
    })
  return inTurn(transact)
}

/** A statement takes a bounded number of values. */
const rowsAtOnce = 500

async function moveCounter(tx: Tx, by: number): Promise<number> {
  const counter = await tx
    .updateTable('counters')
    .set((eb) => ({ value: eb('value', '+', by) }))
    .where('name', '=', 'changes')
    .returning('value')
    .executeTakeFirstOrThrow()
  return Number(counter.value)
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
  return rows.map(({ seq, time, kind, subject, operator, act }) => ({
    ...{ subject, operator, act },
    seq: Number(seq),
    timeMs: Number(time),
    kind: kind as ChangeKind,
  }))
}

/** What a carrier may know of the changes that concern it, after `seq`, oldest first, at most `limit`. */
export async function newsOfCarrier(
  db: RegistryDb,
  given: { carrier: string; after: number; limit: number },
) {
  const rows = await db
    .selectFrom('changes')
    .select(['seq', 'time', 'subject', 'act'])
    .where('carrier', '=', given.carrier)
    .where('seq', '>', given.after)
    .orderBy('seq')
    .limit(given.limit)
    .execute()
  return rows.map(({ seq, time, subject, act }) => ({
    seq: Number(seq),
    timeMs: Number(time),
    subject,
    act: (JSON.parse(act) as { act: string }).act,
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

/** Seq of the last change of one of these kinds, 0 if there is none. Reads back to it from the end. */
export async function lastOfKinds(db: RegistryDb, kinds: readonly ChangeKind[]): Promise<number> {
  const row = await db
    .selectFrom('changes')
    .select('seq')
    .where('kind', 'in', kinds)
    .orderBy('seq', 'desc')
    .executeTakeFirst()
  return Number(row?.seq ?? 0)
}

/** Seq of the last change, 0 if there is none. */
export async function headOfChanges(db: RegistryDb): Promise<number> {
  const row = await db.selectFrom('counters').select('value').where('name', '=', 'changes').executeTakeFirst()
  return Number(row?.value ?? 0)
}
