// The one way a database file of ours is opened. No Kysely here: the ledger's threads do without, and it is 255 modules
// that each of them would load (base/kysely.ts).
import { DatabaseSync } from 'node:sqlite'

/**
 * Opens (and makes) a database file: WAL, and a commit is on disk before it returns.
 * @param lockMsMax how long a call may wait, its thread with it, for another process's write
 */
export function openSqlite(file: string, lockMsMax = 5000): DatabaseSync {
  const database = new DatabaseSync(file, { timeout: lockMsMax })
  database.exec('pragma journal_mode = wal')
  database.exec('pragma synchronous = full')
  database.exec('pragma foreign_keys = on')
  return database
}
