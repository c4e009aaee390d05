// The tree of what was committed: held against a reference tree at every size, signed once and never twice,
// killed between each pair of steps, and refused when it is not the ledger that was signed.
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openCheckpoint } from '../../src/ledger/checkpoint.ts'
import { deriveJti, hashJti, printEntry } from '../../src/ledger/entry.ts'
import { prepareFiling } from '../../src/ledger/finds.ts'
import { leafHash } from '../../src/ledger/hash.ts'
import { LedgerInconsistent } from '../../src/ledger/head.ts'
import { type IntegratorOptions, prepareIntegrator } from '../../src/ledger/integrator.ts'
import { parseVkey, printVkey } from '../../src/ledger/note.ts'
import { checkConsistency, checkInclusion, readConsistency, readInclusion } from '../../src/ledger/proof.ts'
import { prepareReader } from '../../src/ledger/reader.ts'
import { openLedgerFile } from '../../src/ledger/sqlite.ts'
import { readFromTiles } from '../../src/ledger/tile.ts'
import { prepareWriter, type Wanted } from '../../src/ledger/writer.ts'
import { ReferenceTree } from '../helpers/reference-tree.ts'

const { privateKey } = generateKeyPairSync('ed25519')
const signer = { name: 'ledger.test', key: privateKey }
const vkey = parseVkey(printVkey(signer.name, privateKey)) as NonNullable<ReturnType<typeof parseVkey>>

type Made = { digest: Buffer; data: Buffer; subjectTag: Buffer }

function open(t: Test, change: Partial<IntegratorOptions> = {}, dir = t.testdir()) {
  const file = join(dir, 'ledger.db')
  const db = openLedgerFile(file)
  t.teardown(() => {
    if (db.isOpen) db.close()
  })
  const headFile = join(dir, 'head.note')
  const options = { db, signer, headFile, witnessed: false, ...change }
  const made: Made[] = []
  const writer = prepareWriter(db)
  /** Commits `count` entries in one group. */
  function append(count: number): void {
    const group = Array.from({ length: count }, (): Wanted => {
      const digest = randomBytes(32)
      const hashes = { who: randomBytes(32), sealedHash: randomBytes(32), privateHash: randomBytes(32) }
      const jtiHash = hashJti(deriveJti(digest))
      const subjectTag = randomBytes(16)
      return {
        claim: undefined,
        make: (timeMs) => {
          const data = printEntry({ type: 1, timeMs, answer: 1, jtiHash, ...hashes })
          made.push({ digest, data, subjectTag })
          return {
            data,
            leaf: leafHash(data),
            day: 1,
            subjectTag,
            cardTag: randomBytes(16),
            blob: randomBytes(40),
          }
        },
      }
    })
    writer.commit(group, 1_790_000_000_000, () => true)
  }
  return { dir, file, db, headFile, options, made, append, integrator: prepareIntegrator(options) }
}

/** Why a step was refused; `none` if it was not. */
function refusalOf({ integrator }: ReturnType<typeof open>): string {
  try {
    integrator.step()
    return 'none'
  } catch (error) {
    return error instanceof LedgerInconsistent ? error.reason : String(error)
  }
}

const rootOf = (note: string) => openCheckpoint(note, vkey)?.root.toString('hex')

t.test('at every size the root is that of the reference tree, and every proof holds', (t) => {
  const { append, integrator, made, db } = open(t)
  const reader = prepareReader(db)
  t.equal(integrator.step(), undefined, 'nothing to do')
  for (const count of [1, 1, 1, 2, 4, 100, 146, 1, 1, 255, 256, 257, 700]) {
    append(count)
    const signed = integrator.step()
    const size = made.length
    const tree = new ReferenceTree(made.map(({ data }) => data))
    t.equal(signed?.size, size)
    t.equal(rootOf(signed?.note ?? ''), tree.hash(0, size).toString('hex'), `root of ${size}`)
    const read = readFromTiles(size, (level, n, width) => reader.readTile(level, n, width))
    for (const index of [0, 1, 255, 256, size - 1].filter((index) => index < size)) {
      const proof = readInclusion(index, size, read)
      const leaf = leafHash((made[index] as Made).data)
      t.ok(checkInclusion({ index, size, leaf, root: tree.hash(0, size), proof }), `${index} in ${size}`)
    }
    for (const before of [1, 2, 256, 257, size - 1].filter((before) => before > 0 && before <= size)) {
      const proof = readConsistency(before, size, read)
      const was = { size: before, root: tree.hash(0, before) }
      t.ok(checkConsistency(was, { size, root: tree.hash(0, size) }, proof), `${before} before ${size}`)
    }
  }
  t.equal(reader.checkpoint().published.size, made.length)
  t.end()
})

t.test('a large backlog is done in steps', (t) => {
  const { append, integrator } = open(t)
  for (let i = 0; i < 34; i++) append(512)
  const sizes = []
  for (let signed = integrator.step(); signed; signed = integrator.step()) sizes.push(signed.size)
  t.same(sizes, [16_384, 17_408])
  t.end()
})

t.test('entries are found by their token in large blocks, small ones, and what is not filed', (t) => {
  const { append, made, db } = open(t)
  const reader = prepareReader(db)
  for (let i = 0; i < 137; i++) append(512)
  const sought = [0, 4095, 4096, 65_535, 65_536, 69_631, 69_632, 70_143]
  const findAll = (when: string) => {
    for (const index of sought) {
      t.equal(reader.indexOfJti(deriveJti((made[index] as Made).digest)), index, `entry ${index}, ${when}`)
    }
    t.equal(reader.indexOfJti(randomBytes(16)), undefined)
  }
  t.equal(reader.indexOfJti(deriveJti((made[70_000] as Made).digest)), 70_000, 'nothing filed')
  const filing = prepareFiling(db)
  for (let i = 0; i < 50; i++) filing.step(70_144, 700)
  findAll('half filed')
  const other = prepareFiling(db) // As after a restart: what was read and not written is read again.
  for (let i = 0; i < 80; i++) other.step(70_144, 700)
  const joined = db.prepare('select count(distinct kind * 1000 + part) as n from finds where span = 1').get()
  t.ok(Number(joined?.['n']) > 1 && Number(joined?.['n']) < 48, 'some parts are joined, some are not')
  findAll('half joined')
  const third = prepareFiling(db)
  while (third.step(70_144, 700)) {}
  while (filing.step(70_144, 700)) {}
  findAll('all filed')
  const spans = db.prepare('select span, count(*) as n from finds where kind > 0 group by span').all()
  t.same(
    spans.map((row) => ({ ...row })),
    [
      { span: 1, n: 3 * 16 },
      { span: 2, n: 3 * 256 },
    ],
    'small blocks gave way to the large one, whoever filed',
  )
  t.end()
})

t.test('two writers over one file sign one history: who comes second finds it done', (t) => {
  const first = open(t)
  const second = open(t, {}, first.dir)
  const notes = new Map<number, string>()
  for (let i = 0; i < 40; i++) {
    ;(i % 3 === 0 ? first : second).append(7)
    for (const { integrator } of i % 2 === 0 ? [first, second] : [second, first]) {
      const signed = integrator.step()
      if (!signed) continue
      t.notOk(notes.has(signed.size), `size ${signed.size} is signed once`)
      notes.set(signed.size, signed.note)
    }
  }
  const tree = new ReferenceTree(allData(first.db))
  for (const [size, note] of notes) t.equal(rootOf(note), tree.hash(0, size).toString('hex'))
  t.equal(notes.size, 40)
  t.end()
})

const allData = (db: ReturnType<typeof openLedgerFile>) =>
  db
    .prepare('select data from entries order by idx')
    .all()
    .map((row) => Buffer.from(row['data'] as Uint8Array))

t.test('a checkpoint that moved under a writer is not signed over', (t) => {
  const { append, options, db } = open(t)
  const other = open(t, {}, join(options.headFile, '..'))
  append(5)
  let meddled = false
  const integrator = prepareIntegrator({
    ...options,
    onStep(name) {
      if (name !== 'locked' || meddled) return
      meddled = true
      db.exec("update checkpoints set size = 3, root = x'00'") // As if another had come first, in this lock.
    },
  })
  t.throws(() => integrator.step(), { name: 'LedgerInconsistent' } as Error)
  t.equal(existsSync(options.headFile), false, 'nothing was signed')
  t.equal(other.integrator.step()?.size, 5, 'rolled back, so the next one signs')
  t.end()
})

t.test('killed between each pair of steps, the next start makes the same tree and goes on', (t) => {
  for (const at of ['locked', 'swapped', 'head', 'committed'] as const) {
    const rig = open(t)
    rig.append(300)
    rig.integrator.step()
    rig.append(300)
    const dying = prepareIntegrator({
      ...rig.options,
      onStep(name) {
        if (name === at) throw new Error('died')
      },
    })
    t.throws(() => dying.step(), /died/)
    rig.db.close()
    const again = open(t, {}, rig.dir)
    const signed = again.integrator.step()
    const tree = new ReferenceTree(rig.made.map(({ data }) => data))
    const standing = signed?.note ?? prepareReader(again.db).checkpoint().signed.note
    t.equal(rootOf(standing), tree.hash(0, 600).toString('hex'), `after ${at}`)
    t.equal(rootOf(readFileSync(rig.headFile, 'utf8')), tree.hash(0, 600).toString('hex'))
  }
  t.end()
})

t.test('a ledger put back from an older backup, or altered, is not signed', (t) => {
  const rig = open(t)
  rig.append(300)
  rig.integrator.step()
  rig.db.exec('pragma wal_checkpoint(truncate)')
  const backup = `${rig.file}.backup`
  copyFileSync(rig.file, backup)
  rig.append(10)
  rig.integrator.step()
  rig.db.close()
  for (const end of ['', '-wal', '-shm']) rmSync(rig.file + end, { force: true })
  copyFileSync(backup, rig.file)
  const restored = open(t, {}, rig.dir)
  t.equal(refusalOf(restored), 'behind_head')
  restored.append(10) // Other entries in the place of those that were signed.
  t.equal(refusalOf(restored), 'root_differs')
  restored.db.close()

  const altered = open(t)
  altered.append(300)
  altered.integrator.step()
  altered.db.exec('update entries set leaf = zeroblob(32) where idx = 299')
  altered.append(1)
  t.equal(refusalOf(altered), 'root_differs')
  altered.db.exec('update tiles set hashes = zeroblob(32) where level = 1')
  t.equal(refusalOf(altered), 'root_differs')

  const foreign = open(t)
  foreign.append(3)
  writeFileSync(foreign.headFile, 'no note')
  t.equal(refusalOf(foreign), 'head_unreadable')
  t.end()
})

t.test(
  'a start holds what is kept of the last checkpoint against the tree, if nothing is left to sign too',
  (t) => {
    const rig = open(t)
    rig.append(300)
    rig.integrator.step()
    t.equal(rig.integrator.step(), undefined, 'nothing to do')
    const again = () => refusalOf({ ...rig, integrator: prepareIntegrator(rig.options) })
    t.equal(again(), 'none')
    rig.db.exec(`vacuum into '${rig.file}.whole'; attach '${rig.file}.whole' as whole`)
    const table: [what: string, edit: string][] = [
      ['root', 'update checkpoints set root = zeroblob(32)'],
      ['root as text', 'update checkpoints set root = cast(root as text)'],
      ['note', "update checkpoints set note = replace(note, '300', '301')"],
      ['note of no size', "update checkpoints set note = ''"],
      ['what is shown', "update checkpoints set published = 'junk', published_size = 0"],
      ['its size', 'update checkpoints set published_size = 299'],
      ['a leaf', 'update entries set leaf = zeroblob(32) where idx = 299'],
      ['an entry', 'delete from entries where idx = 280'],
      ['a tile', 'update tiles set hashes = zeroblob(32)'],
      ['no tile', 'delete from tiles'],
    ]
    for (const [what, edit] of table) {
      rig.db.exec(edit)
      t.equal(again(), 'root_differs', what)
      for (const name of ['entries', 'tiles', 'checkpoints']) {
        rig.db.exec(`delete from ${name}; insert into ${name} select * from whole.${name}`)
      }
      t.equal(again(), 'none', `${what}, put back`)
    }
    t.end()
  },
)

t.test('with witnesses nothing is shown before it is published, and never an older one', (t) => {
  const { append, integrator, db } = open(t, { witnessed: true })
  const reader = prepareReader(db)
  append(3)
  const first = integrator.step()
  t.equal(reader.checkpoint().published.size, 0)
  append(3)
  const second = integrator.step()
  if (!first || !second) throw new Error('not signed')
  t.equal(integrator.publish(second), true)
  t.equal(integrator.publish(first), false, 'older')
  t.equal(integrator.publish({ size: 7, note: second.note }), false, 'another size than it says')
  t.equal(integrator.publish({ size: 6, note: 'x' }), false, 'no note')
  t.same(reader.checkpoint().published, { size: second.size, note: second.note })
  t.end()
})
