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
  askedAt: number
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

export type BureauClient = ReturnType<typeof createBureauClient>

const answers = Compile(Type.Array(Answered))
const breakAfter = 5
const halfOpenAfterMs = 500
/** Retries allowed: a tenth of the batches of late, saved up to this many. */
const retryBudgetMax = 10
const retryShare = 0.1

export function createBureauClient(options: BureauOptions) {
  const { clock, position, onBatch, deadlineMs = limits.bureauDeadlineMs } = options
  const connect = { ...options.tls, timeout: 250, rejectUnauthorized: true }
  const pool = new Pool(options.url, { connections: limits.bureauBatchesInFlightMax, connect, pipelining: 1 })
  const feedPool = new Pool(options.url, { connections: 1, connect })
  const delays = createDelays(clock)
  const breaker = circuitBreaker(handleAll, {
    halfOpenAfter: halfOpenAfterMs,
    breaker: new ConsecutiveBreaker(breakAfter),
  })
  let open = false
  breaker.onStateChange((state) => {
    open = String(state) !== '0' // CircuitState.Closed
  })
  let budget = 1
  let nextId = 0

  async function post(batch: Asked[]): Promise<Answered[]> {
    const late = Math.max(...batch.map((asked) => asked.deadlineAt)) - clock.mono()
    return withDeadline(Math.max(1, late), async (signal) => {
      for (const asked of batch) asked.left = true
      const response = await pool.request({
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

  /** Tries once more only what failed fast, and only within the budget. */
  async function postWithin(batch: Asked[]): Promise<Answered[]> {
    budget = Math.min(retryBudgetMax, budget + retryShare)
    try {
      return await breaker.execute(() => post(batch))
    } catch (error) {
      const hasTime = batch.every((asked) => asked.deadlineAt - clock.mono() > deadlineMs / 2)
      if (error instanceof BrokenCircuitError || error instanceof Late || budget < 1 || !hasTime) throw error
      budget -= 1
      return breaker.execute(() => post(batch))
    }
  }

  async function send(all: Asked[]): Promise<void> {
    const batch = all.filter((asked) => !asked.done) // Some gave up while they waited.
    if (batch.length === 0) return
    const began = clock.mono()
    const before = position()
    let ok = false
    try {
      const results = await postWithin(batch)
      ok = true
      for (const [i, asked] of batch.entries()) {
        const { result } = results[i] as Answered
        asked.resolve({ result: result as BureauResult, transaction: asked.transaction, position: before })
      }
    } catch (cause) {
      const reason = cause instanceof BrokenCircuitError ? 'breaker_open' : reasonOf(cause)
      for (const asked of batch) asked.reject(new BureauUnavailable(reason, asked.left, cause))
    }
    onBatch?.({ size: batch.length, ms: clock.mono() - began, ok })
  }

  const batcher = new Batcher<Asked>(send)

  return {
    /** Rejects with BureauUnavailable, at the latest `deadlineMs` after the call. */
    ask(question: Question): Promise<Verdict> {
      return new Promise<Verdict>((resolve, reject) => {
        const transaction = randomId()
        const askedAt = clock.mono()
        const id = String(nextId++)
        const query = { id, ...question, transaction: printBase64url(transaction) }
        const settle = () => {
          clearTimeout(timer)
          asked.done = true
        }
        const asked: Asked = {
          query,
          transaction,
          askedAt,
          deadlineAt: askedAt + deadlineMs,
          left: false,
          done: false,
          resolve(verdict) {
            if (asked.done) return
            settle()
            delays.record(clock.mono() - askedAt)
            resolve(verdict)
          },
          reject(error) {
            if (asked.done) return
            settle()
            if (asked.left) delays.record(clock.mono() - askedAt)
            reject(error)
          },
        }
        // Our own timer: undici's fire late, and an abort does not free a request that waits for a socket.
        const timer = setTimeout(
          () => asked.reject(new BureauUnavailable('deadline', asked.left)),
          deadlineMs,
        )
        if (!batcher.add(asked)) asked.reject(new BureauUnavailable('queue_full', false))
      })
    },
    delayP999Ms: () => delays.p999Ms(),
    isOpen: () => open,

    /** One page of the change feed over a connection of its own: questions cannot starve the news. */
    async fetchPage(after: number | undefined): Promise<FeedPage | 'gone'> {
      return withDeadline(deadlineMs, async (signal) => {
        const path = after === undefined ? '/v1/changes' : `/v1/changes?after=${after}`
        const response = await feedPool.request({ path, method: 'GET', signal })
        const text = await response.body.text()
        if (response.statusCode === 410) return 'gone'
        if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}`)
        return JSON.parse(text) as FeedPage
      })
    },

    async close(): Promise<void> {
      await Promise.all([pool.destroy(), feedPool.destroy()])
    },
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
