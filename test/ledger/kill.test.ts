// SIGKILL at every marked point of the commit path and of the checkpoint: what is there afterwards, and that the
// next start makes one history of it (PROTOCOL sections 4, 9).
import { spawn } from 'node:child_process'
import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openCheckpoint } from '../../src/ledger/checkpoint.ts'
import { checkRun } from '../../src/ledger/fsck.ts'
import { checkStanding, checkTiles, readStanding } from '../../src/ledger/fsck-tree.ts'
import { prepareIntegrator } from '../../src/ledger/integrator.ts'
import { parseVkey, printVkey } from '../../src/ledger/note.ts'
import { prepareReader } from '../../src/ledger/reader.ts'
import { openLedgerFile } from '../../src/ledger/sqlite.ts'

const pem = generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }) as string
const signer = { name: 'ledger.test', key: createPrivateKey(pem) }
const vkey = parseVkey(printVkey(signer.name, signer.key)) as NonNullable<ReturnType<typeof parseVkey>>

/** Commits two groups of 300 and integrates after each; dies at `point` in the second. */
const program = `
import { createHash, createPrivateKey, randomBytes } from 'node:crypto'
import { printEntry } from '${import.meta.resolve('../../src/ledger/entry.ts')}'
import { leafHash } from '${import.meta.resolve('../../src/ledger/hash.ts')}'
import { prepareIntegrator } from '${import.meta.resolve('../../src/ledger/integrator.ts')}'
import { openLedgerFile } from '${import.meta.resolve('../../src/ledger/sqlite.ts')}'
import { prepareWriter } from '${import.meta.resolve('../../src/ledger/writer.ts')}'
const [dir, point, pem] = process.argv.slice(2)
let second = false
const die = (name) => { if (second && name === point) process.kill(process.pid, 'SIGKILL') }
const db = openLedgerFile(dir + '/ledger.db')
const writer = prepareWriter(db)
const signer = { name: 'ledger.test', key: createPrivateKey(pem) }
const integrator = prepareIntegrator({ db, signer, headFile: dir + '/head.note', witnessed: false, onStep: die })
function group(n) {
  return Array.from({ length: n }, (_, i) => ({
    claim: { challenge: Buffer.concat([Buffer.from([second ? 2 : 1]), Buffer.alloc(40), Buffer.from([i & 255]), Buffer.from([i >> 8])]).subarray(0, 42), digest: randomBytes(32), expiresMs: 9e15 },
    make: (timeMs) => {
      if (i === 150) die('half way')
      const blob = randomBytes(40)
      const hash = (bytes) => createHash('sha256').update(bytes).digest()
      const more = { who: randomBytes(32), sealedHash: randomBytes(32), jtiHash: randomBytes(32) }
      const data = printEntry({ type: 1, timeMs, answer: 1, privateHash: hash(blob), ...more })
      return { data, leaf: leafHash(data), day: Math.floor(timeMs / 86_400_000), subjectTag: randomBytes(16), cardTag: randomBytes(16), blob }
    },
  }))
}
writer.commit(group(250), 1_790_000_000_000, () => true)
integrator.step()
second = true
writer.commit(group(250), 1_790_000_000_001, () => { die('begun'); return true })
die('acknowledged')
integrator.step()
die('signed')
process.stdout.write('survived')
`

/** What fsck makes of entries and tree. The head that a death left may be past tiles that were not committed. */
function prove(db: ReturnType<typeof openLedgerFile>, headFile: string) {
  const standing = readStanding(db, headFile)
  const { entries, row } = standing
  const { tileHashes, fault } = checkRun(db, { begin: 0, end: entries }, () => {})
  const proved = checkStanding(db, standing, { ledger: vkey, tileHashes, others: [] })
  return { ...proved, entries, fault: fault ?? checkTiles(db, tileHashes, Number(row?.size)) ?? proved.fault }
}

/** Entries and signed size that stand after a death at each point. */
const points: [point: string, entries: number, signed: number][] = [
  ['begun', 250, 250],
  ['half way', 250, 250],
  ['acknowledged', 500, 250],
  ['locked', 500, 250],
  ['swapped', 500, 250],
  ['head', 500, 250],
  ['committed', 500, 500],
  ['signed', 500, 500],
]

for (const [point, entries, signed] of points) {
  t.test(`killed at "${point}": whole groups only, and one history afterwards`, async (t) => {
    const dir = t.testdir()
    const script = join(dir, 'child.mjs')
    writeFileSync(script, program)
    const child = spawn('/usr/bin/env', ['-i', process.execPath, script, dir, point, pem], { stdio: 'pipe' })
    const [, signal] = await once(child, 'exit')
    t.equal(signal, 'SIGKILL')
    const db = openLedgerFile(join(dir, 'ledger.db'))
    t.teardown(() => db.close())
    const reader = prepareReader(db)
    t.equal(reader.size(), entries)
    t.equal(reader.checkpoint().signed.size, signed)
    const headFile = join(dir, 'head.note')
    const seen = openCheckpoint(readFileSync(headFile, 'utf8'), vkey)
    const proved = prove(db, headFile)
    t.match(proved, { fault: undefined, entries, size: seen?.size ?? 0 }, 'fsck, before the next start')

    prepareIntegrator({ db, signer, headFile, witnessed: false }).step()
    t.match(prove(db, headFile), { fault: undefined, entries, size: entries }, 'fsck, after it')
    const { note, size } = reader.checkpoint().signed
    t.equal(size, entries)
    const now = openCheckpoint(note, vkey)
    if (seen?.size === size) t.same(now?.root, seen.root, 'what the head had is what is signed again')
  })
}
