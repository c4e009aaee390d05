// `npm run bench:ledger`: what an entry costs, how long one waits, and whether a large ledger is as fast as a
// small one. Each figure is printed as it is found; the last line is one JSON object.
import { randomBytes } from 'node:crypto'
import { closeSync, fdatasyncSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { systemClock } from '../src/base/clock.ts'
import { readConfig } from '../src/base/config.ts'
import { runFsck } from '../src/commands/fsck.ts'
import type { Ledger, VerifyEntry } from '../src/ledger/ledger.ts'
import { readInclusion } from '../src/ledger/proof.ts'
import { appendAll, makeEntries, openAt, perSecond, vkey } from './ledger-entries.ts'
import { measureWriters } from './two-writers.ts'

const help = `npm run bench:ledger: the ledger by itself, on a file of its own

  npm run bench:ledger                        a million entries, under five minutes
  npm run bench:ledger -- --full              ten million entries, about twelve minutes
  npm run bench:ledger -- --folder /mnt/disk  on another disk than that of temporary files

The last line is one JSON object: {"groupVsSerial", "servingMicros", "appendP99Ms", "fsckPerSecond",
"tenMillionRatio"}. groupVsSerial is as much the disk's as ours: the faster it syncs, the less a group saves. The last
is the append rate of the large ledger to that of a fresh one, in turn; without --full the large one has a million.`

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    full: { type: 'boolean', default: false },
    entries: { type: 'string' },
    folder: { type: 'string', default: tmpdir() },
  },
})
if (values.help) {
  console.log(help)
  process.exit(0)
}
const total = Number(values.entries ?? (values.full ? 10_000_000 : 1_000_000))

/** Poisson arrivals at `rate` a second for `seconds`; sorted ms from the intended moment to the answer. */
async function appendOpenLoop(ledger: Ledger, rate: number, seconds: number): Promise<number[]> {
  const entries = makeEntries(rate * seconds)
  const waits: Promise<unknown>[] = []
  const latencies: number[] = []
  let due = performance.now()
  for (const entry of entries) {
    const random = randomBytes(4).readUInt32BE() / 2 ** 32
    due += (-Math.log(1 - random) * 1000) / rate
    const intended = due
    while (performance.now() < intended) await new Promise((resolve) => setImmediate(resolve))
    waits.push(ledger.append(entry).then(() => latencies.push(performance.now() - intended)))
  }
  await Promise.all(waits)
  return latencies.sort((a, b) => a - b)
}
const quantile = (sorted: readonly number[], q: number) => sorted[Math.floor(q * (sorted.length - 1))] ?? 0

/** p99 of the event loop's delay while `work` runs, ms. */
async function loopDelay(work: () => Promise<unknown>): Promise<number> {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  await work()
  delay.disable()
  return delay.percentile(99) / 1e6
}

const rounded = (value: number, digits = 1) => Number(value.toFixed(digits))
const say = (text: string) => console.log(text)

/** Until the tree has caught up with a burst, and its search blocks are filed. */
async function settled(ledger: Ledger): Promise<void> {
  while (ledger.signed().size < (await ledger.size())) await new Promise((resolve) => setTimeout(resolve, 50))
  await new Promise((resolve) => setTimeout(resolve, 3000))
}

/** What this disk takes to make one page durable, ms: the least that one entry by itself can wait. */
function measureSync(file: string): number {
  const handle = openSync(file, 'w')
  const page = randomBytes(4096)
  const times: number[] = []
  for (let i = 0; i < 300; i++) {
    writeSync(handle, page)
    const began = performance.now()
    fdatasyncSync(handle)
    times.push(performance.now() - began)
  }
  closeSync(handle)
  return quantile(
    times.toSorted((a, b) => a - b),
    0.5,
  )
}

async function measureCosts(file: string) {
  say(`one page durable     ${rounded(measureSync(`${file}.sync`), 2)} ms on this disk`)
  const ledger = await openAt(file)
  await appendAll(ledger, makeEntries(20_000), 1024) // Warm.
  const serial = await perSecond(500, () => appendAll(ledger, makeEntries(500), 1))
  await settled(ledger)
  const many = makeEntries(60_000)
  const before = process.threadCpuUsage()
  const group = await perSecond(many.length, () => appendAll(ledger, many, 1024))
  const spent = process.threadCpuUsage(before)
  const servingMicros = rounded((spent.user + spent.system) / many.length)
  say(`one at a time        ${Math.round(serial)} entries/s: one fsync each`)
  say(`1,024 at once        ${Math.round(group)} entries/s, ${servingMicros} us of the serving thread each`)
  await settled(ledger)
  const latencies = await appendOpenLoop(ledger, 1000, 15)
  const [p50, p99, worst] = [0.5, 0.99, 1].map((q) => rounded(quantile(latencies, q), 2))
  say(`1,000/s, open loop   p50 ${p50} ms, p99 ${p99} ms, worst ${worst} ms`)
  const idle = await loopDelay(() => new Promise((resolve) => setTimeout(resolve, 4000)))
  const busy = await loopDelay(() => trickle(ledger, 4000))
  say(`event loop, p99      ${rounded(idle, 2)} ms without appends, ${rounded(busy, 2)} ms with 1,000/s`)
  await ledger.close()
  return { groupVsSerial: rounded(group / serial), servingMicros, appendP99Ms: p99 as number }
}

/** 1,000 a second from a timer, as requests would: the loop is idle between. */
async function trickle(ledger: Ledger, ms: number): Promise<void> {
  const entries = makeEntries(ms + 1000)
  const waits: Promise<unknown>[] = []
  const began = performance.now()
  while (performance.now() - began < ms) {
    await new Promise((resolve) => setTimeout(resolve, 5))
    const dueCount = Math.min(entries.length, Math.floor(performance.now() - began))
    while (waits.length < dueCount) waits.push(ledger.append(entries[waits.length] as VerifyEntry))
  }
  await Promise.all(waits)
}

const chunk = 50_000

/** Seconds that a chunk of new entries takes; they are made outside of it. */
async function chunkSeconds(ledger: Ledger, count: number): Promise<number> {
  const entries = makeEntries(count)
  return count / (await perSecond(count, () => appendAll(ledger, entries, 1024)))
}

/** Fills the ledger and tells the rate of each tenth; then its rate beside that of a fresh one. */
async function measureGrowth(file: string) {
  const ledger = await openAt(file)
  const tenth = total / 10
  for (let part = 0; part < 10; part++) {
    let elapsed = 0
    for (let done = 0; done < tenth; done += chunk) {
      elapsed += await chunkSeconds(ledger, Math.min(chunk, tenth - done))
    }
    const rssMb = Math.round(process.memoryUsage.rss() / 1e6)
    say(`${(part + 1) * tenth} entries   ${Math.round(tenth / elapsed)} entries/s, ${rssMb} MB`)
  }
  await settled(ledger)
  measureProofs(ledger)
  const ratio = await compareWithFresh(ledger, `${file}.fresh`)
  await ledger.close()
  return ratio
}

/** In turn, so that a machine that slows down meanwhile slows both; the median of the pairs. */
async function compareWithFresh(large: Ledger, file: string): Promise<number> {
  const fresh = await openAt(file)
  const ratios: number[] = []
  for (let round = 0; round < 12; round++) {
    const seconds = await chunkSeconds(fresh, chunk)
    ratios.push(seconds / (await chunkSeconds(large, chunk)))
  }
  await fresh.close()
  ratios.sort((a, b) => a - b)
  const [low, ratio, high] = [0.25, 0.5, 0.75].map((q) => rounded(quantile(ratios, q), 2))
  say(`large beside fresh   ${ratio} of its rate (quartiles ${low} and ${high})`)
  return ratio as number
}

function measureProofs(ledger: Ledger): void {
  const times: number[] = []
  for (let i = 0; i < 300; i++) {
    const began = performance.now()
    const { size } = ledger.checkpoint()
    const index = randomBytes(6).readUIntBE(0, 6) % size
    readInclusion(index, size, ledger.readHashes(size))
    times.push(performance.now() - began)
  }
  times.sort((a, b) => a - b)
  say(
    `checkpoint and proof p50 ${rounded(quantile(times, 0.5), 2)} ms, p99 ${rounded(quantile(times, 0.99), 2)} ms`,
  )
}

async function measureFsck(file: string): Promise<number> {
  const lines: string[] = []
  const io = {
    config: readConfig({}),
    clock: systemClock,
    dataDir: join(file, '..'),
    certsDir: join(file, '..'),
    out: (line: string) => lines.push(line),
    err: () => {},
  }
  const code = await runFsck(['--file', file, '--key', vkey], io)
  if (code !== 0) throw new Error(`fsck: ${lines.join(' ')}`)
  for (const line of lines) say(`fsck                 ${line}`)
  return Number(/(\d+) entries a second/.exec(lines.join(' '))?.[1])
}

async function run(): Promise<void> {
  const root = mkdtempSync(join(values.folder, 'vouchsafe-bench-'))
  try {
    const costs = await measureCosts(join(root, 'ledger.db'))
    for (const [name, { rate, worstMs }] of Object.entries(await measureWriters(root))) {
      const label = name === 'own' ? 'two SQLite writers' : 'one writer process'
      say(`${label}   ${Math.round(rate)} entries/s together, worst wait ${Math.round(worstMs)} ms`)
    }
    const file = join(root, 'large', 'ledger.db')
    mkdirSync(join(root, 'large'))
    const tenMillionRatio = await measureGrowth(file)
    const fsckPerSecond = await measureFsck(file)
    console.log(JSON.stringify({ ...costs, fsckPerSecond, tenMillionRatio }))
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

await run()
