// `npm run bench:ledger`: what an entry costs, how long one waits, and whether a large ledger is as fast as a
// small one. Each figure is printed as it is found; the last line is one JSON object.
import { type ChildProcess, fork } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { systemClock } from '../src/base/clock.ts'
import { readConfig } from '../src/base/config.ts'
import { runFsck } from '../src/commands/fsck.ts'
import { type Ledger, openLedger, type VerifyEntry } from '../src/ledger/ledger.ts'
import { printVkey } from '../src/ledger/note.ts'
import { readInclusion } from '../src/ledger/proof.ts'
import { readFromTiles } from '../src/ledger/tile.ts'

const help = `npm run bench:ledger: the ledger by itself, on a file of its own

  npm run bench:ledger                 a million entries, under five minutes
  npm run bench:ledger -- --full       ten million entries, about ten minutes

The last line is one JSON object: {"groupVsSerial", "servingMicros", "appendP99Ms", "fsckPerSecond",
"tenMillionRatio"}. Without --full the last is of a million entries: the rate of the last tenth to that of the first.`

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    full: { type: 'boolean', default: false },
    entries: { type: 'string' },
    child: { type: 'string' },
  },
})
if (values.help) {
  console.log(help)
  process.exit(0)
}
const total = Number(values.entries ?? (values.full ? 10_000_000 : 1_000_000))
const key = generateKeyPairSync('ed25519').privateKey
const secret = Buffer.alloc(32, 7)
const signer = { name: 'bench.test', key }

/** A ledger as a gateway has it; `child` ones have no signer, so that one process makes the tree. */
const openAt = (file: string, signs = true): Promise<Ledger> =>
  openLedger({
    file,
    clock: systemClock,
    dayKeys: async () => ({ record: secret, tag: secret }),
    ...(signs ? { signer } : {}),
  })

const fixed = {
  type: 'verify' as const,
  answer: 1 as const,
  carrier: 'swift-crane',
  outlet: 'harbour',
  device: randomBytes(16),
  courier: Buffer.alloc(16),
  parcel: randomBytes(32),
  sealedHash: randomBytes(32),
  refusal: 0,
  transaction: randomBytes(16),
}

/** A person a parcel, nearly: the same one in every entry would file all of them under one key. */
const subjectOf = (i: number, serial: Buffer) => ({
  docType: 'ID',
  state: 'CHN',
  number: `780001${String(i).padStart(12, '0')}`,
  serial,
})

const ttlS = 600

/** Entries with challenges as a gateway makes them (PROTOCOL section 4): the second of their issue comes first. */
function makeEntries(count: number): VerifyEntry[] {
  const now = systemClock.now()
  const random = randomBytes(count * 64)
  const from = randomBytes(4).readUInt32BE()
  return Array.from({ length: count }, (_, i) => {
    const challenge = Buffer.allocUnsafe(42)
    challenge.writeUInt8(1, 0)
    challenge.writeUInt8(Math.floor(now / 3_600_000) % 256, 1)
    challenge.writeUInt32BE(Math.floor(now / 1000), 2)
    challenge.writeUInt16BE(ttlS, 6)
    random.copy(challenge, 8, i * 64, i * 64 + 34)
    challenge.writeUInt8(64, 24)
    challenge.writeUInt8(i % 64, 41)
    const digest = random.subarray(i * 64 + 32, i * 64 + 64)
    const subject = subjectOf(from + i, digest.subarray(0, 16))
    return { ...fixed, challenge, digest, subject, expiresMs: (Math.floor(now / 1000) + ttlS) * 1000 }
  })
}

/** Appends them, `atOnce` at a time. */
async function appendAll(ledger: Pick<Ledger, 'append'>, entries: readonly VerifyEntry[], atOnce: number) {
  let next = 0
  const lane = async () => {
    while (next < entries.length) await ledger.append(entries[next++] as VerifyEntry)
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
}

async function perSecond(count: number, work: () => Promise<void>): Promise<number> {
  const began = performance.now()
  await work()
  return count / ((performance.now() - began) / 1000)
}

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

async function measureCosts(file: string) {
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

/** Two processes: each a writer of one file, against one writer that gets the other's appends by messages. */
async function measureWriters(root: string): Promise<void> {
  const count = 30_000
  const own = await twoChildren('own', join(root, 'many.db'), count)
  say(
    `two SQLite writers   ${Math.round(own.rate)} entries/s together, worst group ${Math.round(own.worstMs)} ms`,
  )
  const one = await twoChildren('sent', join(root, 'one.db'), count)
  say(
    `one writer process   ${Math.round(one.rate)} entries/s together, worst group ${Math.round(one.worstMs)} ms`,
  )
}

type ChildReport = { kind: 'ready' } | { kind: 'done'; worstMs: number }

async function twoChildren(mode: 'own' | 'sent', file: string, count: number) {
  const ledger = await openAt(file)
  const children = [0, 1].map(() =>
    fork(fileURLToPath(import.meta.url), ['--child', `${mode}:${file}:${count}`], {
      serialization: 'advanced',
    }),
  )
  if (mode === 'sent') for (const child of children) serveAppends(ledger, child)
  await Promise.all(children.map((child) => reported(child, 'ready')))
  const began = performance.now()
  for (const child of children) child.send({ kind: 'go' })
  const done = await Promise.all(children.map((child) => reported(child, 'done')))
  const rate = (2 * count) / ((performance.now() - began) / 1000)
  for (const child of children) child.disconnect()
  await ledger.close()
  return { rate, worstMs: Math.max(...done.map((news) => (news.kind === 'done' ? news.worstMs : 0))) }
}

const reported = (child: ChildProcess, kind: ChildReport['kind']) =>
  new Promise<ChildReport>((resolve) => {
    const take = (news: ChildReport) => {
      if (news.kind !== kind) return
      child.off('message', take)
      resolve(news)
    }
    child.on('message', take)
  })

/** The writer's side: appends what a child sends, a message a turn, and answers with the indices. */
function serveAppends(ledger: Ledger, child: ChildProcess): void {
  child.on('message', async (message: { kind: string; id: number; entries: VerifyEntry[] }) => {
    if (message.kind !== 'append') return
    const own = (bytes: Uint8Array) => Buffer.from(bytes)
    const appended = await Promise.all(
      message.entries.map((entry) =>
        ledger.append({
          ...fixed,
          ...entry,
          challenge: own(entry.challenge),
          digest: own(entry.digest),
          subject: undefined,
        }),
      ),
    )
    child.send({ kind: 'appended', id: message.id, indices: appended.map(({ index }) => index) })
  })
}

/** A child: its own writer, or one that sends each turn's appends to the parent. */
async function runChild(text: string): Promise<void> {
  const [mode, file, count] = text.split(':') as [string, string, string]
  const own = mode === 'own' ? await openAt(file, false) : undefined
  const ledger = own ?? sendingLedger()
  const close = () => own?.close()
  const entries = makeEntries(Number(count))
  let worstMs = 0
  const timed = {
    async append(entry: VerifyEntry) {
      const began = performance.now()
      const appended = await ledger.append(entry)
      worstMs = Math.max(worstMs, performance.now() - began)
      return appended
    },
  }
  process.on('message', async (message: { kind: string }) => {
    if (message.kind !== 'go') return
    await appendAll(timed as Pick<Ledger, 'append'>, entries, 256)
    process.send?.({ kind: 'done', worstMs })
    await close()
  })
  process.send?.({ kind: 'ready' })
}

function sendingLedger() {
  let turn: { entry: VerifyEntry; resolve(value: unknown): void }[] = []
  const waiting = new Map<number, typeof turn>()
  let id = 0
  process.on('message', (message: { kind: string; id: number; indices: number[] }) => {
    if (message.kind !== 'appended') return
    for (const [i, { resolve }] of (waiting.get(message.id) ?? []).entries())
      resolve({ index: message.indices[i] })
    waiting.delete(message.id)
  })
  const flush = () => {
    const entries = turn.map(({ entry: { challenge, digest, expiresMs } }) => ({
      challenge,
      digest,
      expiresMs,
    }))
    waiting.set(++id, turn)
    process.send?.({ kind: 'append', id, entries })
    turn = []
  }
  return {
    append: (entry: VerifyEntry) =>
      new Promise<unknown>((resolve) => {
        if (turn.length === 0) setImmediate(flush)
        turn.push({ entry, resolve })
      }),
  }
}

/** Fills the ledger and tells the rate of each tenth. */
async function measureGrowth(file: string) {
  const ledger = await openAt(file)
  const tenth = total / 10
  const rates: number[] = []
  for (let part = 0; part < 10; part++) {
    let elapsed = 0
    for (let done = 0; done < tenth; done += 50_000) {
      const entries = makeEntries(Math.min(50_000, tenth - done)) // Made outside the measured time.
      elapsed += entries.length / (await perSecond(entries.length, () => appendAll(ledger, entries, 1024)))
    }
    rates.push(tenth / elapsed)
    const rssMb = Math.round(process.memoryUsage.rss() / 1e6)
    say(`${(part + 1) * tenth} entries   ${Math.round(tenth / elapsed)} entries/s, ${rssMb} MB`)
  }
  await settled(ledger)
  measureProofs(ledger)
  await ledger.close()
  return rounded((rates.at(-1) as number) / (rates[0] as number), 2)
}

function measureProofs(ledger: Ledger): void {
  const times: number[] = []
  for (let i = 0; i < 300; i++) {
    const began = performance.now()
    const { size } = ledger.checkpoint()
    const index = randomBytes(6).readUIntBE(0, 6) % size
    readInclusion(
      index,
      size,
      readFromTiles(size, (level, n, width) => ledger.readTile(level, n, width)),
    )
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
  const code = await runFsck(['--file', file, '--key', printVkey(signer.name, key)], io)
  if (code !== 0) throw new Error(`fsck: ${lines.join(' ')}`)
  for (const line of lines) say(`fsck                 ${line}`)
  return Number(/(\d+) entries a second/.exec(lines.join(' '))?.[1])
}

async function run(): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'vouchsafe-bench-'))
  try {
    const costs = await measureCosts(join(root, 'ledger.db'))
    await measureWriters(root)
    const file = join(root, 'large', 'ledger.db')
    mkdirSync(join(root, 'large'))
    const tenMillionRatio = await measureGrowth(file)
    const fsckPerSecond = await measureFsck(file)
    console.log(JSON.stringify({ ...costs, fsckPerSecond, tenMillionRatio }))
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

if (values.child) await runChild(values.child)
else await run()
