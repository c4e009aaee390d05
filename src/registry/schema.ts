// Tables of the registry and their migrations: portable SQL through Kysely (PROTOCOL section 12).
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

/** What the registry refuses, in words for the person who asked. */
export class RegistryError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'RegistryError'
  }
}

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
    .addColumn('id', 'blob', (c) => c.primaryKey())
    .addColumn('carrier', 'text', (c) => c.notNull().references('carriers.id'))
    .addColumn('outlet', 'text', (c) => c.notNull())
    .addColumn('serial', 'text', (c) => c.notNull())
    .addColumn('model', 'text', (c) => c.notNull())
    .addColumn('spki', 'blob', (c) => c.notNull())
    .addColumn('spki_hash', 'blob', (c) => c.notNull().unique())
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
    .addColumn('secret_hash', 'blob', (c) => c.notNull())
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

const busy = /locked|busy|already exists|UNIQUE/i
const triesMax = 20

/** Opens the registry's database and brings its tables up to date; two processes may do so at once. */
export async function openRegistry(file: string): Promise<RegistryDb> {
  const db = kyselyOver<RegistryTables>(openSqlite(file))
  const migrator = new Migrator({ db, provider: { getMigrations: async () => ({ '001-first': first }) } })
  for (let tries = 1; ; tries++) {
    const { error } = await migrator.migrateToLatest()
    if (!error) return db
    // The other process migrates at this moment: what it made is found in the next round.
    if (tries < triesMax && busy.test(String(error))) {
      await new Promise((resolve) => setTimeout(resolve, 50))
      continue
    }
    await db.destroy()
    throw error
  }
}
