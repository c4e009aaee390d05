// Handhelds of the asking carrier: registered in bulk, listed, given new keys, revoked (PROTOCOL section 10).
import { setImmediate as turn } from 'node:timers/promises'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type Static, Type } from 'typebox'
import type {} from '../../plugins/carrier-auth.ts'
import type {} from '../../plugins/idempotency.ts'
import { parseBase64url, printBase64url } from '../base/bytes.ts'
import { GatewayError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { callOnce } from '../registry/calls.ts'
import { carrierActor } from '../registry/changes.ts'
import {
  type Enrolled,
  type Enrolment,
  enrol,
  listDevices,
  refusalOfEnrolment,
  revocation,
  revokeOutlet,
  rotateDevice,
  setDeviceStatus,
} from '../registry/devices.ts'
import type { RegistryDb, RegistryError } from '../registry/schema.ts'
import { orRefused, wordOfReason } from './refusals.ts'
import { Binary, decode, object, toldProblems } from './schemas.ts'

export type DevicesRoutes = { db: RegistryDb }

const idBytes = 16
const spkiBytes = 91
const signatureBytes = 64
/** Proofs checked before others have their turn: some 5 ms. */
const proofsAtOnce = 50

const Serial = Type.String({ minLength: 1, maxLength: 64 })
const Outlet = Type.String({ pattern: '^[A-Za-z0-9-]{1,32}$' })
const DeviceId = Binary(idBytes, 'Device id')
const Time = Type.String({ format: 'date-time' })

const EnrolmentBody = object({
  serial: Serial,
  spki: Binary(spkiBytes, 'Device key, an uncompressed P-256 SPKI'),
  outlet: Outlet,
  model: Serial,
  pop: Binary(signatureBytes, 'By the device key over enrol{carrier, serial, spki}, r||s'),
})
const EnrolmentResult = object({
  serial: Serial,
  device: Type.Optional(DeviceId),
  refused: Type.Optional(Type.String({ description: 'Why this one was not registered' })),
  detail: Type.Optional(Type.String()),
})
const Listed = object({
  device: DeviceId,
  outlet: Outlet,
  serial: Serial,
  model: Serial,
  status: Type.Union([Type.Literal('active'), Type.Literal('suspended'), Type.Literal('revoked')]),
  registeredAt: Time,
  keyEndsAt: Time,
})
const RotationBody = object({
  spki: Binary(spkiBytes, 'The new key'),
  byOld: Binary(signatureBytes, 'By the old key over rotate{device, old spki, new spki}, r||s'),
  byNew: Binary(signatureBytes, 'By the new key over the same'),
})
const IdempotencyHeaders = Type.Object({
  'idempotency-key': Type.Optional(Type.String({ description: 'Required; kept 24 h' })),
})

const security = [{ carrierCertificate: [] }]
const printTime = (ms: number) => new Date(ms).toISOString()

function parseId(text: string): Buffer {
  const id = parseBase64url(text, idBytes)
  if (!id) throw new GatewayError('malformed', 'device_id')
  return id
}

/** Form and proof of each; they need no registry, so they hold up no transaction. */
async function checkProofs(carrier: string, asked: readonly Enrolment[]) {
  const refusals: (RegistryError | undefined)[] = []
  for (const [i, one] of asked.entries()) {
    if (i % proofsAtOnce === proofsAtOnce - 1) await turn()
    refusals.push(refusalOfEnrolment(carrier, one))
  }
  return refusals
}

function printResult(serial: string, enrolled: Enrolled): Static<typeof EnrolmentResult> {
  if ('id' in enrolled) return { serial, device: printBase64url(enrolled.id) }
  const { refused, known } = enrolled
  const own = known ? { device: printBase64url(known) } : {}
  return { serial, ...own, refused: wordOfReason(refused.reason), detail: refused.message }
}

const routes: FastifyPluginAsyncTypebox<DevicesRoutes> = async (app, { db }) => {
  const plain = app as App
  addRegistration(plain, db)
  addList(plain, db)
  addRotation(plain, db)
  addRevocation(plain, db)
  addRevocationOfOutlet(plain, db)
}

type App = Parameters<FastifyPluginAsyncTypebox>[0]

function addRegistration(app: App, db: RegistryDb): void {
  app.post(
    '/v1/devices',
    {
      bodyLimit: limits.devicesBodyBytesMax,
      schema: {
        summary: 'Registers up to 1,000 handhelds, each with proof of possession and a result of its own',
        security,
        headers: IdempotencyHeaders,
        body: Type.Array(EnrolmentBody, { minItems: 1, maxItems: limits.devicesPerCallMax }),
        response: {
          200: object({ results: Type.Array(EnrolmentResult) }),
          ...toldProblems(400, 403, 409, 413, 415, 422, 429, 500, 503),
        },
      },
      onRequest: app.carrierAuth,
    },
    (request, reply) =>
      app.answerOnce(request, reply, async (call) => {
        const { carrier } = request
        const asked = request.body.map(({ serial, outlet, model, ...binary }) => {
          return { serial, outlet, model, ...decode(binary, 'spki', 'pop') }
        })
        const refusals = await checkProofs(carrier, asked)
        const proven = asked.filter((_, i) => !refusals[i])
        return callOnce(db, call, async (tx) => {
          const by = { operator: carrierActor(carrier), nowMs: call.nowMs }
          const { result, acts } = await enrol(tx, { carrier, asked: proven, ...by })
          const inOrder = result.values()
          const results = asked.map(({ serial }, i) => {
            const refused = refusals[i]
            return printResult(serial, refused ? { refused } : (inOrder.next().value as Enrolled))
          })
          return { reply: { status: 200, body: JSON.stringify({ results }) }, acts }
        })
      }),
  )
}

function addList(app: App, db: RegistryDb): void {
  app.get(
    '/v1/devices',
    {
      schema: {
        summary: 'The handhelds of the carrier, by cursor',
        security,
        querystring: object({
          after: Type.Optional(Type.String({ description: 'The `next` of the page before' })),
          outlet: Type.Optional(Outlet),
          limit: Type.Optional(Type.String({ pattern: '^[1-9][0-9]{0,3}$' })),
        }),
        response: {
          200: object({ devices: Type.Array(Listed), next: Type.Union([DeviceId, Type.Null()]) }),
          ...toldProblems(400, 403, 429, 500, 503),
        },
      },
      onRequest: app.carrierAuth,
    },
    async (request) => {
      const { after, outlet, limit: asked } = request.query
      const limit = Math.min(Number(asked ?? limits.devicesPerCallMax), limits.devicesPerCallMax)
      const given = {
        ...{ carrier: request.carrier, limit: limit + 1 },
        ...(outlet === undefined ? {} : { outlet }),
        ...(after === undefined ? {} : { after: parseId(after) }),
      }
      const rows = await listDevices(db, given)
      const devices = rows.slice(0, limit).map(({ id, registeredAtMs, notAfterMs, carrier: _, ...row }) => {
        return {
          device: id,
          ...row,
          registeredAt: printTime(registeredAtMs),
          keyEndsAt: printTime(notAfterMs),
        }
      })
      return { devices, next: rows.length > limit ? (devices.at(-1)?.device ?? null) : null }
    },
  )
}

function addRotation(app: App, db: RegistryDb): void {
  app.post(
    '/v1/devices/:device/rotation',
    {
      schema: {
        summary: 'Gives a handheld a new key, signed by the old one and the new',
        security,
        headers: IdempotencyHeaders,
        params: Type.Object({ device: Type.String() }),
        body: RotationBody,
        response: {
          200: object({ device: DeviceId, keyEndsAt: Time }),
          ...toldProblems(400, 403, 404, 409, 413, 415, 422, 429, 500, 503),
        },
      },
      onRequest: app.carrierAuth,
    },
    (request, reply) =>
      app.answerOnce(request, reply, (call) => {
        const { carrier } = request
        const id = parseId(request.params.device)
        const keys = decode(request.body, 'spki', 'byOld', 'byNew')
        const by = { operator: carrierActor(carrier), nowMs: call.nowMs }
        const work = () =>
          callOnce(db, call, async (tx) => {
            const { result, acts } = await rotateDevice(tx, { id, carrier, ...keys, ...by })
            const body = { device: printBase64url(id), keyEndsAt: printTime(result.notAfterMs) }
            return { reply: { status: 200, body: JSON.stringify(body) }, acts }
          })
        return orRefused(work)
      }),
  )
}

const Revoked = object({ revoked: Type.Array(DeviceId) })
const printRevoked = (ids: readonly Buffer[]) => ({
  status: 200,
  body: JSON.stringify({ revoked: ids.map(printBase64url) }),
})

function addRevocation(app: App, db: RegistryDb): void {
  app.delete(
    '/v1/devices/:device',
    {
      schema: {
        summary: 'Revokes a handheld for good',
        security,
        headers: IdempotencyHeaders,
        params: Type.Object({ device: Type.String() }),
        response: { 200: Revoked, ...toldProblems(400, 403, 404, 409, 422, 429, 500, 503) },
      },
      onRequest: app.carrierAuth,
    },
    (request, reply) =>
      app.answerOnce(request, reply, (call) => {
        const { carrier } = request
        const id = parseId(request.params.device)
        const by = { operator: carrierActor(carrier), nowMs: call.nowMs }
        const work = () =>
          callOnce(db, call, async (tx) => {
            const act = await setDeviceStatus(tx, revocation({ id, carrier, ...by }))
            return { reply: printRevoked([id]), acts: [act] }
          })
        return orRefused(work)
      }),
  )
}

function addRevocationOfOutlet(app: App, db: RegistryDb): void {
  app.delete(
    '/v1/devices',
    {
      schema: {
        summary: 'Revokes every handheld of an outlet for good',
        security,
        headers: IdempotencyHeaders,
        querystring: object({ outlet: Outlet }),
        response: { 200: Revoked, ...toldProblems(400, 403, 404, 409, 422, 429, 500, 503) },
      },
      onRequest: app.carrierAuth,
    },
    (request, reply) =>
      app.answerOnce(request, reply, (call) => {
        const { carrier } = request
        const by = { operator: carrierActor(carrier), nowMs: call.nowMs }
        const work = () =>
          callOnce(db, call, async (tx) => {
            const { result, acts } = await revokeOutlet(tx, { carrier, outlet: request.query.outlet, ...by })
            return { reply: printRevoked(result), acts }
          })
        return orRefused(work)
      }),
  )
}

export default routes
