// Parts of fsck that a small ledger does not reach: search blocks while they are joined, runs that begin within one, and
// a head that moves between two reads. The whole of it: test/ledger/damage.test.ts, test/commands/fsck.test.ts.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { dayMs } from '../../src/base/clock.ts'
import { printEntry } from '../../src/ledger/entry.ts'
import { prepareFiling } from '../../src/ledger/finds.ts'
import { checkRun } from '../../src/ledger/fsck.ts'
import { checkBlocks } from '../../src/ledger/fsck-finds.ts'
import { checkStanding, readStanding } from '../../src/ledger/fsck-tree.ts'
import { leafHash } from '../../src/ledger/hash.ts'
import { prepareIntegrator } from '../../src/ledger/integrator.ts'
import { parseVkey, printVkey } from '../../src/ledger/note.ts'
import { openLedgerFile } from '../../src/ledger/sqlite.ts'
import { prepareWriter } from '../../src/ledger/writer.ts'
import { signer } from '../helpers/checked-ledger.ts'
import { noon, sha } from '../helpers/ledger.ts'

const vkey = parseVkey(printVkey(signer.name, signer.key)) as NonNullable<ReturnType<typeof parseVkey>>

function open(t: Test) {
  const dir = t.testdir()
  const db = openLedgerFile(join(dir, 'ledger.db'))
  db.exec('pragma synchronous = off')
  t.teardown(() => db.close())
  const writer = prepareWriter(db)
  const blob = randomBytes(40)
  const hashes = { who: randomBytes(32), sealedHash: randomBytes(32), privateHash: sha(blob) }
  function append(count: number): void {
    const group = Array.from({ length: count }, () => ({
      claim: undefined,
      make: (timeMs: number) => {
        const data = printEntry({ type: 1, timeMs, answer: 1, jtiHash: randomBytes(32), ...hashes })
        const tags = { subjectTag: randomBytes(16), cardTag: randomBytes(16) }
        return { data, leaf: leafHash(data), day: Math.floor(noon / dayMs), blob, ...tags }
      },
    }))
    writer.commit(group, noon, () => true)
  }
  return { dir, db, append }
}

const size = 70_144

/** What is wrong in the whole, and in two runs that meet within a block. */
function faultsOf(db: DatabaseSync): (string | undefined)[] {
  const ranges = [
    { begin: 0, end: size },
    { begin: 0, end: 30_208 },
    { begin: 30_208, end: size },
  ]
  const runs = ranges.map((range) => checkRun(db, range, () => {}).fault)
  return [...runs, checkBlocks(db)].map((fault) => fault && `${fault.index}: ${fault.what}`)
}
const none = [undefined, undefined, undefined, undefined]

t.test('search blocks are right at every stage of their filing and joining', (t) => {
  const { db, append } = open(t)
  for (let at = 0; at < size; at += 512) append(512)
  t.same(faultsOf(db), none, 'nothing filed')
  const filing = prepareFiling(db)
  while (filing.behind(30_000) > 0) filing.read(30_000, 4096)
  t.same(faultsOf(db), none, '28,672 filed')
  while (filing.behind(size) > 0) filing.read(size, 4096)
  t.same(faultsOf(db), none, 'all filed')
  for (let i = 0; i < 20; i++) filing.step(size, 4096)
  t.same(faultsOf(db), none, 'some parts joined, of tokens and not of cards')
  // One more row in a small block whose part is in the large one by now: the same entry would be there twice.
  const row = db.prepare('select rows from finds where kind = 1 and span = 2 and part = 0').get()?.[
    'rows'
  ] as Uint8Array
  const place = Buffer.from(row).readUInt16BE(8)
  const first = Buffer.concat([row.subarray(0, 8), Buffer.of((place >> 8) & 0x0f, place & 0xff)])
  const put = db.prepare('insert into finds (kind, span, part, block, rows) values (1, 1, 0, ?, ?)')
  put.run(place >> 12, first)
  t.equal(faultsOf(db)[0], `${place}: the search blocks have it twice`)
  db.exec('delete from finds where kind = 1 and span = 1 and part = 0 and block < 16')
  while (filing.step(size, 4096)) {}
  t.same(faultsOf(db), none, 'all joined')

  db.exec('update finds set rows = substr(rows, 11) where kind = 2 and span = 2 and part = 200')
  const [whole, one, two] = faultsOf(db)
  t.match(whole, /^\d+: the search blocks leave it out by its person tag$/)
  t.same(
    [one, two].filter((fault) => fault !== undefined),
    [whole],
    'told by the run that it is in',
  )
  db.exec('delete from finds where kind = 2 and span = 2')
  t.match(faultsOf(db)[2], /^30208: the search blocks leave it out by its person tag$/)
  t.end()
})

t.test('a head that moves while fsck reads is no fault: it is read before the entries', (t) => {
  const { dir, db, append } = open(t)
  const headFile = join(dir, 'ledger-head.note')
  const integrator = prepareIntegrator({ db, signer, headFile, witnessed: false })
  append(250)
  integrator.step()
  let moved = false
  const moving = {
    prepare(sql: string) {
      if (!moved) {
        moved = true
        append(300)
        integrator.step()
      }
      return db.prepare(sql)
    },
  } as unknown as DatabaseSync
  const standing = readStanding(moving, headFile)
  t.ok(moved)
  t.match(standing, { entries: 550, row: { size: 550 }, head: /\n250\n/ })
  const { tileHashes } = checkRun(db, { begin: 0, end: standing.entries }, () => {})
  t.match(checkStanding(db, standing, { ledger: vkey, tileHashes, others: [] }), {
    fault: undefined,
    size: 550,
  })
  t.end()
})
