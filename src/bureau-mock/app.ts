// The mocked public-security bureau: answers questions about invented people, publishes changes, has knobs.
// It shares with the gateway only base/ and bureau/protocol.ts, so that it cannot agree with its bugs.
import { setTimeout as sleep } from 'node:timers/promises'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { Type } from 'typebox'
import type { Clock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { type BureauResult, type FeedChange, Queries, type Query } from '../bureau/protocol.ts'
import { drawDelay, drawError, Faults, type Status, statuses } from './faults.ts'
import { findPerson } from './people.ts'

export type BureauOptions = {
  seed: string
  clock: Clock
  tls?: { key: Buffer; cert: Buffer; ca: Buffer }
}

const changeOf = {
  lost: 'card_lost',
  stolen: 'card_stolen',
  superseded: 'card_superseded',
  deceased: 'deceased',
  alert: 'alert',
} as const

type Seen = { batches: number; questions: number; batchMax: number }
type State = {
  faults: Faults
  status: Map<string, Status>
  changes: (FeedChange & { atMs: number })[]
  seen: Seen
  perNumber: Map<string, number>
}

export function buildBureau(options: BureauOptions): FastifyInstance {
  const { tls, seed, clock } = options
  const https = tls && { ...tls, requestCert: true, rejectUnauthorized: true }
  const base: FastifyServerOptions = {
    bodyLimit: 256 * 1024,
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
  }
  const app: FastifyInstance = Fastify({ ...base, ...(https ? { https } : {}) } as FastifyServerOptions)
  const state: State = {
    faults: {},
    status: new Map(),
    changes: [],
    seen: { batches: 0, questions: 0, batchMax: 0 },
    perNumber: new Map(),
  }
  addQueries(app, state, seed)
  addChanges(app, state, clock)
  addKnobs(app, state, { seed, clock })
  return app
}

function answerOf(state: State, seed: string, query: Query): BureauResult {
  const person =
    query.docType === 'ID' && query.issuingState === 'CHN' ? findPerson(seed, query.number) : undefined
  if (!person) return 'not_found'
  const status = state.status.get(query.number)
  if (person.name.normalize('NFC') !== query.name.normalize('NFC')) return 'mismatch'
  const validTo = person.validTo === '长期' ? '99991231' : person.validTo
  const current = query.serial === person.serial.toString('base64url') && query.validTo === validTo
  if (!current || status === 'lost' || status === 'stolen' || status === 'superseded')
    return 'card_not_current'
  if (status === 'alert') return 'alert'
  return status === 'deceased' ? 'deceased' : 'match'
}

function addQueries(app: FastifyInstance, state: State, seed: string): void {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  typed.post('/v1/queries', { schema: { body: Queries } }, async (request, reply) => {
    const { faults, seen } = state
    const queries = request.body
    seen.batches++
    seen.questions += queries.length
    seen.batchMax = Math.max(seen.batchMax, queries.length)
    for (const { number } of queries) state.perNumber.set(number, (state.perNumber.get(number) ?? 0) + 1)
    if (faults.silent) return reply.hijack()
    await sleep(drawDelay(faults))
    if (drawError(faults)) return reply.code(500).send({ failed: true })
    if (faults.garbage) return reply.type('application/json').send('[{"id":"0","result":"yes"')
    const answers = queries.map((query) => ({ id: query.id, result: answerOf(state, seed, query) }))
    if (faults.reordered) answers.reverse()
    return faults.partial ? answers.slice(1) : answers
  })
}

function addChanges(app: FastifyInstance, state: State, clock: Clock): void {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  const Asked = Type.Object({ after: Type.Optional(Type.String({ pattern: '^[0-9]{1,15}$' })) })
  typed.get('/v1/changes', { schema: { querystring: Asked } }, async (request, reply) => {
    if (state.faults.silent) return reply.hijack()
    const oldest = clock.now() - limits.feedWindowMs
    while ((state.changes[0]?.atMs ?? oldest) < oldest) state.changes.shift()
    const head = state.changes.at(-1)?.position ?? 0
    const first = state.changes[0]?.position ?? head + 1
    const after = request.query.after === undefined ? first - 1 : Number(request.query.after)
    if (after < first - 1) return reply.code(410).send({ first, head })
    const page = state.changes.filter((change) => change.position > after).slice(0, limits.feedPageMax)
    return { first, head, changes: page.map(({ atMs, ...change }) => change) }
  })
}

function addKnobs(app: FastifyInstance, state: State, given: { seed: string; clock: Clock }): void {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  typed.post('/faults', { schema: { body: Faults } }, async (request) => {
    state.faults = request.body
    return state.faults
  })
  typed.delete('/faults', async () => {
    state.faults = {}
    return state.faults
  })
  const Of = Type.Object({ number: Type.Optional(Type.String()) })
  typed.get('/seen', { schema: { querystring: Of } }, async (request) => {
    const { number } = request.query
    return { ...state.seen, ...(number ? { ofNumber: state.perNumber.get(number) ?? 0 } : {}) }
  })
  const Change = Type.Object(
    { number: Type.String(), status: Type.Union(statuses.map((status) => Type.Literal(status))) },
    { additionalProperties: false },
  )
  typed.post('/people/status', { schema: { body: Change } }, async (request) => {
    const { number } = request.body
    const status = request.body.status as Status
    if (status === 'clear') state.status.delete(number)
    else state.status.set(number, status)
    const position = (state.changes.at(-1)?.position ?? 0) + 1
    const kind = changeOf[status === 'clear' ? 'superseded' : status]
    const serial = findPerson(given.seed, number)?.serial.toString('base64url')
    const card = kind.startsWith('card_') && serial ? { serial } : {}
    const change = { position, kind, docType: 'ID', issuingState: 'CHN', number, ...card }
    state.changes.push({ ...change, atMs: given.clock.now() })
    return { position }
  })
}
