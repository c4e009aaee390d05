// Opening the registry: tables, many openers at once, and what a crash in the middle leaves.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { inTurn, isLabel, openRegistry, RegistryError } from '../../src/registry/schema.ts'

const source = (name: string) =>
  JSON.stringify(fileURLToPath(new URL(`../../src/registry/${name}`, import.meta.url)))

/** Runs lines of a module in a process of its own; resolves to what it printed. */
function runProcess(lines: string): Promise<{ code: number | null; out: string }> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', lines], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  child.stdout.on('data', (chunk) => {
    out += chunk
  })
  child.stderr.on('data', (chunk) => {
    out += chunk
  })
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, out })))
}

t.test('four processes may open a new registry at once, and all find it whole', async (t) => {
  const file = join(t.testdir(), 'registry.db')
  const lines = `
    import { openRegistry } from ${source('schema.ts')}
    import { listCarriers } from ${source('carriers.ts')}
    const wait = ${Date.now() + 1500} - Date.now()
    await new Promise((go) => setTimeout(go, Math.max(0, wait)))
    const db = await openRegistry(${JSON.stringify(file)})
    console.log('carriers', (await listCarriers(db)).length)
    await db.destroy()`
  const ended = await Promise.all(Array.from({ length: 4 }, () => runProcess(lines)))
  for (const { code, out } of ended) t.match({ code, out }, { code: 0, out: 'carriers 0' })
  const raw = new DatabaseSync(file, { readOnly: true })
  t.same(
    raw
      .prepare('select name from kysely_migration')
      .all()
      .map((row) => row['name']),
    ['001-first', '002-carriers'],
    'migrated once',
  )
  t.same({ ...raw.prepare('select * from counters').get() }, { name: 'changes', value: 0 })
  raw.close()
})

t.test('four processes that write at once get seqs without a gap or a repeat', async (t) => {
  const file = join(t.testdir(), 'registry.db')
  const db = await openRegistry(file)
  t.teardown(() => db.destroy())
  const lines = (name: string) => `
    import { openRegistry } from ${source('schema.ts')}
    import { admitCarrier } from ${source('carriers.ts')}
    const db = await openRegistry(${JSON.stringify(file)})
    for (let i = 0; i < 15; i++) {
      const given = { id: '${name}-' + i, name: 'X', outlets: [], operator: 'lin.qiao', nowMs: i }
      console.log((await admitCarrier(db, given)).seq)
    }
    await db.destroy()`
  const ended = await Promise.all(['aa', 'bb', 'cc', 'dd'].map((name) => runProcess(lines(name))))
  const seqs = ended.flatMap(({ out }) => out.trim().split('\n').map(Number))
  t.same(
    seqs.sort((a, b) => a - b),
    Array.from({ length: 60 }, (_, i) => i + 1),
  )
  const rows = await db.selectFrom('changes').select('seq').orderBy('seq').execute()
  t.same(
    rows.map((row) => row.seq),
    seqs,
  )
})

t.test('one process may open it many times at once', async (t) => {
  const file = join(t.testdir(), 'registry.db')
  const opened = await Promise.all(Array.from({ length: 8 }, () => openRegistry(file)))
  for (const db of opened) {
    t.equal((await db.selectFrom('counters').selectAll().execute()).length, 1)
    await db.destroy()
  }
})

t.test('a crash in the middle of the migration leaves nothing that stops the next opener', async (t) => {
  const file = join(t.testdir(), 'registry.db')
  const lines = `
    import { DatabaseSync } from 'node:sqlite'
    const whole = DatabaseSync.prototype.prepare
    DatabaseSync.prototype.prepare = function (text) {
      if (text.includes('create table "operators"')) process.kill(process.pid, 'SIGKILL')
      return whole.call(this, text)
    }
    const { openRegistry } = await import(${source('schema.ts')})
    await openRegistry(${JSON.stringify(file)})`
  const { code } = await runProcess(lines)
  t.equal(code, null, 'it was killed when half of the tables were made')
  const db = await openRegistry(file)
  t.equal((await db.selectFrom('counters').selectAll().execute()).length, 1)
  await db.destroy()
})

t.test('a file that is no database and a folder that is absent are refused as they are', async (t) => {
  const dir = t.testdir({ 'registry.db': 'this is not a database, though long enough to be read as one' })
  await t.rejects(openRegistry(join(dir, 'registry.db')), { message: /not a database/ })
  await t.rejects(openRegistry(join(dir, 'absent', 'registry.db')), { message: /unable to open/ })
})

t.test('the tables use types that PostgreSQL knows', async (t) => {
  const file = join(t.testdir(), 'registry.db')
  await (await openRegistry(file)).destroy()
  const raw = new DatabaseSync(file, { readOnly: true })
  const types = raw
    .prepare(
      "select distinct lower(c.type) as type from sqlite_master m, pragma_table_info(m.name) c where m.type = 'table' and m.name not like 'kysely%'",
    )
    .all()
    .map((row) => row['type'])
  t.same(types.sort(), ['bigint', 'bytea', 'integer', 'text'])
  raw.close()
})

t.test('writers take turns, and the failure of one is its own', async (t) => {
  const order: string[] = []
  const slow = inTurn(async () => {
    await new Promise((go) => setTimeout(go, 20))
    order.push('slow')
    throw new RegistryError('no', 'carrier unknown')
  })
  const next = inTurn(async () => order.push('next'))
  await t.rejects(slow, { name: 'RegistryError', reason: 'carrier unknown' })
  await next
  t.same(order, ['slow', 'next'])
})

t.test('a label is one line of 1 to 100 characters', (t) => {
  for (const good of ['a', 'Swift Crane Express', '迅鹤快递', 'x'.repeat(100)]) t.ok(isLabel(good), good)
  for (const bad of ['', ' ', 'x'.repeat(101), 'a\nb', 'a\tb', 'a\u001b[31m', '\u0000']) {
    t.notOk(isLabel(bad), JSON.stringify(bad))
  }
  t.end()
})
