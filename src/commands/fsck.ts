// `vouchsafe ledger fsck`: a whole ledger read again and held against its signed checkpoints.
import { createPublicKey } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { openCheckpoint } from '../ledger/checkpoint.ts'
import { checkBounds, checkRun, type Fault, type Run } from '../ledger/fsck.ts'
import { checkActs, checkConsumed } from '../ledger/fsck-claims.ts'
import { checkCounts, joinCounts } from '../ledger/fsck-counts.ts'
import { checkBlocks } from '../ledger/fsck-finds.ts'
import { checkStanding, checkTiles, type Kept, readStanding } from '../ledger/fsck-tree.ts'
import type { FsckNews, FsckWork } from '../ledger/fsck-worker.ts'
import { headFileOf } from '../ledger/head.ts'
import { parseVkey, printVkey, type Vkey } from '../ledger/note.ts'
import { openLedgerReadOnly } from '../ledger/sqlite.ts'
import { tileWidth } from '../ledger/tile.ts'
import { type CommandContext, exit } from './context.ts'

const help = `vouchsafe ledger fsck: reads every entry, leaf, private row, search block, tile and checkpoint again

  vouchsafe ledger fsck                              the ledger of VOUCHSAFE_DATA, key of VOUCHSAFE_CERTS/ledger.pub
  vouchsafe ledger fsck --file /backup/ledger.db --key "verify.example+c0ffee00+AY..."
  vouchsafe ledger fsck --checkpoint held.note       and against a checkpoint that a carrier, an auditor or a witness
                                                     holds, or a receipt, which has one in it; may be repeated
  vouchsafe ledger fsck --threads 1

It may run beside a gateway. Of a copy, take ledger-head.note with it. Only a checkpoint that others hold tells that a
ledger was cut off or replaced together with all that lies beside it.

It opens no private row: only "vouchsafe ledger show" does, one at a time, as an entry of its own. So it cannot tell
  - what an act says: its entry is a hash over the opened row, which "ledger show" compares;
  - which challenge an entry used: only that one of its time names it, and no second one; nor whose request it was that
    a session's digest is of;
  - the tags of the last entries, which no search block has yet;
  - for which carrier and outlet an answer was counted: only how many were counted on each day.
After the clock was set back by more than a quarter of an hour, it may miss used challenges for up to an hour.

Exit code 0: all is as it was signed; 1: the first entry that is wrong is named; 2: there is no ledger, or no key or
checkpoint to check with; 3: there are entries and nothing was ever signed, which proves nothing.`

const unreadable = 2
const unsigned = 3
const progressEveryMs = 1000
const entriesOfAThread = 250_000

type Checked = { run: Omit<Run, 'firstMs' | 'lastMs'>; consumed: Fault | undefined }

export async function runFsck(args: string[], io: CommandContext): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      help: { type: 'boolean' },
      file: { type: 'string', default: join(io.dataDir, 'ledger.db') },
      key: { type: 'string' },
      checkpoint: { type: 'string', multiple: true, default: [] },
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
  const others: Kept[] = []
  for (const held of values.checkpoint) {
    const opened = existsSync(held) ? openHeld(readFileSync(held, 'utf8'), ledger) : undefined
    if (!opened) {
      io.err(
        `${held} does not hold a checkpoint signed by ${ledger.name}. Give one as /ledger/checkpoint shows it.`,
      )
      return unreadable
    }
    others.push({ name: `the checkpoint of ${held}`, ...opened })
  }
  return check(io, { file, ledger, threads, others })
}

/** A checkpoint by itself, or at the end of a receipt, after its first empty line (c2sp.org/tlog-proof). */
const openHeld = (text: string, ledger: Vkey) =>
  openCheckpoint(text, ledger) ?? openCheckpoint(text.slice(text.indexOf('\n\n') + 2), ledger)

function keyOf(given: string | undefined, io: CommandContext): Vkey | undefined {
  if (given !== undefined) return parseVkey(existsSync(given) ? readFileSync(given, 'utf8').trim() : given)
  const file = join(io.certsDir, 'ledger.pub')
  if (!existsSync(file)) return undefined
  const { hostname } = new URL(io.config.VOUCHSAFE_ORIGIN)
  return parseVkey(printVkey(hostname, createPublicKey(readFileSync(file))))
}

type Work = { file: string; ledger: Vkey; threads: number | undefined; others: readonly Kept[] }

async function check(io: CommandContext, { file, ledger, threads, others }: Work): Promise<number> {
  const db = openLedgerReadOnly(file)
  try {
    // First the checkpoints, then the entries: what comes meanwhile is more than was signed, never less.
    const standing = readStanding(db, headFileOf(file))
    const { entries, row } = standing
    const began = io.clock.mono()
    // A thread takes half a second to start: a small ledger is checked sooner here.
    const chosen = threads ?? (entries < entriesOfAThread ? 1 : availableParallelism())
    const { run, consumed } = await checkEntries(io, { db, file, entries, threads: chosen })
    const { tileHashes } = run
    const tiles = run.fault ?? checkTiles(db, tileHashes, typeof row?.size === 'number' ? row.size : 0)
    const proved = tiles ? undefined : checkStanding(db, standing, { ledger, tileHashes, others })
    const fault =
      tiles ??
      proved?.fault ??
      consumed ??
      checkActs(db, run.acts, entries) ??
      checkCounts(db, run.counts, entries) ??
      checkBlocks(db) ??
      checkBounds(db)
    if (fault || !proved) return tellFault(io, fault)
    if (entries > 0 && proved.size === 0) return tellUnsigned(io, entries)
    const seconds = (io.clock.mono() - began) / 1000
    const perSecond = Math.round(entries / Math.max(seconds, 0.001))
    const { size, published } = proved
    io.out(`${entries} entries are right, ${size} of them signed as ${ledger.name}, ${published} shown.`)
    for (const { name, size } of others) io.out(`They begin with the ${size} of ${name}.`)
    io.out(
      'Not opened, and so not checked: what acts say, and whose request a session is ("--help" has it all).',
    )
    io.out(`${seconds.toFixed(1)} s, ${perSecond} entries a second.`)
    return exit.ok
  } finally {
    db.close()
  }
}

function tellFault(io: CommandContext, fault: Fault | undefined): number {
  const where = fault?.index === undefined ? '' : `Entry ${fault.index}: `
  io.out(`${where}${fault?.what}.`)
  io.out('The ledger is NOT as it was signed.')
  return exit.refused
}

/** A gateway that was killed within its first second leaves such a ledger; so does one who takes all signatures away. */
function tellUnsigned(io: CommandContext, entries: number): number {
  io.out(`Nothing is signed yet: ${entries} entries prove nothing.`)
  io.out(
    'A gateway signs what it finds at its next start. If this one had signed before, its checkpoint was removed:',
  )
  io.out('compare with one that a carrier, an auditor or a witness holds (--checkpoint FILE).')
  return unsigned
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
    return { run, consumed: checkConsumed(db, entries, onProgress.challenges) }
  }
  const each = Math.max(1, Math.ceil(entries / threads / tileWidth)) * tileWidth
  const begins = Array.from({ length: Math.ceil(entries / each) }, (_, i) => i * each)
  const consumed = runWorker({ file, entries, range: undefined }, onProgress.challenges)
  const runs = begins.map((begin) =>
    runWorker({ file, entries, range: { begin, end: Math.min(entries, begin + each) } }, onProgress.entries),
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

function joinRuns(runs: readonly Run[], begins: readonly number[]): Checked['run'] {
  let lastMs = 0
  for (const [i, run] of runs.entries()) {
    if (run.fault) return run
    const what = 'its time is before that of the entry before it'
    if (run.firstMs < lastMs) return { ...run, fault: { index: begins[i], what } }
    lastMs = run.lastMs
  }
  const tileHashes = runs.flatMap((run) => run.tileHashes)
  const counts = joinCounts(runs.map((run) => run.counts))
  return { tileHashes, acts: runs.flatMap((run) => run.acts), counts, fault: undefined }
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
