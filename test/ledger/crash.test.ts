// The ledger under what kills processes and disks: SIGKILL under load, a file-size limit of the system, and
// several processes that make and share one file.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { leafHash } from '../../src/ledger/hash.ts'
import { openLedger } from '../../src/ledger/ledger.ts'
import { keysOf, noon, until, verifyOf } from '../helpers/ledger.ts'

type Test = { teardown(fn: () => unknown): void }
type Checks = {
  equal(a: unknown, b: unknown): unknown
  same(a: unknown, b: unknown): unknown
  fail(why: string): unknown
}

/** What a child runs: it says for each entry `<challenge> <index>` or `! <reason>`. */
const program = `
import { openLedger } from '${import.meta.resolve('../../src/ledger/ledger.ts')}'
import { keysOf, verifyOf } from '${import.meta.resolve('../helpers/ledger.ts')}'
import { systemClock } from '${import.meta.resolve('../../src/base/clock.ts')}'
const [file, atOnce, rounds] = process.argv.slice(2)
const dayKeys = async (day) => keysOf(day)
const ledger = await openLedger({ file, dayKeys, clock: systemClock })
async function append() {
  const entry = verifyOf({ expiresMs: systemClock.now() })
  try {
    const { index } = await ledger.append(entry)
    console.log(entry.challenge.toString('hex') + ' ' + index)
  } catch (error) {
    console.log('! ' + error.reason)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
await Promise.all(Array.from({ length: Number(atOnce) }, async () => {
  for (let i = 0; i < Number(rounds); i++) await append()
}))
await ledger.close()
`

/** Starts a child that fills `file`, `atOnce` entries at a time, and collects its lines. */
function start(t: Test, file: string, load: { atOnce: number; rounds: number }) {
  const script = `${file}.mjs` // A file, not -e: a worker thread inherits the flags of its process.
  writeFileSync(script, program)
  const args = [process.execPath, script, file, String(load.atOnce), String(load.rounds)]
  // `env -i` drops what tap puts into NODE_OPTIONS: it ends a process on SIGXFSZ, which Node itself ignores.
  const child = spawn('/usr/bin/env', ['-i', ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const lines: string[] = []
  const reader = createInterface({ input: child.stdout as NodeJS.ReadableStream })
  reader.on('line', (line) => lines.push(line))
  return { child, lines, ended: Promise.all([once(child, 'exit'), once(reader, 'close')]) }
}

/** Indices contiguous, leaves right, times in order, a row for each entry; returns index by challenge. */
function checkFile(t: Checks, file: string): Map<string, number> {
  const db = new DatabaseSync(file)
  t.equal(db.prepare('pragma integrity_check').get()?.['integrity_check'], 'ok')
  const entries = db.prepare('select idx, data, leaf from entries order by idx').all()
  let lastTime = Buffer.alloc(8)
  for (const [i, { idx, data, leaf }] of entries.entries()) {
    const bytes = Buffer.from(data as Uint8Array)
    const time = bytes.subarray(30, 38)
    if (idx !== i) t.fail(`index ${idx} at place ${i}`)
    if (!leafHash(bytes).equals(leaf as Uint8Array)) t.fail(`the leaf of ${i} is not its hash`)
    if (Buffer.compare(time, lastTime) < 0) t.fail(`the time of ${i} goes back`)
    lastTime = time
  }
  const counts = db.prepare(
    'select (select count(*) from private_rows) as r, (select count(*) from consumed) as c',
  )
  t.same({ ...counts.get() }, { r: entries.length, c: entries.length })
  const consumed = db.prepare('select challenge, idx from consumed').all()
  db.close()
  return new Map(
    consumed.map(({ challenge, idx }) => [Buffer.from(challenge as Uint8Array).toString('hex'), Number(idx)]),
  )
}

/** Acknowledged entries that the file lacks or has at another index. */
function lostOf(lines: readonly string[], standing: Map<string, number>): string[] {
  return lines.filter((line) => {
    const [challenge, index] = line.split(' ') as [string, string]
    return standing.get(challenge) !== Number(index)
  })
}
const ackedIn = (lines: readonly string[]) => lines.filter((line) => /^[0-9a-f]{84} \d+$/.test(line))

t.test('after SIGKILL under load everything that was acknowledged is there', async (t) => {
  const file = join(t.testdir(), 'ledger.db')
  const { child, lines, ended } = start(t, file, { atOnce: 200, rounds: 1_000_000 })
  await until(() => ackedIn(lines).length > 2000)
  child.kill('SIGKILL')
  await ended
  const acked = ackedIn(lines)
  t.same(lostOf(acked, checkFile(t, file)), [], `${acked.length} acknowledged`)

  const ledger = await openLedger({
    file,
    dayKeys: async (day) => keysOf(day),
    clock: { now: () => noon, mono: () => 0 },
  })
  t.teardown(() => ledger.close())
  const size = await ledger.size()
  t.ok(size >= acked.length)
  const [challenge, index] = (acked.at(-1) as string).split(' ') as [string, string]
  const again = await ledger.append(verifyOf({ challenge: Buffer.from(challenge, 'hex') }))
  t.match(again, { index: Number(index), lost: Buffer }, 'and its challenge stays used')
  t.equal((await ledger.append(verifyOf())).index, size)
})

const prlimit = '/usr/bin/prlimit'
t.test(
  'a disk that takes no more bytes fails appends by name, and they go on once it does',
  { skip: existsSync(prlimit) ? false : 'no prlimit on this machine' },
  async (t) => {
    const file = join(t.testdir(), 'ledger.db')
    const { child, lines, ended } = start(t, file, { atOnce: 50, rounds: 1_000_000 })
    await until(() => ackedIn(lines).length > 200)
    const limit = (bytes: string) =>
      execFileSync(prlimit, ['--pid', String(child.pid), `--fsize=${bytes}:unlimited`])
    limit('65536')
    await until(() => lines.filter((line) => line.startsWith('!')).length > 100)
    const before = ackedIn(lines).length
    limit('unlimited')
    await until(() => ackedIn(lines).length > before + 500)
    child.kill('SIGKILL')
    await ended
    const reasons = new Set(lines.filter((line) => line.startsWith('!')))
    t.same([...reasons], ['! io'])
    t.same(lostOf(ackedIn(lines), checkFile(t, file)), [])
  },
)

t.test('processes that make and fill one file together share its indices', async (t) => {
  const file = join(t.testdir(), 'ledger.db')
  const children = Array.from({ length: 4 }, () => start(t, file, { atOnce: 20, rounds: 10 }))
  await Promise.all(children.map(({ ended }) => ended))
  t.same(
    children.map(({ child }) => child.exitCode),
    [0, 0, 0, 0],
  )
  const lines = children.flatMap(({ lines }) => lines)
  const standing = checkFile(t, file)
  t.equal(ackedIn(lines).length, 800)
  t.equal(standing.size, 800)
  t.same(lostOf(ackedIn(lines), standing), [])
})
