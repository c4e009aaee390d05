// `vouchsafe ledger fsck`: a whole ledger read again and held against its signed checkpoints.
import { createPublicKey } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import {
  checkConsumed,
  checkNotes,
  checkRun,
  checkTiles,
  type Fault,
  type Kept,
  type Run,
} from '../ledger/fsck.ts'
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

type Checked = { run: Run; consumed: Fault | undefined }

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
    const { run, consumed } = await checkEntries(io, { db, file, entries, threads: chosen })
    const fault =
      run.fault ??
      checkTiles(db, run.tileHashes, signed.size) ??
      checkNotes(db, kept, { ledger, witnesses: [], entries }) ??
      consumed
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

type EntriesWork = { db: DatabaseSync; file: string; entries: number; threads: number }

/**
 * Runs of full tiles, one a thread, beside one for the used challenges; progress on the error stream while it
 * takes long.
 */
async function checkEntries(io: CommandContext, work: EntriesWork): Promise<Checked> {
  const { db, file, entries, threads } = work
  const onProgress = createProgress(io, entries)
  if (threads === 1) {
    const run = checkRun(db, { begin: 0, end: entries }, onProgress.entries)
    return { run, consumed: checkConsumed(db, onProgress.challenges) }
  }
  const each = Math.max(1, Math.ceil(entries / threads / tileWidth)) * tileWidth
  const begins = Array.from({ length: Math.ceil(entries / each) }, (_, i) => i * each)
  const consumed = runWorker({ file, range: undefined }, onProgress.challenges)
  const runs = begins.map((begin) =>
    runWorker({ file, range: { begin, end: Math.min(entries, begin + each) } }, onProgress.entries),
  )
  const [checked, { fault }] = await Promise.all([Promise.all(runs), consumed])
  const found = checked.flatMap((news) => (news.kind === 'run' ? [toRun(news)] : []))
  return { run: joinRuns(found, begins), consumed: fault }
}

/** Tells how far it is, once a second. */
function createProgress(io: CommandContext, entries: number) {
  const done = { entries: 0, challenges: 0 }
  let told = io.clock.mono()
  const counter = (kind: keyof typeof done) => (count: number) => {
    done[kind] += count
    if (io.clock.mono() - told < progressEveryMs) return
    told = io.clock.mono()
    io.err(`${done.entries} of ${entries} entries, ${done.challenges} used challenges`)
  }
  return { entries: counter('entries'), challenges: counter('challenges') }
}

function joinRuns(runs: readonly Run[], begins: readonly number[]): Run {
  let lastMs = 0
  for (const [i, run] of runs.entries()) {
    if (run.fault) return run
    const what = 'its time is before that of the entry before it'
    if (run.firstMs < lastMs) return { ...run, fault: { index: begins[i], what } }
    lastMs = run.lastMs
  }
  return { tileHashes: runs.flatMap((run) => run.tileHashes), firstMs: 0, lastMs, fault: undefined }
}

const hashBytes = 32

function toRun(news: Extract<FsckNews, { kind: 'run' }>): Run {
  const bytes = Buffer.from(news.tileHashes)
  const tileHashes = Array.from({ length: bytes.length / hashBytes }, (_, i) =>
    bytes.subarray(i * hashBytes, (i + 1) * hashBytes),
  )
  return { ...news, tileHashes }
}

type Done = Exclude<FsckNews, { kind: 'progress' }>

function runWorker(work: FsckWork, onProgress: (count: number) => void): Promise<Done> {
  const worker = new Worker(new URL('../ledger/fsck-worker.ts', import.meta.url), { workerData: work })
  return new Promise((resolve, reject) => {
    worker.on('message', (news: FsckNews) => {
      if (news.kind === 'progress') onProgress(news.count)
      else resolve(news)
    })
    worker.on('error', reject)
    worker.on('exit', () => reject(new Error('A thread of fsck ended before it was done.')))
  })
}
