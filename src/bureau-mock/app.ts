// The mocked public-security bureau: answers questions about invented people, publishes changes, has knobs.
// It shares with the gateway only base/ and bureau/protocol.ts, so that it cannot agree with its bugs
// (PROTOCOL section 11).
import { setTimeout as sleep } from 'node:timers/promises'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyServerOptions } from 'fastify'
import { Type } from 'typebox'
import type { Clock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { type BureauResult, type FeedChange, Queries, type Query } from '../bureau/protocol.ts'
import { drawDelay, drawError, Faults, type Status, statuses } from './faults.ts'
import { findPassport, passportStates } from './passports.ts'
import { findPerson } from './people.ts'

/** Without `tls` plain HTTP, for `inject` in tests; with it only clients of `ca` are let in. */
export type BureauOptions = {
  seed: string
  clock: Clock
  tls?: { key: Buffer; cert: Buffer; ca: Buffer }
}

type Condition = Exclude<Status, 'clear'>

const changeOf = {
  lost: 'card_lost',
  stolen: 'card_stolen',
  superseded: 'card_superseded',
  deceased: 'deceased',
  alert: 'alert',
} as const satisfies Record<Condition, FeedChange['kind']>

/** How many numbers `/seen` counts; a load test asks about more people than it looks up. */
const seenNumbersMax = 1_000_000

/** The changes of the last 48 h; `head` is never given twice, even when all of them are older. */
type News = { head: number; changes: (FeedChange & { atMs: number })[] }

type State = {
  faults: Faults
  conditions: Map<string, Condition>
  news: News
  seen: { batches: number; questions: number; batchMax: number }
  perNumber: Map<string, number>
}

/** The bureau, not yet listening. `close` cuts the connections that a fault left hanging. */
export function buildBureau(options: BureauOptions): FastifyInstance {
  const { tls, seed, clock } = options
  const https = tls && { ...tls, requestCert: true, rejectUnauthorized: true }
  const base: FastifyServerOptions = {
    bodyLimit: 256 * 1024,
    forceCloseConnections: true,
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
  }
  const app: FastifyInstance = Fastify({ ...base, ...(https ? { https } : {}) } as FastifyServerOptions)
  const state: State = {
    faults: {},
    conditions: new Map(),
    news: { head: 0, changes: [] },
    seen: { batches: 0, questions: 0, batchMax: 0 },
    perNumber: new Map(),
  }
  addQueries(app, state, seed)
  addChanges(app, state, clock)
  addKnobs(app, state)
  addStatus(app, state, { seed, clock })
  return app
}

/** Never replies, or cuts the connection; true if it did either. */
function isGone(faults: Faults, reply: FastifyReply): boolean {
  if (!faults.silent && !faults.down) return false
  reply.hijack()
  if (faults.down) reply.raw.destroy()
  return true
}

const garbage = '[{"id":"0","result":"yes"'

function answerOf(state: State, seed: string, query: Query): BureauResult {
  if (query.docType === 'P') return answerOfPassport(state, seed, query)
  const isOurs = query.docType === 'ID' && query.issuingState === 'CHN'
  const person = isOurs ? findPerson(seed, query.number) : undefined
  if (!person) return 'not_found'
  if (person.name.normalize('NFC') !== query.name.normalize('NFC')) return 'mismatch'
  const condition = state.conditions.get(query.number)
  const validTo = person.validTo === '长期' ? '99991231' : person.validTo
  const isCard = query.serial === person.serial.toString('base64url') && query.validTo === validTo
  if (!isCard || (condition && changeOf[condition].startsWith('card_'))) return 'card_not_current'
  if (condition === 'alert') return 'alert'
  return condition === 'deceased' ? 'deceased' : 'match'
}

/** Its serial is of the gateway's own making: state and number say all. */
function answerOfPassport(state: State, seed: string, query: Query): BureauResult {
  const passport = findPassport(seed, query.issuingState, query.number)
  if (!passport) return 'not_found'
  if (passport.name !== query.name) return 'mismatch'
  const condition = state.conditions.get(query.number)
  if (passport.validTo !== query.validTo) return 'card_not_current'
  if (condition && changeOf[condition].startsWith('card_')) return 'card_not_current'
  if (condition === 'alert') return 'alert'
  return condition === 'deceased' ? 'deceased' : 'match'
}

/** What news about a number say of its document; undefined if nobody has it. A passport goes by number alone. */
function documentOf(seed: string, number: string) {
  const person = findPerson(seed, number)
  const identity = { docType: 'ID', issuingState: 'CHN', number }
  if (person) return { identity, serial: person.serial.toString('base64url') }
  const state = passportStates.find((one) => findPassport(seed, one, number))
  return state && { identity: { docType: 'P', issuingState: state, number }, serial: undefined }
}

function count(state: State, queries: Query[]): void {
  const { seen, perNumber } = state
  seen.batches++
  seen.questions += queries.length
  seen.batchMax = Math.max(seen.batchMax, queries.length)
  for (const { number } of queries) {
    if (perNumber.size >= seenNumbersMax && !perNumber.has(number)) continue
    perNumber.set(number, (perNumber.get(number) ?? 0) + 1)
  }
}

function addQueries(app: FastifyInstance, state: State, seed: string): void {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  typed.post('/v1/queries', { schema: { body: Queries } }, async (request, reply) => {
    const { faults } = state // As they were when the question came.
    const queries = request.body
    count(state, queries)
    if (isGone(faults, reply)) return reply
    await sleep(drawDelay(faults))
    if (drawError(faults)) return reply.code(500).send({ failed: true })
    if (faults.garbage) return reply.type('application/json').send(garbage)
    const answers = queries.map((query) => ({ id: query.id, result: answerOf(state, seed, query) }))
    if (faults.reordered) answers.reverse()
    return faults.partial ? answers.slice(1) : answers
  })
}

function addChanges(app: FastifyInstance, state: State, clock: Clock): void {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  const Asked = Type.Object(
    { after: Type.Optional(Type.String({ pattern: '^[0-9]{1,15}$' })) },
    { additionalProperties: false },
  )
  typed.get('/v1/changes', { schema: { querystring: Asked } }, async (request, reply) => {
    const { faults, news } = state
    if (isGone(faults, reply)) return reply
    if (faults.feed === 'silent') return reply.hijack()
    if (faults.feed === 'error') return reply.code(500).send({ failed: true })
    if (faults.feed === 'garbage') return reply.type('application/json').send(garbage)
    forgetOld(news, clock.now() - limits.feedWindowMs)
    const { head, changes } = news
    const first = changes[0]?.position ?? head + 1
    const after = request.query.after === undefined ? first - 1 : Number(request.query.after)
    if (after < first - 1) return reply.code(410).send({ first, head })
    const from = after - (first - 1) // Positions have no gaps.
    const page = changes.slice(from, from + limits.feedPageMax)
    return { first, head, changes: page.map(({ atMs, ...change }) => change) }
  })
}

function forgetOld(news: News, oldestMs: number): void {
  const kept = news.changes.findIndex((change) => change.atMs >= oldestMs)
  if (kept !== 0) news.changes = kept < 0 ? [] : news.changes.slice(kept)
}

function addKnobs(app: FastifyInstance, state: State): void {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  typed.post('/faults', { schema: { body: Faults } }, async (request) => {
    state.faults = request.body
    return state.faults
  })
  typed.delete('/faults', async () => {
    state.faults = {}
    return state.faults
  })
  const Of = Type.Object({ number: Type.Optional(Type.String()) }, { additionalProperties: false })
  typed.get('/seen', { schema: { querystring: Of } }, async (request) => {
    const { number } = request.query
    return { ...state.seen, ...(number ? { ofNumber: state.perNumber.get(number) ?? 0 } : {}) }
  })
}

function addStatus(app: FastifyInstance, state: State, given: { seed: string; clock: Clock }): void {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  const Change = Type.Object(
    { number: Type.String(), status: Type.Union(statuses.map((status) => Type.Literal(status))) },
    { additionalProperties: false },
  )
  typed.post('/people/status', { schema: { body: Change } }, async (request, reply) => {
    const { number } = request.body
    const status = request.body.status as Status
    const found = documentOf(given.seed, number)
    if (!found) return reply.code(404).send({ found: false })
    // What is cleared is news of the same kind: whoever keeps the old answer must ask again.
    const before = state.conditions.get(number)
    const kind = changeOf[status === 'clear' ? (before ?? 'superseded') : status]
    if (status === 'clear') state.conditions.delete(number)
    else state.conditions.set(number, status)
    const position = ++state.news.head
    const { identity, serial } = found
    const change = { position, kind, ...identity, ...(serial && kind.startsWith('card_') ? { serial } : {}) }
    state.news.changes.push({ ...change, atMs: given.clock.now() })
    return { position }
  })
}
