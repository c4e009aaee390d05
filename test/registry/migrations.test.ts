// A registry that was made by an earlier version is brought up to date with what it holds: no device key is free again.
import { generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import { Migrator } from 'kysely/migration'
import t from 'tap'
import { randomId, sha256 } from '../../src/base/bytes.ts'
import { kyselyOver } from '../../src/base/kysely.ts'
import { printP256Spki, signP256 } from '../../src/base/p256.ts'
import { openSqlite } from '../../src/base/sqlite.ts'
import { bind } from '../../src/base/t2l.ts'
import { listCarriers } from '../../src/registry/carriers.ts'
import { changesAfter, newsOfCarrier } from '../../src/registry/changes.ts'
import { registerDevice } from '../../src/registry/devices.ts'
import { migrations } from '../../src/registry/migrations.ts'
import { openRegistry } from '../../src/registry/schema.ts'

t.test('from the first version to this one', async (t) => {
  const file = join(t.testdir(), 'registry.db')
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = printP256Spki(privateKey)
  const old = kyselyOver<never>(openSqlite(file))
  const { '001-first': first } = migrations
  const provider = { getMigrations: async () => ({ '001-first': first as NonNullable<typeof first> }) }
  const { error } = await new Migrator({ db: old, provider }).migrateToLatest()
  t.equal(error, undefined)
  await old.destroy()
  const raw = openSqlite(file)
  raw.exec(
    "insert into carriers (id, name, status, admitted_at) values ('swift-crane', 'Swift Crane', 'active', 1)",
  )
  raw.exec("insert into outlets (carrier, id, name) values ('swift-crane', 'harbour', 'Harbour')")
  raw
    .prepare('insert into devices values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
    .run(randomId(), 'swift-crane', 'harbour', 'SC-1', 'K7', spki, sha256(spki), 'revoked', 1, 2)
  raw.exec(
    `insert into changes values (1, 1, 'carrier', 'swift-crane', 'lin.qiao', '{"act":"carrier.admit"}')`,
  )
  raw.exec("update counters set value = 1 where name = 'changes'")
  raw.close()

  const db = await openRegistry(file)
  t.teardown(() => db.destroy())
  t.match(await listCarriers(db), [
    { id: 'swift-crane', status: 'active', quota: null, reviewAtMs: null, sandboxOf: null },
  ])
  t.same(await db.selectFrom('redeemed').selectAll().execute(), [])
  const raws = openSqlite(file)
  const plan = (query: string) =>
    raws
      .prepare(`explain query plan ${query}`)
      .all()
      .map(({ detail }) => detail)
  const ofCarrier = "select * from devices where carrier = 'swift-crane'"
  t.match(plan(`${ofCarrier} and id > x'00' order by id limit 3`), [/devices_by_id \(carrier=\? AND id>\?\)/])
  t.match(plan(`${ofCarrier} and serial in ('a', 'b')`), [/devices_by_serial \(carrier=\? AND serial=\?\)/])
  raws.close()
  t.match(await changesAfter(db, 0, 10), [{ seq: 1, act: '{"act":"carrier.admit"}' }])
  t.same(
    await newsOfCarrier(db, { carrier: 'swift-crane', after: 0, limit: 10 }),
    [],
    'from now on it is told',
  )
  const place = {
    carrier: 'swift-crane',
    outlet: 'harbour',
    serial: 'SC-2',
    model: 'K7',
    operator: 'lin.qiao',
    nowMs: 3,
  }
  const pop = signP256(privateKey, bind('enrol', place.carrier, place.serial, spki))
  await t.rejects(registerDevice(db, { ...place, spki, pop }), /registered before/)
})
