// The ledger as the serving thread sees it: append and wait until it is durable. Appends of one turn travel
// together; the worker commits them in groups (PROTOCOL section 9). It knows no proofs.
import type { DatabaseSync } from 'node:sqlite'
import { Worker } from 'node:worker_threads'
import type { Clock } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { parseEntry } from './entry.ts'
import { type Append, type Committed, type FromWorker, packAppends, type ToWorker } from './message.ts'
import { openLedgerFile, prepareReader } from './sqlite.ts'

export type { ActEntry, Append, SessionEntry, VerifyEntry } from './message.ts'

export type Appended =
  | { index: number; leaf: Buffer; timeMs: number }
  /** The claim was taken: the winner's digest (empty for an act) and its entry. */
  | { lost: Buffer; index: number }

/** What stands for a challenge that was consumed; answer 0 is a session. */
export type Consumed = { digest: Buffer; index: number; answer: 0 | 1 | 2 | 3; leaf: Buffer; timeMs: number }

export type LedgerOptions = {
  file: string
  /** Record and tag key of a day (Unix days), 32 bytes each. */
  dayKeys: (day: number) => Promise<{ record: Buffer; tag: Buffer }>
  clock: Clock
  onGroup?: (info: { size: number; ms: number }) => void
}

type Waiter = { resolve(appended: Appended): void; reject(error: Error): void }

const refused = (reason: string, cause?: unknown) => new GatewayError('ledger_unavailable', reason, { cause })
const restartMs = 500

/** Opens the file, starts the worker and waits until it is ready. */
export async function openLedger(options: LedgerOptions): Promise<Ledger> {
  const ledger = new Ledger(options)
  await ledger.ready()
  return ledger
}

export class Ledger {
  readonly #options: LedgerOptions
  readonly #db: DatabaseSync
  readonly #read: ReturnType<typeof prepareReader>
  readonly #waiting = new Map<number, Waiter[]>()
  #worker: Worker
  #turn: { append: Append; waiter: Waiter }[] = []
  #nextId = 1
  #queued = 0
  #up = false
  #closing = false
  #started: Promise<void>

  constructor(options: LedgerOptions) {
    this.#options = options
    this.#db = openLedgerFile(options.file)
    this.#read = prepareReader(this.#db)
    this.#worker = this.#start()
    this.#started = this.#readyOf(this.#worker)
  }

  ready(): Promise<void> {
    return this.#started
  }

  /** Resolves once the entry is durable. Rejects with `ledger_unavailable`; the entry may stand all the same. */
  append(append: Append): Promise<Appended> {
    if (this.#closing) return Promise.reject(refused('closed'))
    if (!this.#up) return Promise.reject(refused('worker_down'))
    if (this.#queued >= limits.ledgerQueueMax) return Promise.reject(refused('queue_full'))
    this.#queued++
    return new Promise((resolve, reject) => {
      if (this.#turn.length === 0) setImmediate(() => this.#flush())
      this.#turn.push({ append, waiter: { resolve, reject } })
    })
  }

  /** What was committed for a challenge, read from the file: a late acknowledgement is looked up here. */
  async find(challenge: Buffer): Promise<Consumed | undefined> {
    const found = this.#reading(() => this.#read.findConsumed(challenge))
    const entry = found && parseEntry(found.data)
    if (!found || !entry) return undefined
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

  isUp(): boolean {
    return this.#up
  }

  /** Commits what was accepted, then ends the worker. */
  async close(): Promise<void> {
    if (this.#closing) return
    this.#closing = true
    this.#flush()
    const ended = new Promise<void>((resolve) => this.#worker.once('exit', () => resolve()))
    if (this.#up) {
      this.#post({ kind: 'close' })
      await ended
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
    this.#waiting.set(
      id,
      turn.map(({ waiter }) => waiter),
    )
    const packed = packAppends(turn.map(({ append }) => append))
    this.#post({ kind: 'append', id, nowMs: this.#options.clock.now(), packed }, [packed])
  }

  #post(message: ToWorker, transfer: ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer)
  }

  #start(): Worker {
    const worker = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: { file: this.#options.file },
    })
    worker.on('message', (message: FromWorker) => this.#take(message))
    worker.on('error', () => {}) // The exit that follows is what counts.
    worker.on('exit', () => this.#ended(worker))
    return worker
  }

  #readyOf(worker: Worker): Promise<void> {
    return new Promise((resolve, reject) => {
      worker.once('message', () => {
        this.#up = true
        resolve()
      })
      worker.once('error', (cause) => reject(refused('worker_failed', cause)))
    })
  }

  /** Appends that were on their way are told that nobody knows; their retry looks them up. */
  #ended(worker: Worker): void {
    if (worker !== this.#worker) return
    this.#up = false
    for (const waiters of this.#waiting.values()) {
      for (const { reject } of waiters) reject(refused('worker_ended'))
      this.#queued -= waiters.length
    }
    this.#waiting.clear()
    if (this.#closing) return
    setTimeout(() => {
      if (this.#closing) return
      this.#worker = this.#start()
      this.#started = this.#readyOf(this.#worker)
      this.#started.catch(() => {}) // Its exit starts the next one.
    }, restartMs).unref()
  }

  #take(message: FromWorker): void {
    if (message.kind === 'done') {
      const { size, ms } = message
      for (const { id, first, committed } of message.results) {
        for (const [i, result] of committed.entries())
          this.#waiterOf(id, first + i)?.resolve(toAppended(result))
        this.#settle(id, first + committed.length)
      }
      this.#options.onGroup?.({ size, ms })
    } else if (message.kind === 'failed') {
      for (const { id, first, count } of message.results) {
        for (let i = 0; i < count; i++) this.#waiterOf(id, first + i)?.reject(refused(message.reason))
        this.#settle(id, first + count)
      }
    } else if (message.kind === 'needKeys') void this.#sendKeys(message.day)
  }

  #waiterOf(id: number, place: number): Waiter | undefined {
    this.#queued--
    return this.#waiting.get(id)?.[place]
  }

  /** Appends of a message are settled in order: it is forgotten after its last. */
  #settle(id: number, upTo: number): void {
    if (this.#waiting.get(id)?.length === upTo) this.#waiting.delete(id)
  }

  async #sendKeys(day: number): Promise<void> {
    try {
      const { record, tag } = await this.#options.dayKeys(day)
      this.#post({ kind: 'keys', day, record: Uint8Array.from(record), tag: Uint8Array.from(tag) })
    } catch {
      this.#post({ kind: 'noKeys', day }) // The waiting appends fail as `day_keys`; the keyring reports why.
    }
  }
}

function toAppended(result: Committed): Appended {
  if ('lost' in result) return { lost: Buffer.from(result.lost), index: result.index }
  return { index: result.index, leaf: Buffer.from(result.leaf), timeMs: result.timeMs }
}
