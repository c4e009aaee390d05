// The registry's tables as migrations: portable SQL through Kysely, never edited once they have run somewhere.
// They know no rules; what may stand in a row is the other files' business.
import { type Kysely, sql } from 'kysely'
import type { Migration } from 'kysely/migration'
import type { RegistryTables } from './schema.ts'

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

/** Carriers: reviewed before they are admitted, their certificates, and what they tell and are told. */
const second: Migration = {
  async up(db: Kysely<never>) {
    await widen(db)
    await makeAdmission(db)
    await makeCarrierApi(db)
    // Every key that a device has had counts as used.
    await sql`insert into device_keys (spki_hash, device) select spki_hash, id from devices`.execute(db)
  },
}

async function widen(db: Kysely<never>): Promise<void> {
  for (const column of ['sandbox_of', 'conditions', 'fell_with'] as const)
    await db.schema.alterTable('carriers').addColumn(column, 'text').execute()
  for (const column of ['quota', 'review_at'] as const)
    await db.schema.alterTable('carriers').addColumn(column, 'bigint').execute()
  await db.schema.alterTable('changes').addColumn('carrier', 'text').execute()
  await db.schema.createIndex('changes_of_carrier').on('changes').columns(['carrier', 'seq']).execute()
  for (const column of ['id', 'outlet', 'serial'] as const)
    await db.schema.createIndex(`devices_by_${column}`).on('devices').columns(['carrier', column]).execute()
  await db.schema
    .createTable('device_keys')
    .addColumn('spki_hash', bytes, (c) => c.primaryKey().notNull())
    .addColumn('device', bytes, (c) => c.notNull())
    .execute()
}

async function makeAdmission(db: Kysely<never>): Promise<void> {
  await db.schema
    .createTable('applications')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('round', 'integer', (c) => c.notNull())
    .addColumn('name', 'text', (c) => c.notNull())
    .addColumn('contact', 'text', (c) => c.notNull())
    .addColumn('outlets', 'text', (c) => c.notNull())
    .addColumn('evidence', 'text', (c) => c.notNull())
    .addColumn('filed_by', 'text', (c) => c.notNull())
    .addColumn('filed_at', 'bigint', (c) => c.notNull())
    .addColumn('status', 'text', (c) => c.notNull())
    .execute()
  await db.schema
    .createTable('filings')
    .addColumn('application', 'text', (c) => c.notNull().references('applications.id'))
    .addColumn('round', 'integer', (c) => c.notNull())
    .addColumn('operator', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('filings_pk', ['application', 'round'])
    .execute()
  await db.schema
    .createTable('reviews')
    .addColumn('application', 'text', (c) => c.notNull().references('applications.id'))
    .addColumn('round', 'integer', (c) => c.notNull())
    .addColumn('operator', 'text', (c) => c.notNull())
    .addColumn('verdict', 'text', (c) => c.notNull())
    .addColumn('note', 'text', (c) => c.notNull())
    .addColumn('at', 'bigint', (c) => c.notNull())
    .addPrimaryKeyConstraint('reviews_pk', ['application', 'round', 'operator'])
    .execute()
  await db.schema
    .createTable('conformance')
    .addColumn('carrier', 'text', (c) => c.notNull().references('carriers.id'))
    .addColumn('outcome', 'text', (c) => c.notNull())
    .addColumn('evidence', 'text', (c) => c.notNull())
    .addColumn('at', 'bigint', (c) => c.notNull())
    .addPrimaryKeyConstraint('conformance_pk', ['carrier', 'outcome'])
    .execute()
  await db.schema
    .createTable('certificates')
    .addColumn('serial', 'text', (c) => c.primaryKey())
    .addColumn('carrier', 'text', (c) => c.notNull().references('carriers.id'))
    .addColumn('key_hash', bytes, (c) => c.notNull())
    .addColumn('not_after', 'bigint', (c) => c.notNull())
    .addColumn('status', 'text', (c) => c.notNull())
    .execute()
}

async function makeCarrierApi(db: Kysely<never>): Promise<void> {
  await db.schema
    .createTable('redemptions')
    .addColumn('jti', bytes, (c) => c.primaryKey().notNull())
    .addColumn('carrier', 'text', (c) => c.notNull())
    .addColumn('outlet', 'text', (c) => c.notNull())
    .addColumn('day', 'integer', (c) => c.notNull())
    .addColumn('at', 'bigint', (c) => c.notNull())
    .execute()
  await db.schema
    .createIndex('redemptions_of_day')
    .on('redemptions')
    .columns(['carrier', 'day', 'outlet'])
    .execute()
  await db.schema
    .createTable('acceptances')
    .addColumn('carrier', 'text', (c) => c.notNull())
    .addColumn('day', 'integer', (c) => c.notNull())
    .addColumn('outlet', 'text', (c) => c.notNull())
    .addColumn('count', 'bigint', (c) => c.notNull())
    .addPrimaryKeyConstraint('acceptances_pk', ['carrier', 'day', 'outlet'])
    .execute()
  await db.schema
    .createTable('redeemed')
    .addColumn('carrier', 'text', (c) => c.notNull())
    .addColumn('day', 'integer', (c) => c.notNull())
    .addColumn('outlet', 'text', (c) => c.notNull())
    .addColumn('count', 'bigint', (c) => c.notNull())
    .addPrimaryKeyConstraint('redeemed_pk', ['carrier', 'day', 'outlet'])
    .execute()
  await db.schema
    .createTable('revoked_tokens')
    .addColumn('jti', bytes, (c) => c.primaryKey().notNull())
    .addColumn('carrier', 'text', (c) => c.notNull())
    .addColumn('seq', 'bigint', (c) => c.notNull())
    .addColumn('ends_at', 'bigint', (c) => c.notNull())
    .execute()
  await db.schema
    .createTable('calls')
    .addColumn('carrier', 'text', (c) => c.notNull())
    .addColumn('key', 'text', (c) => c.notNull())
    .addColumn('digest', bytes, (c) => c.notNull())
    .addColumn('status', 'integer', (c) => c.notNull())
    .addColumn('body', 'text', (c) => c.notNull())
    .addColumn('ends_at', 'bigint', (c) => c.notNull())
    .addPrimaryKeyConstraint('calls_pk', ['carrier', 'key'])
    .execute()
  await db.schema.createIndex('calls_by_end').on('calls').columns(['ends_at']).execute()
}

export const migrations: Record<string, Migration> = { '001-first': first, '002-carriers': second }
