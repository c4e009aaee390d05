// Asks the bureau over mTLS: batches, one overall deadline of our own per question, a breaker, a retry budget
// (PROTOCOL sections 7, 11). It knows no cards and caches nothing.
import { BrokenCircuitError, ConsecutiveBreaker, circuitBreaker, handleAll } from 'cockatiel'
import { Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { Pool } from 'undici'
import { printBase64url, randomId } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { Batcher } from './batch.ts'
import { createDelays } from './delay.ts'
import { Answered, type BureauResult, type FeedPage, type Query, type Question } from './protocol.ts'

/** `position`: what this node had applied of the feed before the question left. */
export type Verdict = { result: BureauResult; transaction: Buffer; position: number }

/** No answer that counts; `questionLeft` if the bureau may have seen the question. */
export class BureauUnavailable extends GatewayError {
  readonly questionLeft: boolean
  constructor(reason: string, questionLeft: boolean, cause?: unknown) {
    super('bureau_unavailable', reason, { cause })
    this.questionLeft = questionLeft
  }
}

type Asked = {
  query: Query
  transaction: Buffer
  deadlineAt: number
  left: boolean
  done: boolean
  resolve(verdict: Verdict): void
  reject(error: BureauUnavailable): void
}

export type BureauOptions = {
  url: string
  tls: { ca: string | Buffer; cert: string | Buffer; key: string | Buffer }
  clock: Clock
  position: () => number
  deadlineMs?: number
  onBatch?: (info: { size: number; ms: number; ok: boolean }) => void
}

const answers = Compile(Type.Array(Answered))
const breakAfter = 5
const halfOpenAfterMs = 500
/** Retries allowed: a tenth of the batches of late, saved up to this many. */
const retryBudgetMax = 10
const retryShare = 0.1

export class BureauClient {
  readonly #clock: Clock
  readonly #position: () => number
  readonly #onBatch: BureauOptions['onBatch']
  readonly #deadlineMs: number
  readonly #pool: Pool
  readonly #feedPool: Pool
  readonly #delays: ReturnType<typeof createDelays>
  readonly #batcher = new Batcher<Asked>((batch) => this.#send(batch))
  readonly #breaker = circuitBreaker(handleAll, {
    halfOpenAfter: halfOpenAfterMs,
    breaker: new ConsecutiveBreaker(breakAfter),
  })
  #budget = 1
  #nextId = 0

  constructor(options: BureauOptions) {
    this.#clock = options.clock
    this.#position = options.position
    this.#onBatch = options.onBatch
    this.#deadlineMs = options.deadlineMs ?? limits.bureauDeadlineMs
    const connect = { ...options.tls, timeout: 250, rejectUnauthorized: true }
    const connections = limits.bureauBatchesInFlightMax
    this.#pool = new Pool(options.url, { connections, connect, pipelining: 1 })
    this.#feedPool = new Pool(options.url, { connections: 1, connect })
    this.#delays = createDelays(options.clock)
  }

  /** Rejects with BureauUnavailable, at the latest `deadlineMs` after the call. */
  ask(question: Question): Promise<Verdict> {
    return new Promise<Verdict>((resolve, reject) => {
      const transaction = randomId()
      const askedAt = this.#clock.mono()
      const query = { id: String(this.#nextId++), ...question, transaction: printBase64url(transaction) }
      const asked: Asked = {
        query,
        transaction,
        deadlineAt: askedAt + this.#deadlineMs,
        left: false,
        done: false,
        resolve: (verdict) => settle(() => resolve(verdict)),
        reject: (error) => settle(() => reject(error)),
      }
      const settle = (tell: () => void) => {
        if (asked.done) return
        clearTimeout(timer)
        asked.done = true
        if (asked.left) this.#delays.record(this.#clock.mono() - askedAt)
        tell()
      }
      // Our own timer: undici's fire late, and an abort does not free a request that waits for a socket.
      const timer = setTimeout(
        () => asked.reject(new BureauUnavailable('deadline', asked.left)),
        this.#deadlineMs,
      )
      if (!this.#batcher.add(asked)) asked.reject(new BureauUnavailable('queue_full', false))
    })
  }

  /** What H of a held no is made from (PROTOCOL section 0.2). */
  delayP999Ms(): number {
    return this.#delays.p999Ms()
  }

  /** One page of the change feed over a connection of its own: questions cannot starve the news. */
  async fetchPage(after: number | undefined): Promise<FeedPage | 'gone'> {
    return withDeadline(this.#deadlineMs, async (signal) => {
      const path = after === undefined ? '/v1/changes' : `/v1/changes?after=${after}`
      const response = await this.#feedPool.request({ path, method: 'GET', signal })
      const text = await response.body.text()
      if (response.statusCode === 410) return 'gone'
      if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}`)
      return JSON.parse(text) as FeedPage
    })
  }

  async close(): Promise<void> {
    await Promise.all([this.#pool.destroy(), this.#feedPool.destroy()])
  }

  async #send(all: Asked[]): Promise<void> {
    const batch = all.filter((asked) => !asked.done) // Some gave up while they waited.
    if (batch.length === 0) return
    const began = this.#clock.mono()
    const position = this.#position()
    let ok = false
    try {
      const results = await this.#postWithinBudget(batch)
      ok = true
      for (const [i, asked] of batch.entries()) {
        const { result } = results[i] as Answered
        asked.resolve({ result, transaction: asked.transaction, position })
      }
    } catch (cause) {
      const reason = cause instanceof BrokenCircuitError ? 'breaker_open' : reasonOf(cause)
      for (const asked of batch) asked.reject(new BureauUnavailable(reason, asked.left, cause))
    }
    this.#onBatch?.({ size: batch.length, ms: this.#clock.mono() - began, ok })
  }

  /** Tries once more only what failed fast, and only within the budget. */
  async #postWithinBudget(batch: Asked[]): Promise<Answered[]> {
    this.#budget = Math.min(retryBudgetMax, this.#budget + retryShare)
    try {
      return await this.#breaker.execute(() => this.#post(batch))
    } catch (error) {
      const now = this.#clock.mono()
      const hasTime = batch.every((asked) => asked.deadlineAt - now > this.#deadlineMs / 2)
      const failedFast = !(error instanceof BrokenCircuitError || error instanceof Late)
      if (!failedFast || this.#budget < 1 || !hasTime) throw error
      this.#budget -= 1
      return this.#breaker.execute(() => this.#post(batch))
    }
  }

  async #post(batch: Asked[]): Promise<Answered[]> {
    const leftMs = Math.max(...batch.map((asked) => asked.deadlineAt)) - this.#clock.mono()
    return withDeadline(Math.max(1, leftMs), async (signal) => {
      for (const asked of batch) asked.left = true
      const response = await this.#pool.request({
        path: '/v1/queries',
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(batch.map((asked) => asked.query)),
        signal,
      })
      const text = await response.body.text()
      if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}`)
      return checkAnswers(JSON.parse(text), batch)
    })
  }
}

class Late extends Error {}

async function withDeadline<T>(ms: number, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, refuse) => {
    timer = setTimeout(() => {
      refuse(new Late('deadline'))
      abort.abort()
    }, ms)
  })
  const work = call(abort.signal)
  work.catch(() => {}) // Whoever loses the race has been told by the other.
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

/** As many answers as questions, in their order, with their ids and words we know; else none counts. */
function checkAnswers(value: unknown, batch: Asked[]): Answered[] {
  if (!answers.Check(value)) throw new Error('answer malformed')
  const inOrder = value.length === batch.length && batch.every((asked, i) => asked.query.id === value[i]?.id)
  if (!inOrder) throw new Error('answers do not fit the questions')
  return value as Answered[]
}

const reasonOf = (cause: unknown) => (cause instanceof Late ? 'deadline' : 'bureau_failed')
