// fsck: an untouched ledger is right, offline and beside a writer; each kind of damage is named with its entry.
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/base/clock.ts'
import { readConfig } from '../../src/base/config.ts'
import { runFsck } from '../../src/commands/fsck.ts'
import { printVkey } from '../../src/ledger/note.ts'
import { openIn, sessionOf, verifyOf } from '../helpers/ledger.ts'

const { privateKey } = generateKeyPairSync('ed25519')
const signer = { name: 'ledger.test', key: privateKey }
const key = printVkey(signer.name, privateKey)

async function fsck(file: string, ...more: string[]) {
  const out: string[] = []
  const io = {
    config: readConfig({}),
    clock: systemClock,
    dataDir: join(file, '..'),
    certsDir: join(file, '..', 'none'),
    out: (line: string) => out.push(line),
    err: (line: string) => out.push(line),
  }
  const code = await runFsck(['--file', file, '--key', key, ...more], io)
  return { code, text: out.join('\n') }
}

/** A closed ledger of 700 entries, the last of them a session. */
async function fill(t: Test) {
  const { ledger, file } = await openIn(t, { signer })
  for (let group = 0; group < 7; group++) {
    const entries = Array.from({ length: group === 6 ? 99 : 100 }, () => verifyOf())
    await Promise.all(entries.map((entry) => ledger.append(entry)))
  }
  await ledger.append(sessionOf('{}'))
  await ledger.close()
  return file
}

t.test('an untouched ledger is right, with one thread and with several', async (t) => {
  const file = await fill(t)
  for (const threads of ['1', '3']) {
    const { code, text } = await fsck(file, '--threads', threads)
    t.equal(code, 0, text)
    t.match(text, /^700 entries are right, 700 of them signed as ledger\.test, 700 shown\./m)
  }
})

t.test('it runs beside a gateway that appends', async (t) => {
  const { ledger, file } = await openIn(t, { signer })
  let going = true
  const appending = (async () => {
    while (going) await Promise.all(Array.from({ length: 50 }, () => ledger.append(verifyOf())))
  })()
  await new Promise((resolve) => setTimeout(resolve, 700))
  const checked = []
  try {
    for (let i = 0; i < 3; i++) checked.push(await fsck(file))
  } finally {
    going = false
    await appending
  }
  for (const { code, text } of checked) t.equal(code, 0, text)
})

t.test('each damage is found, and the first entry that it is about is named', async (t) => {
  const whole = await fill(t)
  const folder = join(whole, '..')
  const table: [what: string, sql: string, said: RegExp][] = [
    [
      'data',
      'update entries set data = zeroblob(10) where idx = 300',
      /^Entry 300: its leaf is not the hash/,
    ],
    ['leaf', 'update entries set leaf = zeroblob(32) where idx = 0', /^Entry 0: its leaf is not the hash/],
    ['gone', 'delete from entries where idx = 411', /^Entry 411: there is no such entry/],
    [
      'the last gone',
      'delete from entries where idx = 699',
      /^Entry 699: the signed checkpoint is of 700 entries/,
    ],
    [
      'private row',
      'update private_rows set blob = zeroblob(40) where idx = 512',
      /^Entry 512: its private row was altered/,
    ],
    ['private row gone', 'delete from private_rows where idx = 5', /^Entry 5: its private row is missing/],
    ['tile', 'update tiles set hashes = zeroblob(64) where level = 1', /^Entry 0: tile 1\/0 differs/],
    ['tile gone', 'delete from tiles', /^Entry 0: tile 1\/0 differs/],
    [
      'note',
      "update checkpoints set note = replace(note, 'A', 'B')",
      /^the signed checkpoint is not signed by/,
    ],
    ['size', 'update checkpoints set published_size = 699', /^the published checkpoint is of another size/],
    [
      'consumed',
      'update consumed set digest = zeroblob(32) where idx = 77',
      /^Entry 77: a used challenge names it/,
    ],
    [
      'consumed of nobody',
      'update consumed set idx = 9999 where idx = 78',
      /^Entry 9999: a used challenge names it/,
    ],
    [
      'another entry in its place',
      'update entries set data = (select data from entries where idx = 9), leaf = (select leaf from entries where idx = 9) where idx = 10',
      /^Entry 10: its private row was altered/,
    ],
  ]
  for (const [what, sql, said] of table) {
    const file = join(folder, 'damaged.db')
    copyFileSync(whole, file)
    const db = new DatabaseSync(file)
    db.exec(sql)
    db.close()
    const { code, text } = await fsck(file)
    t.equal(code, 1, what)
    t.match(text, said, what)
    t.match(text, /NOT as it was signed/)
  }
})

t.test('entries replaced whole, leaves and private rows with them, are told by the tree', async (t) => {
  const file = await fill(t)
  const db = new DatabaseSync(file)
  const copy = (table: string, columns: string[]) => {
    const from = (column: string) =>
      `(select ${column} from ${table} as old where old.idx = ${table}.idx - 256)`
    const sets = columns.map((column) => `${column} = ${from(column)}`).join(', ')
    db.exec(`update ${table} set ${sets} where idx between 300 and 310`)
  }
  copy('entries', ['data', 'leaf'])
  copy('private_rows', ['blob'])
  db.close()
  const { code, text } = await fsck(file)
  t.equal(code, 1)
  t.match(text, /^Entry 256: tile 1\/0 differs/, 'the first entry under the hash that differs')
})

t.test('an old copy beside a newer head, another key, or nothing at all', async (t) => {
  const file = await fill(t)
  writeFileSync(
    join(file, '..', 'ledger-head.note'),
    `ledger.test\n900\n${randomBytes(32).toString('base64')}\n\nx`,
  )
  t.match((await fsck(file)).text, /^the head file is not signed by ledger\.test/)
  const stranger = printVkey('ledger.test', generateKeyPairSync('ed25519').privateKey)
  t.match((await fsck(file, '--key', stranger)).text, /^the signed checkpoint is not signed by/)
  t.equal((await fsck(join(file, '..', 'absent.db'))).code, 2)
  t.equal((await fsck(file, '--key', 'rubbish')).code, 2)
  t.equal((await fsck(file, '--threads', '0')).code, 64)
})
