// The ledger as the serving thread sees it: append and wait until it is durable. Appends of one turn travel
// together; the worker commits them in groups (PROTOCOL section 9). It knows no proofs and keeps no keys.
import type { DatabaseSync } from 'node:sqlite'
import { Worker } from 'node:worker_threads'
import { present } from '../base/assert.ts'
import { type Clock, dayMs, epochOf } from '../base/clock.ts'
import { within } from '../base/deadline.ts'
import { GatewayError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { RecentMap } from '../base/recent.ts'
import { type Appended, type Consumed, toAppended } from './appended.ts'
import { parseEntry } from './entry.ts'
import { headFileOf, LedgerInconsistent } from './head.ts'
import type { Signed } from './integrator.ts'
import { type Append, type FromWorker, packAppends, printAppend, type ToWorker } from './message.ts'
import type { Signer } from './note.ts'
import type { ReadHashes } from './range.ts'
import { type Answered, type DaysAsked, prepareReader } from './reader.ts'
import { openLedgerReader } from './sqlite.ts'
import { readFromTiles } from './tile.ts'
import type { WorkerData } from './worker.ts'

export type { Appended, Consumed } from './appended.ts'
export type { ActEntry, Append, SessionEntry, VerifyEntry } from './message.ts'
export type { DaysAsked } from './reader.ts'

export type LedgerOptions = {
  file: string
  /** Record and tag key of a day (Unix days), 32 bytes each. */
  dayKeys: (day: number) => Promise<{ record: Buffer; tag: Buffer }>
  clock: Clock
  onGroup?: (info: { size: number; ms: number }) => void
  /** The ledger's name and Ed25519 private key; without it nothing is integrated or signed. */
  signer?: Signer
  /** Witnesses come first: a checkpoint is shown only after `publish`. */
  witnessed?: boolean
  /** Told why checkpoints do not come: a fixed word. */
  onUnsigned?: (reason: string) => void
}

type Waiter = { resolve(appended: Appended): void; reject(error: Error): void }

const refused = (reason: string, cause?: unknown) => new GatewayError('ledger_unavailable', reason, { cause })
const restartMsMin = 250
const restartMsMax = 8000
const keyBytes = 32
/** Nodes of the tree that proofs passed: some 200 bytes each. */
const nodesKnownMax = 1024

/**
 * Opens (and makes) the file, starts the worker and waits until it is ready.
 * @throws GatewayError ledger_unavailable
 */
export async function openLedger(options: LedgerOptions): Promise<Ledger> {
  let ledger: Ledger | undefined
  try {
    ledger = new Ledger(options)
    await ledger.ready()
    return ledger
  } catch (cause) {
    await ledger?.close()
    throw cause instanceof GatewayError ? cause : refused('open_failed', cause)
  }
}

export class Ledger {
  readonly #options: LedgerOptions
  readonly #db: DatabaseSync
  readonly #read: ReturnType<typeof prepareReader>
  readonly #waiting = new Map<number, Waiter[]>()
  readonly #nodes = new RecentMap<Buffer>(nodesKnownMax)
  /** Who waits for the posts before a number. */
  #unsettled: { before: number; resolve(): void }[] = []
  #worker: Worker
  #turn: { printed: Buffer; waiter: Waiter }[] = []
  #nextId = 1
  #queued = 0
  #up = false
  #ended: Promise<void> | undefined
  #started: Promise<void>
  #restart: NodeJS.Timeout | undefined
  #restartMs = restartMsMin
  #keysFault: unknown
  #inconsistent: GatewayError | undefined
  readonly #listeners = new Set<(signed: Signed) => void>()

  /** Use `openLedger`. */
  constructor(options: LedgerOptions) {
    this.#options = options
    this.#db = openLedgerReader(options.file)
    this.#read = prepareReader(this.#db)
    const { worker, started } = this.#start()
    this.#worker = worker
    this.#started = started
  }

  /** Resolves once the worker takes appends. */
  ready(): Promise<void> {
    return this.#started
  }

  /**
   * Resolves once the entry is durable.
   * @throws GatewayError ledger_unavailable; the entry may stand all the same, which `find` tells
   */
  append(append: Append): Promise<Appended> {
    if (this.#ended) return Promise.reject(refused('closed'))
    if (!this.#up) return Promise.reject(this.#inconsistent ?? refused('worker_down'))
    if (this.#queued >= limits.ledgerQueueMax) return Promise.reject(refused('queue_full'))
    let printed: Buffer
    try {
      printed = printAppend(append)
    } catch (cause) {
      return Promise.reject(refused('entry_malformed', cause))
    }
    this.#queued++
    // Dying while this promise is pending: the entry stands or it does not, and the retry finds out which.
    return new Promise((resolve, reject) => {
      if (this.#turn.length === 0) setImmediate(() => this.#flush())
      this.#turn.push({ printed, waiter: { resolve, reject } })
    })
  }

  /** Resolves once every append that was made before is durable, or is known not to be. */
  settled(): Promise<void> {
    this.#flush()
    const before = this.#nextId
    return new Promise((resolve) => {
      this.#unsettled.push({ before, resolve })
      this.#tellSettled()
    })
  }

  /**
   * What was committed for a challenge; undefined if it is not consumed. One indexed read (some 10 us) on this
   * thread: through the worker it would wait behind the very commit whose acknowledgement is late.
   */
  async find(challenge: Buffer): Promise<Consumed | undefined> {
    const found = this.#reading(() => this.#read.findConsumed(challenge))
    if (!found) return undefined
    const entry = parseEntry(found.data)
    if (!entry) throw refused('entry_unreadable') // Never undefined: nobody may take it for not consumed.
    const { digest, index, leaf } = found
    return { digest, index, leaf, timeMs: entry.timeMs, answer: (entry.answer ?? 0) as Consumed['answer'] }
  }

  /** Highest change of the registry that has an entry; 0 if none. */
  async lastSeq(): Promise<number> {
    return this.#reading(() => this.#read.lastSeq())
  }

  /** Index of the entry of a change of the registry. */
  async entryOfSeq(seq: number): Promise<number | undefined> {
    return this.#reading(() => this.#read.indexOfSeq(seq))
  }

  async size(): Promise<number> {
    return this.#reading(() => this.#read.size())
  }

  readEntry(index: number) {
    return this.#reading(() => this.#read.readEntry(index))
  }

  readPrivate(index: number) {
    return this.#reading(() => this.#read.readPrivate(index))
  }

  /** What may be shown: persisted, and cosigned where there are witnesses. */
  checkpoint(): Signed {
    return this.#reading(() => this.#read.checkpoint().published)
  }

  /** The latest that we signed. */
  signed(): Signed {
    return this.#reading(() => this.#read.checkpoint().signed)
  }

  /** Told of each checkpoint that this process signed. Returns the function that ends it. */
  onCheckpoint(listener: (signed: Signed) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Stores a cosigned note as the one that may be shown; one that is older or not ours is passed over. */
  publish(size: number, note: string): void {
    if (this.#up) this.#post({ kind: 'publish', size, note })
  }

  /** @throws GatewayError ledger_unavailable beyond what was integrated */
  readTile(level: number, n: number, width: number): Buffer {
    return this.#reading(() => this.#read.readTile(level, n, width))
  }

  /** Hashes for proofs in the tree of `size` entries. @throws GatewayError as `readTile` */
  readHashes(size: number): ReadHashes {
    return readFromTiles(size, (level, n, width) => this.readTile(level, n, width), this.#nodes)
  }

  /** @throws GatewayError ledger_unavailable beyond the last entry */
  readBundle(n: number, width: number): Buffer {
    return this.#reading(() => this.#read.readBundle(n, width))
  }

  /** Index of the verification with a token id, 16 bytes. */
  indexOfJti(jti: Buffer): number | undefined {
    return this.#reading(() => this.#read.indexOfJti(jti))
  }

  /** Indices of the entries not before `sinceMs` whose private row has a tag, 16 bytes. */
  indicesOfTag(kind: 'subject' | 'card', tag: Buffer, sinceMs: number): number[] {
    return this.#reading(() => this.#read.indicesOfTag(kind, tag, sinceMs))
  }

  /** What a carrier's outlets were answered, page by page. */
  answeredOf(asked: DaysAsked): Answered[] {
    return this.#reading(() => this.#read.answeredOf(asked))
  }

  /** How many answers, yes or no, a carrier was given in these days, and how many were left undecided. */
  countAnswers(carrier: string, fromDay: number, toDay: number): { answers: number; undecided: number } {
    return this.#reading(() => this.#read.countAnswers(carrier, fromDay, toDay))
  }

  isUp(): boolean {
    return this.#up
  }

  /** Commits what was accepted, then ends the worker and folds the file. */
  close(): Promise<void> {
    this.#ended ??= this.#end()
    return this.#ended
  }

  async #end(): Promise<void> {
    this.#flush()
    clearTimeout(this.#restart)
    await this.#started.catch(() => {}) // A worker that did not start has ended: nothing is lost here.
    if (this.#up) {
      const exited = new Promise((resolve) => this.#worker.once('exit', resolve))
      this.#post({ kind: 'close' })
      // Dying in here: what was acknowledged is durable; the next start replays the WAL.
      await exited
    }
    this.#db.close()
  }

  #reading<T>(read: () => T): T {
    try {
      return read()
    } catch (cause) {
      throw refused('read_failed', cause)
    }
  }

  #flush(): void {
    const turn = this.#turn
    if (turn.length === 0) return
    this.#turn = []
    if (!this.#up) {
      this.#queued -= turn.length
      for (const { waiter } of turn) waiter.reject(refused('worker_down'))
      return
    }
    const id = this.#nextId++
    const waiters = turn.map(({ waiter }) => waiter)
    this.#waiting.set(id, waiters)
    const packed = packAppends(turn.map(({ printed }) => printed))
    this.#post({ kind: 'append', id, nowMs: this.#options.clock.now(), packed }, [packed])
  }

  #post(message: ToWorker, transfer: ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer)
  }

  #start(): { worker: Worker; started: Promise<void> } {
    const { file, signer, witnessed = false } = this.#options
    const checkpoints = signer && { signer, headFile: headFileOf(file), witnessed }
    const workerData: WorkerData = { file, checkpoints }
    const worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData })
    let fault: unknown
    const started = new Promise<void>((resolve, reject) => {
      worker.on('message', (message: FromWorker) => {
        if (message.kind !== 'ready') return
        this.#up = true
        void this.#sendKeys(epochOf(this.#options.clock.now(), dayMs))
        resolve()
      })
      worker.once('exit', () => reject(this.#inconsistent ?? refused('worker_failed', fault)))
    })
    started.catch(() => {}) // Heard by those who await it; else the restart that follows is the answer.
    worker.on('message', (message: FromWorker) => this.#take(message))
    worker.on('error', (cause) => {
      fault = cause // The exit that follows tells it to all who wait.
    })
    worker.on('exit', () => this.#exited(fault))
    return { worker, started }
  }

  #tellSettled(): void {
    if (this.#unsettled.length === 0) return
    const oldest = Math.min(...this.#waiting.keys())
    const isSettled = ({ before }: { before: number }) => oldest >= before
    for (const { resolve } of this.#unsettled.filter(isSettled)) resolve()
    this.#unsettled = this.#unsettled.filter((one) => !isSettled(one))
  }

  /** Appends that were on their way are told that nobody knows; their retry looks them up. */
  #exited(fault: unknown): void {
    this.#up = false
    const waiters = [...this.#waiting.values()].flat()
    this.#waiting.clear()
    this.#queued -= waiters.length
    for (const { reject } of waiters) reject(refused('worker_ended', fault))
    this.#tellSettled()
    if (this.#ended || this.#inconsistent) return
    this.#restart = setTimeout(() => {
      const { worker, started } = this.#start()
      this.#worker = worker
      this.#started = started
    }, this.#restartMs)
    this.#restart.unref()
    this.#restartMs = Math.min(this.#restartMs * 2, restartMsMax)
  }

  #take(message: FromWorker): void {
    this.#takeNews(message)
    this.#tellSettled()
  }

  #takeNews(message: FromWorker): void {
    if (message.kind === 'done') {
      const { size, ms } = message
      this.#restartMs = restartMsMin
      for (const { id, committed } of message.results) {
        const waiters = this.#settle(id, committed.length)
        for (const [i, result] of committed.entries()) waiters[i]?.resolve(toAppended(result))
      }
      this.#options.onGroup?.({ size, ms })
    } else if (message.kind === 'failed') {
      const { reason, results } = message
      const cause = reason === 'day_keys' ? this.#keysFault : undefined
      for (const { id, count } of results) {
        for (const { reject } of this.#settle(id, count)) reject(refused(reason, cause))
      }
    } else if (message.kind === 'needKeys') void this.#sendKeys(message.day)
    else if (message.kind === 'checkpoint') {
      const { size, note } = message
      for (const listener of this.#listeners) listener({ size, note })
    } else if (message.kind === 'unsigned') this.#options.onUnsigned?.(message.reason)
    else if (message.kind === 'inconsistent') this.#refuseAll(message)
  }

  /** The file is not the ledger that was signed: nothing is appended to it, and no new worker is tried. */
  #refuseAll({ reason, message }: Extract<FromWorker, { kind: 'inconsistent' }>): void {
    this.#inconsistent = refused(reason, new LedgerInconsistent(reason, message))
    this.#up = false
    this.#options.onUnsigned?.(reason)
  }

  /** Takes the next waiters of a post: groups are cut from the queue, so its appends settle in order. */
  #settle(id: number, count: number): Waiter[] {
    const waiters = present(this.#waiting.get(id), 'a post that waits')
    const settled = waiters.splice(0, count)
    if (waiters.length === 0) this.#waiting.delete(id)
    this.#queued -= count
    return settled
  }

  /** Fetches the keys of a day within a deadline; without them the waiting appends fail as `day_keys`. */
  async #sendKeys(day: number): Promise<void> {
    const worker = this.#worker
    try {
      const keys = this.#options.dayKeys(day)
      const { record, tag } = await within(limits.requestMsMax, keys, {
        late: () => refused('day_keys_late'),
      })
      if (record.length !== keyBytes || tag.length !== keyBytes) throw refused('day_keys')
      const message = {
        kind: 'keys' as const,
        day,
        record: Uint8Array.from(record),
        tag: Uint8Array.from(tag),
      }
      worker.postMessage(message, [message.record.buffer, message.tag.buffer])
    } catch (cause) {
      this.#keysFault = cause
      const message: ToWorker = { kind: 'noKeys', day }
      worker.postMessage(message)
    }
  }
}
