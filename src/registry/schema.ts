// Tables of the registry and their migrations: portable SQL through Kysely (PROTOCOL section 12).
import { setTimeout as sleep } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import { kyselyOver, openSqlite } from '../base/sqlite.ts'

export type RegistryTables = {
  carriers: { id: string; name: string; status: string; admitted_at: number }
  outlets: { carrier: string; id: string; name: string }
  devices: {
    id: Uint8Array
    carrier: string
    outlet: string
    serial: string
    model: string
    spki: Uint8Array
    spki_hash: Uint8Array
    status: string
    registered_at: number
    not_after: number
  }
  operators: { name: string; role: string; secret_hash: Uint8Array; status: string }
  changes: { seq: number; time: number; kind: string; subject: string; operator: string; act: string }
  counters: { name: string; value: number }
}

export type RegistryDb = Kysely<RegistryTables>

/** Why the registry refused: a fixed word for code and the log, which holds nothing that was given. */
export type RegistryReason =
  | 'refused'
  | 'act too large'
  | 'carrier malformed'
  | 'carrier known already'
  | 'carrier unknown'
  | 'carrier status unchanged'
  | 'reason malformed'
  | 'outlet malformed'
  | 'outlet repeated'
  | 'outlet unknown'
  | 'device malformed'
  | 'spki not P-256'
  | 'proof of possession wrong'
  | 'key already used'
  | 'device unknown'
  | 'device already revoked'
  | 'operator malformed'
  | 'operator known already'
  | 'operator unknown'
  | 'role not allowed'
  | 'first operator not admin'

/** What the registry refuses: `message` for the person who asked, `reason` for code. */
export class RegistryError extends Error {
  readonly reason: RegistryReason
  constructor(message: string, reason: RegistryReason = 'refused') {
    super(message)
    this.name = 'RegistryError'
    this.reason = reason
  }
}

/** A name or reason as people write it: 1 to 100 characters, no control characters (lists are printed by line). */
export const isLabel = (text: string) => /^\P{Cc}{1,100}$/u.test(text) && text.trim() !== ''

let lastTurn: Promise<unknown> = Promise.resolve()

/**
 * Runs writers of this process one after another. SQLite waits for a lock inside the call, so that a second
 * handle of one process would stop the event loop which the first needs to commit.
 */
export function inTurn<T>(write: () => Promise<T>): Promise<T> {
  const turn = lastTurn.then(write)
  lastTurn = turn.catch(() => {}) // The one who asked is told by `turn`; the next only waits.
  return turn
}

// PostgreSQL's name; SQLite takes any, and stores a blob as it is in a column of whatever name.
const bytes = 'bytea'

const first: Migration = {
  async up(db: Kysely<never>) {
    await makeWhoMayAsk(db)
    await makeWhoActs(db)
  },
}

async function makeWhoMayAsk(db: Kysely<never>): Promise<void> {
  await db.schema
    .createTable('carriers')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('name', 'text', (c) => c.notNull())
    .addColumn('status', 'text', (c) => c.notNull())
    .addColumn('admitted_at', 'bigint', (c) => c.notNull())
    .execute()
  await db.schema
    .createTable('outlets')
    .addColumn('carrier', 'text', (c) => c.notNull().references('carriers.id'))
    .addColumn('id', 'text', (c) => c.notNull())
    .addColumn('name', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('outlets_pk', ['carrier', 'id'])
    .execute()
  await db.schema
    .createTable('devices')
    .addColumn('id', bytes, (c) => c.primaryKey().notNull())
    .addColumn('carrier', 'text', (c) => c.notNull().references('carriers.id'))
    .addColumn('outlet', 'text', (c) => c.notNull())
    .addColumn('serial', 'text', (c) => c.notNull())
    .addColumn('model', 'text', (c) => c.notNull())
    .addColumn('spki', bytes, (c) => c.notNull())
    .addColumn('spki_hash', bytes, (c) => c.notNull().unique())
    .addColumn('status', 'text', (c) => c.notNull())
    .addColumn('registered_at', 'bigint', (c) => c.notNull())
    .addColumn('not_after', 'bigint', (c) => c.notNull())
    .execute()
}

async function makeWhoActs(db: Kysely<never>): Promise<void> {
  await db.schema
    .createTable('operators')
    .addColumn('name', 'text', (c) => c.primaryKey())
    .addColumn('role', 'text', (c) => c.notNull())
    .addColumn('secret_hash', bytes, (c) => c.notNull())
    .addColumn('status', 'text', (c) => c.notNull())
    .execute()
  await db.schema
    .createTable('changes')
    .addColumn('seq', 'bigint', (c) => c.primaryKey())
    .addColumn('time', 'bigint', (c) => c.notNull())
    .addColumn('kind', 'text', (c) => c.notNull())
    .addColumn('subject', 'text', (c) => c.notNull())
    .addColumn('operator', 'text', (c) => c.notNull())
    .addColumn('act', 'text', (c) => c.notNull())
    .execute()
  await db.schema
    .createTable('counters')
    .addColumn('name', 'text', (c) => c.primaryKey())
    .addColumn('value', 'bigint', (c) => c.notNull())
    .execute()
  const counters = db as unknown as Kysely<RegistryTables>
  await counters.insertInto('counters').values({ name: 'changes', value: 0 }).execute()
}

const triesMax = 20
const tryAgainMs = 50
const sqliteBusy = 5

/** SQLITE_BUSY and its extended codes, whose low byte it is. */
const isBusy = (error: unknown) =>
  error instanceof Error && 'errcode' in error && (Number(error.errcode) & 0xff) === sqliteBusy

/**
 * Opens the registry's database and brings its tables up to date; several processes may do so at once.
 * @param file made if absent; its folder must exist
 * @throws what SQLite says if the file cannot be opened, or stays locked for more than 5 s
 */
export async function openRegistry(file: string): Promise<RegistryDb> {
  for (let tries = 1; ; tries++) {
    try {
      return await inTurn(() => openMigrated(file))
    } catch (error) {
      // Two first openers meet in the switch to WAL, where SQLite does not wait by itself.
      if (!isBusy(error) || tries === triesMax) throw error
      await sleep(tryAgainMs)
    }
  }
}

/** One write transaction around the migrations: a crash in it leaves nothing, a second opener waits for it. */
async function openMigrated(file: string): Promise<RegistryDb> {
  const raw = openSqlite(file)
  const db = kyselyOver<RegistryTables>(raw)
  try {
    raw.exec('begin immediate')
    const migrator = new Migrator({ db, provider: { getMigrations: async () => ({ '001-first': first }) } })
    const { error } = await migrator.migrateToLatest()
    if (error) throw error
    raw.exec('commit')
    return db
  } catch (error) {
    raw.close() // Rolls back what was begun.
    throw error
  }
}
