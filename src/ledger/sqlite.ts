// The ledger's tables in SQLite, how its file is opened, and its faults by name (PROTOCOL sections 4, 9).
// Nothing that grows for ever has an index in random order: see docs/LEDGER.md, "Life of a leaf".
import { DatabaseSync } from 'node:sqlite'
import { openSqlite } from '../base/sqlite.ts'

const tables = `
  create table if not exists entries (idx integer primary key, data blob not null, leaf blob not null);
  create table if not exists private_rows (
    idx integer primary key, day integer not null, subject_tag blob not null, card_tag blob not null, blob blob not null);
  create table if not exists consumed (
    challenge blob primary key, digest blob not null, idx bigint not null, expires bigint not null) without rowid;
  create table if not exists acts (seq bigint primary key, idx bigint not null);
  create table if not exists tiles (
    level integer not null, n integer not null, hashes blob not null, primary key (level, n));
  create table if not exists finds (
    kind integer not null, span integer not null, part integer not null, block integer not null,
    rows blob not null, primary key (kind, span, part, block));
  create table if not exists checkpoints (
    id integer primary key check (id = 1), size bigint not null, root blob not null, note text not null,
    published_size bigint not null, published text not null);
  create table if not exists answered (
    carrier text not null, day integer not null, outlet text not null,
    yes bigint not null, no bigint not null, undecided bigint not null,
    primary key (carrier, day, outlet)) without rowid;`

const readWaitMs = 100

/** Opens (and makes) the file for its writer. */
export function openLedgerFile(file: string): DatabaseSync {
  const db = openSqlite(file)
  // The last table is there: all are. Who opens a file that another writes need not wait for its lock.
  const made = db.prepare("select 1 from sqlite_master where name = 'answered'").get()
  // In one transaction: two processes that open a fresh file make its tables one after the other.
  if (!made) db.exec(`begin immediate; ${tables}; commit`)
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

/** Opens a ledger that stands, beside whoever writes it, and changes nothing. @throws Error if there is none */
export const openLedgerReadOnly = (file: string): DatabaseSync => new DatabaseSync(file, { readOnly: true })

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
