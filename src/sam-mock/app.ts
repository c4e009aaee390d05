// The simulated SAM service: takes what a simulated chip holds, hands it to the gateway with its attestation, has knobs.
// It shares with the gateway only base/ and sam/protocol.ts (docs/SAM.md).
import { type KeyObject, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { TLSSocket } from 'node:tls'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerOptions,
} from 'fastify'
import { Type } from 'typebox'
import { printBase64url } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { signP256 } from '../base/p256.ts'
import { attestedMessage, type RecordReply, RecordRequest } from '../sam/protocol.ts'

/** Without `tls` plain HTTP, for `inject` in tests; with it only clients of `ca` are let in. */
export type SamOptions = {
  clock: Clock
  attestationKey: KeyObject
  tls?: { key: Buffer; cert: Buffer; ca: Buffer }
}

const closed = { additionalProperties: false }

/**
 * `silent` never replies, `down` cuts the connection; `garbage` is a reply that is no JSON (`json`) or no HTTP (`http`),
 * each with the record in it; `oversized` is longer than any reply; `forged` is signed by another key; `clockMs` is
 * added to the time of reading.
 */
const Faults = Type.Object(
  {
    delayMs: Type.Optional(Type.Number({ minimum: 0, maximum: 60_000 })),
    error: Type.Optional(Type.Boolean()),
    silent: Type.Optional(Type.Boolean()),
    down: Type.Optional(Type.Boolean()),
    garbage: Type.Optional(Type.Union([Type.Literal('json'), Type.Literal('http')])),
    oversized: Type.Optional(Type.Boolean()),
    forged: Type.Optional(Type.Boolean()),
    clockMs: Type.Optional(Type.Integer()),
  },
  closed,
)
type Faults = {
  delayMs?: number
  error?: boolean
  silent?: boolean
  down?: boolean
  garbage?: 'json' | 'http'
  oversized?: boolean
  forged?: boolean
  clockMs?: number
}

/** What the simulated reader sends: the chip's text record and serial, and what the reading is for. */
const Read = Type.Object(
  {
    record: Type.String({ pattern: '^[A-Za-z0-9_-]{342}$' }),
    serial: Type.String({ pattern: '^[A-Za-z0-9_-]{22}$' }),
    binding: Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' }),
  },
  closed,
)

type Kept = { record: Buffer; serial: Buffer; binding: string; readAtMs: number }

type State = {
  faults: Faults
  /** By transaction, oldest first. */
  kept: Map<string, Kept>
  seen: { reads: number; records: number; found: number }
}

/** As long as a gateway may ask again for the challenge of a reading, and no longer. */
const keptMs = (limits.challengeTtlBatchS + limits.replayWindowS + 2 * limits.clockSkewS) * 1000
const keptMax = 10_000

/** The service, not yet listening. `close` cuts the connections that a fault left hanging. */
export function buildSam(options: SamOptions): FastifyInstance {
  const { tls, clock, attestationKey } = options
  const https = tls && { ...tls, requestCert: true, rejectUnauthorized: true }
  const base: FastifyServerOptions = {
    bodyLimit: 4096,
    forceCloseConnections: true,
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
  }
  const app: FastifyInstance = Fastify({ ...base, ...(https ? { https } : {}) } as FastifyServerOptions)
  const state: State = { faults: {}, kept: new Map(), seen: { reads: 0, records: 0, found: 0 } }
  addReads(app, state, clock)
  addRecords(app, state, attestationKey)
  addKnobs(app, state)
  return app
}

const gateway = 'URI:urn:vouchsafe:gateway'
const reader = 'URI:urn:vouchsafe:sam-reader'

/** A reader may begin a transaction and never fetch what came of it; the gateway only fetches. */
const only = (name: string) => async (request: FastifyRequest, reply: FastifyReply) => {
  const { socket } = request.raw
  if (!(socket instanceof TLSSocket)) return // `inject`, in tests.
  if (socket.getPeerCertificate().subjectaltname !== name) await reply.code(403).send({ allowed: false })
}

function addReads(app: FastifyInstance, state: State, clock: Clock): void {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  // Simulated: a real reader relays what the SAM and the chip say to each other until the SAM has authenticated the chip
  // and decoded the record. Here the reader is believed, and hands over the record in clear.
  typed.post('/v1/reads', { schema: { body: Read }, preHandler: only(reader) }, async (request) => {
    const { record, serial, binding } = request.body
    const nowMs = clock.now()
    forgetOld(state.kept, nowMs)
    const transaction = printBase64url(randomBytes(32))
    state.seen.reads += 1
    state.kept.set(transaction, {
      ...{ record: Buffer.from(record, 'base64url'), serial: Buffer.from(serial, 'base64url') },
      ...{ binding, readAtMs: nowMs + (state.faults.clockMs ?? 0) },
    })
    return { transaction }
  })
}

function forgetOld(kept: Map<string, Kept>, nowMs: number): void {
  for (const [transaction, { readAtMs }] of kept) {
    if (nowMs - readAtMs < keptMs && kept.size < keptMax) break
    kept.delete(transaction)
  }
}

function addRecords(app: FastifyInstance, state: State, attestationKey: KeyObject): void {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  const options = { schema: { body: RecordRequest }, preHandler: only(gateway) }
  typed.post('/v1/records', options, async (request, reply) => {
    const { faults } = state // As they were when the question came.
    const { transaction, binding } = request.body
    state.seen.records += 1
    const kept = state.kept.get(transaction)
    // One binding for ever: to ask again for it gets the same record, for any other there is none.
    const found = kept?.binding === binding ? kept : undefined
    if (found) state.seen.found += 1
    if (await fail(faults, reply, found)) return reply
    return found ? attest(found, transaction, faults.forged ? undefined : attestationKey) : { found: false }
  })
}

/** @param key undefined for an attestation that is none */
function attest(kept: Kept, transaction: string, key: KeyObject | undefined): RecordReply {
  const { record, serial, binding, readAtMs } = kept
  const message = attestedMessage(
    Buffer.from(transaction, 'base64url'),
    Buffer.from(binding, 'base64url'),
    kept,
  )
  const attestation = key ? signP256(key, message) : randomBytes(64)
  return {
    found: true,
    record: printBase64url(record),
    serial: printBase64url(serial),
    readAt: readAtMs,
    attestation: printBase64url(attestation),
  }
}

/** Plays the fault that is set; true if it replied, or never will. */
async function fail(faults: Faults, reply: FastifyReply, found: Kept | undefined): Promise<boolean> {
  const { silent, down, delayMs = 0, error, garbage, oversized } = faults
  const text = found?.record.toString('utf16le') ?? ''
  if (silent || down || garbage === 'http') {
    reply.hijack()
    if (garbage) reply.raw.socket?.end(`HTTP/1.1 ${text}\r\n\r\n`)
    else if (down) reply.raw.destroy()
    return true
  }
  await sleep(delayMs)
  if (error) await reply.code(500).send({ failed: text })
  else if (garbage) await reply.type('application/json').send(`{"found":true,"record":"${text}`)
  else if (oversized) await reply.send({ found: false, padding: text + 'x'.repeat(limits.samReplyBytesMax) })
  return reply.sent
}

function addKnobs(app: FastifyInstance, state: State): void {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  typed.post('/faults', { schema: { body: Faults } }, async (request) => {
    state.faults = request.body as Faults
    return state.faults
  })
  typed.delete('/faults', async () => {
    state.faults = {}
    return state.faults
  })
  typed.get('/seen', async () => state.seen)
}
