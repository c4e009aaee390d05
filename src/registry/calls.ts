// Mutating calls of carriers, each answered once for its Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07):
// the answer is kept in the transaction that it tells of, so neither is ever there without the other. It knows no
// HTTP beyond a status and a body.

import { sameBytes } from '../base/bytes.ts'
import { dayMs } from '../base/clock.ts'
import { changes, type Described, type Tx } from './changes.ts'
import type { RegistryDb } from './schema.ts'

/** How long the answer to a key is kept. */
export const callLifeMs = dayMs

/** `digest` is of everything that the call asks for, 32 bytes. */
export type Call = { carrier: string; key: string; digest: Buffer; nowMs: number }
export type CallReply = { status: number; body: string }
/** A key that was used for another call is `reused`: nothing was done. */
export type Called = { state: 'answered'; replayed: boolean; reply: CallReply } | { state: 'reused' }

export type CallWork = (tx: Tx, firstSeq: number) => Promise<{ reply: CallReply; acts: readonly Described[] }>

/**
 * Does `work` unless its key was answered before, in which case that answer is given again. What `work` throws
 * leaves nothing behind, so that the same key may be tried again.
 */
export async function callOnce(db: RegistryDb, call: Call, work: CallWork): Promise<Called> {
  const [called] = await callEachOnce(db, [call], work)
  return called as Called
}

/** As `callOnce` for calls that share one transaction: a fault of one is a fault of all. */
export async function callEachOnce(
  db: RegistryDb,
  calls: readonly Call[],
  work: (tx: Tx, firstSeq: number, at: number) => ReturnType<CallWork>,
): Promise<Called[]> {
  const { result } = await changes(db, async (tx, firstSeq) => {
    const acts: Described[] = []
    const result: Called[] = []
    for (const [at, call] of calls.entries()) {
      const standing = await readStanding(tx, call)
      if (standing) {
        result.push(standing)
        continue
      }
      const done = await work(tx, firstSeq + acts.length, at)
      acts.push(...done.acts)
      await keep(tx, call, done.reply)
      result.push({ state: 'answered', replayed: false, reply: done.reply })
    }
    return { result, acts }
  })
  return result
}

/** What stands for a call before anything of it is looked at; undefined if it is new. */
export const findCalled = (db: RegistryDb, call: Call): Promise<Called | undefined> => readStanding(db, call)

async function readStanding(
  tx: Tx | RegistryDb,
  { carrier, key, digest, nowMs }: Call,
): Promise<Called | undefined> {
  const row = await tx
    .selectFrom('calls')
    .selectAll()
    .where('carrier', '=', carrier)
    .where('key', '=', key)
    .executeTakeFirst()
  if (!row || Number(row.ends_at) <= nowMs) return undefined
  if (!sameBytes(Buffer.from(row.digest), digest)) return { state: 'reused' }
  return { state: 'answered', replayed: true, reply: { status: row.status, body: row.body } }
}

async function keep(tx: Tx, { carrier, key, digest, nowMs }: Call, reply: CallReply): Promise<void> {
  const row = { carrier, key, digest, ...reply, ends_at: nowMs + callLifeMs }
  const { carrier: _, key: __, ...renewed } = row
  await tx
    .insertInto('calls')
    .values(row)
    .onConflict((c) => c.columns(['carrier', 'key']).doUpdateSet(renewed)) // One that is past its life.
    .execute()
}

/** Forgets at most `limit` answers past their life; resolves to how many. */
export async function pruneCalls(db: RegistryDb, nowMs: number, limit: number): Promise<number> {
  const { result } = await changes(db, async (tx) => {
    const ended = tx.selectFrom('calls').select('ends_at').where('ends_at', '<=', nowMs).orderBy('ends_at')
    const last = await ended
      .offset(limit - 1)
      .limit(1)
      .executeTakeFirst()
    const until = last === undefined ? nowMs : Number(last.ends_at)
    const gone = await tx.deleteFrom('calls').where('ends_at', '<=', until).executeTakeFirst()
    return { result: Number(gone.numDeletedRows), acts: [] }
  })
  return result
}
