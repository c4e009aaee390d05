// The ledger's tables in SQLite and the one transaction that commits a group (PROTOCOL sections 4, 9).
// Several processes may share the file: `begin immediate` lets one group through at a time.
import type { DatabaseSync } from 'node:sqlite'
import { readU64 } from '../base/bytes.ts'
import { limits } from '../base/limits.ts'
import { openSqlite } from '../base/sqlite.ts'

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

const timeOffset = Buffer.from('vouchsafe/entry/v1\0').length + 4 + 4 + 3 // Fields 01 and 02, head of 03.
const pruneMax = 1000

export function openLedgerFile(file: string): DatabaseSync {
  const db = openSqlite(file)
  db.exec(tables)
  return db
}

/** Prepared statements over one handle; `commit` is the commit point of the whole gateway. */
export function prepareWriter(db: DatabaseSync) {
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
  const prune = db.prepare(
    'delete from consumed where challenge in (select challenge from consumed where expires < ? limit ?)',
  )

  /** Undefined if the claim is ours now, else what stands. */
  function claimAt(claim: Claim, index: number): { index: number; lost: Buffer } | undefined {
    if (!claim) return undefined
    if ('seq' in claim) {
      if (act.run(claim.seq, index).changes === 1) return undefined
      return { index: Number((actOf.get(claim.seq) as { idx: number }).idx), lost: Buffer.alloc(0) }
    }
    if (consume.run(claim.challenge, claim.digest, index, claim.expiresMs).changes === 1) return undefined
    const standing = winner.get(claim.challenge) as { digest: Uint8Array; idx: number }
    return { index: Number(standing.idx), lost: Buffer.from(standing.digest) }
  }

  return {
    /** Commits a group; all of it or, when this throws, none of it. Time never goes back. */
    commit(group: readonly Wanted[], nowMs: number): Result[] {
      db.exec('begin immediate')
      try {
        const standing = last.get() as { idx: number; data: Uint8Array } | undefined
        let next = standing ? standing.idx + 1 : 0
        const timeMs = Math.max(nowMs, standing ? readU64(Buffer.from(standing.data), timeOffset) : 0)
        const results = group.map(({ claim, make }): Result => {
          const taken = claimAt(claim, next)
          if (taken) return taken
          const { data, leaf, day, subjectTag, cardTag, blob } = make(timeMs)
          const index = next++
          entry.run(index, data, leaf)
          row.run(index, day, subjectTag, cardTag, blob)
          return { index, timeMs, leaf }
        })
        prune.run(timeMs - limits.consumedKeepMs, pruneMax)
        // Dying before the next line leaves nothing; dying after it leaves the whole group, and a retry of any
        // request in it is settled from `consumed`.
        db.exec('commit')
        return results
      } catch (error) {
        if (db.isTransaction) db.exec('rollback')
        throw error
      }
    },
    lastTimeMs(): number {
      const standing = last.get() as { data: Uint8Array } | undefined
      return standing ? readU64(Buffer.from(standing.data), timeOffset) : 0
    },
  }
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
