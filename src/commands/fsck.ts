// `vouchsafe ledger fsck`: a whole ledger read again and held against its signed checkpoints.
import { createPublicKey } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { checkConsumed, checkNotes, checkRun, checkTiles, type Fault, type Kept } from '../ledger/fsck.ts'
import type { FsckNews, FsckWork } from '../ledger/fsck-worker.ts'
import { headFileOf, readHead } from '../ledger/head.ts'
import { parseVkey, printVkey, type Vkey } from '../ledger/note.ts'
import { prepareReader } from '../ledger/reader.ts'
import { openLedgerReadOnly } from '../ledger/sqlite.ts'
import { tileWidth } from '../ledger/tile.ts'
import { type CommandContext, exit } from './context.ts'

const help = `vouchsafe ledger fsck: reads every entry, leaf, private row, tile and checkpoint again

  vouchsafe ledger fsck                              the ledger of VOUCHSAFE_DATA, key of VOUCHSAFE_CERTS/ledger.pub
  vouchsafe ledger fsck --file /backup/ledger.db --key "verify.example+c0ffee00+AY..."
  vouchsafe ledger fsck --threads 1

It may run beside a gateway. Exit code 0: all is as it was signed; 1: the first entry that is wrong is named;
2: there is no ledger or no key to check with.`

const unreadable = 2
const progressEveryMs = 1000
const entriesOfAThread = 100_000

type Checked = { tileHashes: Buffer[]; firstMs: number; lastMs: number; fault: Fault | undefined }

export async function runFsck(args: string[], io: CommandContext): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      help: { type: 'boolean' },
      file: { type: 'string', default: join(io.dataDir, 'ledger.db') },
      key: { type: 'string' },
      threads: { type: 'string' },
    },
  })
  if (values.help) {
    io.out(help)
    return exit.ok
  }
  const { file } = values
  const threads = values.threads === undefined ? undefined : Number(values.threads)
  if (threads !== undefined && (!Number.isInteger(threads) || threads < 1 || threads > 64)) {
    io.err(`--threads ${JSON.stringify(values.threads)} is not a number from 1 to 64.`)
    return exit.usage
  }
  const ledger = keyOf(values.key, io)
  if (!existsSync(file) || !ledger) {
    io.err(
      `${existsSync(file) ? 'No ledger key' : `No ledger at ${file}`}. See "vouchsafe ledger fsck --help".`,
    )
    return unreadable
  }
  return check(io, { file, ledger, threads })
}

function keyOf(given: string | undefined, io: CommandContext): Vkey | undefined {
  if (given !== undefined) return parseVkey(existsSync(given) ? readFileSync(given, 'utf8').trim() : given)
  const file = join(io.certsDir, 'ledger.pub')
  if (!existsSync(file)) return undefined
  const { hostname } = new URL(io.config.VOUCHSAFE_ORIGIN)
  return parseVkey(printVkey(hostname, createPublicKey(readFileSync(file))))
}

type Work = { file: string; ledger: Vkey; threads: number | undefined }

async function check(io: CommandContext, { file, ledger, threads }: Work): Promise<number> {
  const db = openLedgerReadOnly(file)
  try {
    const reader = prepareReader(db)
    // First the checkpoints, then the entries: what comes meanwhile is more than was signed, never less.
    const { signed, published } = reader.checkpoint()
    const entries = reader.size()
    const began = io.clock.mono()
    const kept = notesOf({ signed, published, head: readHead(headFileOf(file)) })
    // A thread takes half a second to start: a small ledger is checked sooner here.
    const chosen = threads ?? (entries < entriesOfAThread ? 1 : availableParallelism())
    const run = await checkEntries(io, { db, file, entries, threads: chosen })
    const fault =
      run.fault ??
      checkTiles(db, run.tileHashes, signed.size) ??
      checkNotes(db, kept, { ledger, witnesses: [], entries }) ??
      checkConsumed(db)
    if (fault) {
      const where = fault.index === undefined ? '' : `Entry ${fault.index}: `
      io.out(`${where}${fault.what}.`)
      io.out('The ledger is NOT as it was signed.')
      return exit.refused
    }
    const seconds = (io.clock.mono() - began) / 1000
    const perSecond = Math.round(entries / Math.max(seconds, 0.001))
    io.out(
      `${entries} entries are right, ${signed.size} of them signed as ${ledger.name}, ${published.size} shown.`,
    )
    io.out(`${seconds.toFixed(1)} s, ${perSecond} entries a second.`)
    return exit.ok
  } finally {
    db.close()
  }
}

function notesOf(found: {
  signed: { size: number; note: string }
  published: { size: number; note: string }
  head: string | undefined
}): Kept[] {
  const { signed, published, head } = found
  const kept: Kept[] = []
  if (signed.size > 0) kept.push({ name: 'the signed checkpoint', ...signed })
  if (published.size > 0) kept.push({ name: 'the published checkpoint', ...published })
  // Kept in another file: a head that is newer than the ledger tells an old backup.
  const size = Number(head?.split('\n')[1] ?? Number.NaN)
  if (head !== undefined) kept.push({ name: 'the head file', note: head, size })
  return kept
}

/** Runs of full tiles, one a thread; progress on the error stream while it takes long. */
async function checkEntries(
  io: CommandContext,
  work: { db: DatabaseSync; file: string; entries: number; threads: number },
): Promise<Checked> {
  const { db, file, entries, threads } = work
  const each = Math.max(1, Math.ceil(entries / threads / tileWidth)) * tileWidth
  const runs: FsckWork[] = []
  for (let begin = 0; begin < entries; begin += each) {
    runs.push({ file, begin, end: Math.min(entries, begin + each) })
  }
  let done = 0
  let told = io.clock.mono()
  const onProgress = (count: number) => {
    done += count
    if (io.clock.mono() - told < progressEveryMs) return
    told = io.clock.mono()
    io.err(`${done} of ${entries} entries`)
  }
  if (threads === 1) return checkRun(db, { begin: 0, end: entries }, onProgress)
  return joinRuns(await Promise.all(runs.map((run) => runWorker(run, onProgress))), runs)
}

function joinRuns(checked: readonly Checked[], runs: readonly FsckWork[]): Checked {
  let lastMs = 0
  for (const [i, run] of checked.entries()) {
    if (run.fault) return run
    const { begin } = runs[i] as FsckWork
    const what = 'its time is before that of the entry before it'
    if (run.firstMs < lastMs) return { ...run, fault: { index: begin, what } }
    lastMs = run.lastMs
  }
  return { tileHashes: checked.flatMap((run) => run.tileHashes), firstMs: 0, lastMs, fault: undefined }
}

const hashBytes = 32

function runWorker(work: FsckWork, onProgress: (entries: number) => void): Promise<Checked> {
  const worker = new Worker(new URL('../ledger/fsck-worker.ts', import.meta.url), { workerData: work })
  return new Promise((resolve, reject) => {
    worker.on('message', (news: FsckNews) => {
      if (news.kind === 'progress') return onProgress(news.entries)
      const bytes = Buffer.from(news.tileHashes)
      const tileHashes = Array.from({ length: bytes.length / hashBytes }, (_, i) =>
        bytes.subarray(i * hashBytes, (i + 1) * hashBytes),
      )
      resolve({ ...news, tileHashes })
    })
    worker.on('error', reject)
    worker.on('exit', () => reject(new Error('A thread of fsck ended before it was done.')))
  })
}
