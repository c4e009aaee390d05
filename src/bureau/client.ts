// Asks the bureau over mTLS: batches, one overall deadline of our own per question, a breaker, a retry budget
// (PROTOCOL sections 7, 11). It knows no cards and caches nothing.
import { BrokenCircuitError, CircuitState, ConsecutiveBreaker, circuitBreaker, handleWhen } from 'cockatiel'
import { Compile } from 'typebox/compile'
import { type Dispatcher, Pool } from 'undici'
import { printBase64url, randomId } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { within } from '../base/deadline.ts'
import { GatewayError } from '../base/errors.ts'
import { parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { Batcher } from './batch.ts'
import { createDelays, type Delays } from './delay.ts'
import {
  type Answered,
  Answers,
  answersBytesMax,
  type BureauResult,
  FeedPage,
  pageBytesMax,
  type Query,
  type Question,
} from './protocol.ts'

/** `transaction` 16 bytes; `position`: what this node had applied of the feed before the question left. */
export type Verdict = { result: BureauResult; transaction: Buffer; position: number }

/**
 * No answer that counts. Reasons: deadline, queue_full, breaker_open, bureau_failed.
 */
export class BureauUnavailable extends GatewayError {
  /** Transaction of the question that left, 16 bytes: the bureau may have seen it. */
  readonly left: Buffer | undefined
  constructor(reason: string, left: Buffer | undefined, cause?: unknown) {
    super('bureau_unavailable', reason, { cause })
    this.left = left
  }

  get questionLeft(): boolean {
    return this.left !== undefined
  }
}

type Asked = {
  query: Query
  transaction: Buffer
  deadlineAt: number
  /** The bureau may have seen it. */
  left: boolean
  done: boolean
  resolve(verdict: Verdict): void
  reject(error: BureauUnavailable): void
}

const leftOf = (asked: Asked) => (asked.left ? asked.transaction : undefined)

/** PEM of the bureau's CA, the only one trusted, and of our own certificate and key. */
type BureauTls = { ca: string | Buffer; cert: string | Buffer; key: string | Buffer }

export type BureauOptions = {
  url: string
  tls: BureauTls
  clock: Clock
  /** Position of the feed as this node has applied it. */
  position: () => number
  /** From `ask` to its end, queue and retry included. */
  deadlineMs?: number
  /** Told of every batch that was tried, a retry by itself; not of those that an open breaker refused. */
  onBatch?: (info: { size: number; ms: number; ok: boolean }) => void
}

const checkedAnswers = Compile(Answers)
const checkedPage = Compile(FeedPage)
const breakAfter = 5
const halfOpenAfterMs = 500
const connectMsMax = 250
/** A question with less time than this is not sent: nobody would be there for the answer. */
const worthMsMin = 20
/** Below what the bureau offers in Keep-Alive (undici takes the lesser): a new handshake costs 6 ms. */
const keepAliveMs = 60_000
/** Retries allowed: a tenth of the batches of late, saved up to this many. */
const retryBudgetMax = 10
const retryShare = 0.1
/** Two, so that a poll of the feed that hangs does not hold up the next. */
const feedConnections = 2

export class BureauClient {
  readonly #clock: Clock
  readonly #position: () => number
  readonly #onBatch: BureauOptions['onBatch']
  readonly #deadlineMs: number
  readonly #pool: Pool
  readonly #feedPool: Pool
  readonly #delays: Delays
  readonly #batcher = new Batcher<Asked>((batch) => this.#send(batch))
  readonly #breaker = circuitBreaker(
    handleWhen((error) => !(error instanceof TooLate)),
    {
      halfOpenAfter: halfOpenAfterMs,
      breaker: new ConsecutiveBreaker(breakAfter),
    },
  )
  #budget = 1
  #nextId = 0

  /** @throws TypeError if the url is none; nothing is connected before the first question */
  constructor(options: BureauOptions) {
    this.#clock = options.clock
    this.#position = options.position
    this.#onBatch = options.onBatch
    this.#deadlineMs = options.deadlineMs ?? limits.bureauDeadlineMs
    const { url, tls } = options
    this.#pool = openPool(url, tls, limits.bureauBatchesInFlightMax, answersBytesMax)
    this.#feedPool = openPool(url, tls, feedConnections, pageBytesMax)
    this.#delays = createDelays(options.clock)
  }

  /** Rejects with BureauUnavailable, at the latest `deadlineMs` after the call. */
  ask(question: Question): Promise<Verdict> {
    return new Promise<Verdict>((resolve, reject) => {
      const transaction = randomId()
      const askedAt = this.#clock.mono()
      const query = { ...question, id: String(this.#nextId++), transaction: printBase64url(transaction) }
      const settle = (tell: () => void, isDelay: boolean) => {
        if (asked.done) return
        clearTimeout(timer)
        asked.done = true
        // A deadline counts as a delay; a fast failure is none and would make the bureau look quick.
        if (isDelay) this.#delays.record(this.#clock.mono() - askedAt)
        tell()
      }
      const asked: Asked = {
        query,
        transaction,
        deadlineAt: askedAt + this.#deadlineMs,
        left: false,
        done: false,
        resolve: (verdict) => settle(() => resolve(verdict), true),
        reject: (error) => settle(() => reject(error), asked.left && error.reason === 'deadline'),
      }
      // Our own timer: undici's fire late, and an abort does not free a request that waits for a socket.
      const timer = setTimeout(
        () => asked.reject(new BureauUnavailable('deadline', leftOf(asked))),
        this.#deadlineMs,
      )
      if (!this.#batcher.add(asked)) asked.reject(new BureauUnavailable('queue_full', undefined))
    })
  }

  /** p99.9 of the last minute in ms, what H of a held no is made from (PROTOCOL 0.2); 0 without a sample. */
  delayP999Ms(): number {
    return this.#delays.p999Ms()
  }

  /** The breaker lets nothing through, or only one batch to try. */
  isOpen(): boolean {
    return this.#breaker.state !== CircuitState.Closed
  }

  /**
   * One page of the change feed over connections of its own: questions cannot starve the news.
   * @returns the page, its form checked, or 'gone' for 410
   * @throws Error after the deadline, for any other status and for what is not a page
   */
  async fetchPage(after: number | undefined): Promise<FeedPage | 'gone'> {
    return withDeadline(this.#deadlineMs, async (signal) => {
      const path = after === undefined ? '/v1/changes' : `/v1/changes?after=${after}`
      const response = await this.#feedPool.request({ path, method: 'GET', signal })
      const text = await response.body.text()
      if (response.statusCode === 410) return 'gone'
      if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}`)
      const value = parseJson(text)?.value
      if (!checkedPage.Check(value)) throw new Error('page malformed')
      return value as FeedPage
    })
  }

  /** Ends every connection; questions under way reject. */
  async close(): Promise<void> {
    await Promise.all([this.#pool.destroy(), this.#feedPool.destroy()])
  }

  async #send(all: Asked[]): Promise<void> {
    // Before the breaker: a batch of nobody must not be the one that tries whether the bureau is back.
    const batch = this.#worthSending(all)
    if (batch.length === 0) return // Each is told by its own timer.
    // Read before anything leaves: a change that is later than this must find the answer out of date.
    const position = this.#position()
    try {
      await this.#postWithinBudget(batch, position)
    } catch (cause) {
      const reason = reasonOf(cause)
      for (const asked of batch) asked.reject(new BureauUnavailable(reason, leftOf(asked), cause))
    }
  }

  /** Tries once more only what failed fast, and only within the budget. */
  async #postWithinBudget(batch: Asked[], position: number): Promise<void> {
    this.#budget = Math.min(retryBudgetMax, this.#budget + retryShare)
    try {
      await this.#breaker.execute(() => this.#post(batch, position))
    } catch (error) {
      const now = this.#clock.mono()
      const hasTime = batch.every((asked) => asked.deadlineAt - now > this.#deadlineMs / 2)
      if (reasonOf(error) !== 'bureau_failed' || this.#budget < 1 || !hasTime) throw error
      this.#budget -= 1
      await this.#breaker.execute(() => this.#post(batch, position))
    }
  }

  async #post(all: Asked[], position: number): Promise<void> {
    const batch = this.#worthSending(all) // Again: the breaker may have tried another batch meanwhile.
    if (batch.length === 0) throw new TooLate()
    const began = this.#clock.mono()
    let ok = false
    try {
      const answers = await this.#exchange(batch, began)
      ok = true
      for (const [i, asked] of batch.entries()) {
        const { result } = answers[i] as Answered
        asked.resolve({ result, transaction: asked.transaction, position })
      }
    } finally {
      this.#onBatch?.({ size: batch.length, ms: this.#clock.mono() - began, ok })
    }
  }

  #worthSending(batch: Asked[]): Asked[] {
    const now = this.#clock.mono()
    return batch.filter((asked) => !asked.done && asked.deadlineAt - now >= worthMsMin)
  }

  async #exchange(batch: Asked[], began: number): Promise<Answered[]> {
    const leftMs = Math.max(...batch.map((asked) => asked.deadlineAt)) - began
    // Until it is known better: whoever gives up meanwhile must not say that nothing left.
    const first = batch.filter((asked) => !asked.left)
    for (const asked of first) asked.left = true
    let hasLeft = false
    const pool = this.#pool.compose(
      onLeave(() => {
        hasLeft = true
      }),
    )
    try {
      return await withDeadline(Math.max(1, leftMs), async (signal) => {
        const response = await pool.request({
          path: '/v1/queries',
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(batch.map((asked) => asked.query)),
          signal,
        })
        const text = await response.body.text()
        if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}`)
        return checkAnswers(parseJson(text)?.value, batch)
      })
    } catch (error) {
      if (!hasLeft) for (const asked of first) asked.left = false
      throw error
    }
  }
}

function openPool(url: string, tls: BureauTls, connections: number, maxResponseSize: number): Pool {
  const connect = { ...tls, timeout: connectMsMax, rejectUnauthorized: true }
  const fixed = { pipelining: 1, allowH2: false, keepAliveTimeout: keepAliveMs }
  return new Pool(url, { connections, connect, maxResponseSize, ...fixed })
}

/** Tells when a request is written to a connection: one that finds no connection has not left. */
const onLeave =
  (tell: () => void): Dispatcher.DispatcherComposeInterceptor =>
  (dispatch) =>
  (options, handler) => {
    const start = handler.onRequestStart?.bind(handler)
    handler.onRequestStart = (controller, context) => {
      tell()
      start?.(controller, context)
    }
    return dispatch(options, handler)
  }

class Late extends Error {}
/** Nobody was left to ask for: says nothing about the bureau. */
class TooLate extends Late {}

function withDeadline<T>(ms: number, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController()
  const late = () => {
    abort.abort()
    return new Late('deadline')
  }
  return within(ms, call(abort.signal), { late })
}

/** As many answers as questions, in their order, with their ids and words we know; else none counts. */
function checkAnswers(value: unknown, batch: Asked[]): Answered[] {
  if (!checkedAnswers.Check(value)) throw new Error('answer malformed')
  const inOrder = value.length === batch.length && batch.every((asked, i) => asked.query.id === value[i]?.id)
  if (!inOrder) throw new Error('answers do not fit the questions')
  return value as Answered[]
}

function reasonOf(cause: unknown): 'breaker_open' | 'deadline' | 'bureau_failed' {
  if (cause instanceof BrokenCircuitError) return 'breaker_open'
  return cause instanceof Late ? 'deadline' : 'bureau_failed'
}
