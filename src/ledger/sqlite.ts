// The ledger's tables in SQLite and the one transaction that commits a group (PROTOCOL sections 4, 9).
// Several processes may share the file: `begin immediate` lets one group through at a time, and everything a
// group depends on (the next index, the last time, what is consumed) is read inside it.
import type { DatabaseSync } from 'node:sqlite'
import { present } from '../base/assert.ts'
import { limits } from '../base/limits.ts'
import { openSqlite } from '../base/sqlite.ts'
import { parseEntry } from './entry.ts'

const tables = `
  create table if not exists entries (idx integer primary key, data blob not null, leaf blob not null);
  create table if not exists private_rows (
    idx integer primary key, day integer not null, subject_tag blob not null, card_tag blob not null, blob blob not null);
  create index if not exists private_rows_subject on private_rows (subject_tag);
  create index if not exists private_rows_card on private_rows (card_tag);
  create table if not exists consumed (
    challenge blob primary key, digest blob not null, idx bigint not null, expires bigint not null);
  create index if not exists consumed_expires on consumed (expires);
  create table if not exists acts (seq bigint primary key, idx bigint not null);`

/** An entry and its private row, ready to be written. */
export type Row = {
  data: Buffer
  leaf: Buffer
  day: number
  subjectTag: Buffer
  cardTag: Buffer
  blob: Buffer
}

/** What makes an append unique: a challenge with its digest, or the seq of a change. */
export type Claim = { challenge: Buffer; digest: Buffer; expiresMs: number } | { seq: number } | undefined

export type Wanted = { claim: Claim; make(timeMs: number): Row }
export type Result = { index: number; timeMs: number; leaf: Buffer } | { index: number; lost: Buffer }

const pruneMax = 1000
const readWaitMs = 100

/** Opens (and makes) the file for its writer. */
export function openLedgerFile(file: string): DatabaseSync {
  const db = openSqlite(file)
  // In one transaction: two processes that open a fresh file make its tables one after the other.
  db.exec(`begin immediate; ${tables}; commit`)
  return db
}

/**
 * Opens the file for reads on the serving thread. It cannot write, and waits for a lock only briefly; it is
 * not opened read-only because the last handle to close folds the WAL back into the file.
 */
export function openLedgerReader(file: string): DatabaseSync {
  const db = openLedgerFile(file)
  db.exec(`pragma query_only = on; pragma busy_timeout = ${readWaitMs}`)
  return db
}

/** The inserts of a group, prepared over one handle; they mean something only inside its transaction. */
function prepareInserts(db: DatabaseSync) {
  const last = db.prepare('select idx, data from entries order by idx desc limit 1')
  const entry = db.prepare('insert into entries (idx, data, leaf) values (?, ?, ?)')
  const row = db.prepare(
    'insert into private_rows (idx, day, subject_tag, card_tag, blob) values (?, ?, ?, ?, ?)',
  )
  const consume = db.prepare(
    'insert into consumed (challenge, digest, idx, expires) values (?, ?, ?, ?) on conflict do nothing',
  )
  const winner = db.prepare('select digest, idx from consumed where challenge = ?')
  const act = db.prepare('insert into acts (seq, idx) values (?, ?) on conflict do nothing')
  const actOf = db.prepare('select idx from acts where seq = ?')

  /** Undefined if the claim is ours now, else what stands. */
  function claimAt(claim: Claim, index: number): { index: number; lost: Buffer } | undefined {
    if (!claim) return undefined
    if ('seq' in claim) {
      if (act.run(claim.seq, index).changes === 1) return undefined
      const standing = present(actOf.get(claim.seq), 'the entry of a change')
      return { index: Number(standing['idx']), lost: Buffer.alloc(0) }
    }
    if (consume.run(claim.challenge, claim.digest, index, claim.expiresMs).changes === 1) return undefined
    const standing = present(winner.get(claim.challenge), 'the winner of a challenge')
    return { index: Number(standing['idx']), lost: Buffer.from(standing['digest'] as Uint8Array) }
  }

  return {
    /** Index of the next entry, and the time that it may not precede. */
    readHead(): { next: number; lastMs: number } {
      const standing = last.get()
      if (!standing) return { next: 0, lastMs: 0 }
      const data = parseEntry(Buffer.from(standing['data'] as Uint8Array))
      return { next: Number(standing['idx']) + 1, lastMs: present(data, 'the form of the last entry').timeMs }
    },
    /** Only what wins its claim gets an index, so indices stay contiguous. */
    insertGroup(group: readonly Wanted[], from: number, timeMs: number): Result[] {
      let next = from
      return group.map(({ claim, make }) => {
        const taken = claimAt(claim, next)
        if (taken) return taken
        const { data, leaf, day, subjectTag, cardTag, blob } = make(timeMs)
        const index = next++
        entry.run(index, data, leaf)
        row.run(index, day, subjectTag, cardTag, blob)
        return { index, timeMs, leaf }
      })
    },
  }
}

/** The writer over one handle; its `commit` is the commit point of the whole gateway. */
export function prepareWriter(db: DatabaseSync) {
  const inserts = prepareInserts(db)
  const prune = db.prepare(
    'delete from consumed where challenge in (select challenge from consumed where expires < ? limit ?)',
  )
  return {
    /**
     * Commits a group at one time, which is `nowMs` or, if that would go back, the last entry's.
     * @param mayWrite told that time inside the transaction; if false, nothing is written
     * @returns one result for each wanted, in order; undefined if `mayWrite` said no
     * @throws what SQLite or `make` throws, and then nothing of the group is in the file
     */
    commit(
      group: readonly Wanted[],
      nowMs: number,
      mayWrite: (timeMs: number) => boolean,
    ): Result[] | undefined {
      if (db.isTransaction) db.exec('rollback') // A rollback that failed with the disk is made up for.
      db.exec('begin immediate')
      try {
        const { next, lastMs } = inserts.readHead()
        const timeMs = Math.max(nowMs, lastMs)
        if (!mayWrite(timeMs)) {
          db.exec('rollback')
          return undefined
        }
        const results = inserts.insertGroup(group, next, timeMs)
        // By our own clock: another process whose clock runs ahead must not shorten what is kept.
        prune.run(nowMs - limits.consumedKeepMs, pruneMax)
        // Dying before the next line leaves nothing: no challenge is consumed, a retry runs afresh.
        db.exec('commit')
        // Dying after it leaves the whole group, durable and not yet acknowledged: the retry of any request in
        // it meets its own digest in `consumed` and gets the answer that stands.
        return results
      } catch (error) {
        rollBack(db)
        throw error
      }
    },
  }
}

function rollBack(db: DatabaseSync): void {
  try {
    if (db.isTransaction) db.exec('rollback')
  } catch {
    // The disk refuses this too. The error that led here is thrown on; the next commit rolls back first.
  }
}

/** A fixed word for an error of SQLite (sqlite.org/rescode.html): its own messages may name files. */
export function nameSqliteError(error: unknown): string {
  const errcode = error instanceof Error && 'errcode' in error ? error.errcode : undefined
  const words: Record<number, string> = {
    5: 'busy',
    8: 'read_only',
    10: 'io',
    13: 'disk_full',
    14: 'cannot_open',
  }
  return (typeof errcode === 'number' && words[errcode & 0xff]) || 'commit_failed'
}

/** Reads of the serving thread, on a handle of its own: WAL readers never wait for the writer. */
export function prepareReader(db: DatabaseSync) {
  const consumed = db.prepare(
    'select c.digest, c.idx, e.data, e.leaf from consumed c join entries e on e.idx = c.idx where challenge = ?',
  )
  const lastSeq = db.prepare('select max(seq) as seq from acts')
  const ofSeq = db.prepare('select idx from acts where seq = ?')
  const size = db.prepare('select max(idx) as idx from entries')
  const entry = db.prepare('select data, leaf from entries where idx = ?')
  const row = db.prepare('select day, subject_tag, card_tag, blob from private_rows where idx = ?')
  const own = (bytes: unknown) => Buffer.from(bytes as Uint8Array)
  return {
    findConsumed(challenge: Buffer) {
      const found = consumed.get(challenge)
      return (
        found && {
          digest: own(found['digest']),
          index: Number(found['idx']),
          data: own(found['data']),
          leaf: own(found['leaf']),
        }
      )
    },
    lastSeq: () => Number(lastSeq.get()?.['seq'] ?? 0),
    indexOfSeq(seq: number): number | undefined {
      const found = ofSeq.get(seq)
      return found && Number(found['idx'])
    },
    size: () => Number(size.get()?.['idx'] ?? -1) + 1,
    readEntry(index: number) {
      const found = entry.get(index)
      return found && { data: own(found['data']), leaf: own(found['leaf']) }
    },
    readPrivate(index: number) {
      const found = row.get(index)
      return (
        found && {
          day: Number(found['day']),
          subjectTag: own(found['subject_tag']),
          cardTag: own(found['card_tag']),
          blob: own(found['blob']),
        }
      )
    },
  }
}
