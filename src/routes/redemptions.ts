// Redemption: the carrier's back end shows that the courier's token is a yes for the parcel that it accepted
// (PROTOCOL section 10). Redemptions that arrive together share a transaction.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type {} from '../../plugins/carrier-auth.ts'
import type {} from '../../plugins/idempotency.ts'
import { parseBase64url, printBase64url } from '../base/bytes.ts'
import { carrierDay } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { createGroup } from '../base/group.ts'
import { limits } from '../base/limits.ts'
import { type Call, type Called, callEachOnce } from '../registry/calls.ts'
import type { RegistryReader } from '../registry/reader.ts'
import { type Redemption, redeem } from '../registry/redemptions.ts'
import type { RegistryDb } from '../registry/schema.ts'
import type { Introspection } from '../token/introspect.ts'
import { Binary, decode, object, toldProblems } from './schemas.ts'

export type RedemptionRoutes = {
  db: RegistryDb
  introspection: Pick<Introspection, 'read'>
  registry: Pick<RegistryReader, 'device'>
}

const jtiBytes = 16
const deviceBytes = 16
const groupMax = 256
/** Others have the thread between two commits, each of which waits for the disk. */
const pauseMs = 4

const routes: FastifyPluginAsyncTypebox<RedemptionRoutes> = async (app, options) => {
  const { db, introspection, registry } = options
  const redeemAll = createGroup<{ call: Call; redemption: Omit<Redemption, 'atMs'> }, Called>({
    most: groupMax,
    pauseMs,
    run: (group) =>
      callEachOnce(
        db,
        group.map(({ call }) => call),
        async (tx, _, at) => {
          const { call, redemption } = group[at] as (typeof group)[number]
          const atMs = await redeem(tx, { ...redemption, atMs: call.nowMs })
          const body = { jti: printBase64url(redemption.jti), redeemedAt: new Date(atMs).toISOString() }
          return { reply: { status: 200, body: JSON.stringify(body) }, acts: [] }
        },
      ),
  })

  app.post(
    '/v1/redemptions',
    {
      schema: {
        summary: 'Redeems a token for the parcel that it was made for',
        security: [{ carrierCertificate: [] }],
        headers: Type.Object({
          'idempotency-key': Type.Optional(Type.String({ description: 'Required; kept 24 h' })),
        }),
        body: object({
          token: Type.String({ minLength: 1, maxLength: limits.tokenCharsMax }),
          parcel: Binary(32, 'Commitment to the waybill'),
        }),
        response: {
          200: object({
            jti: Binary(jtiBytes, 'Of the token'),
            redeemedAt: Type.String({ format: 'date-time' }),
          }),
          ...toldProblems(400, 403, 409, 413, 415, 422, 429, 500, 503),
        },
      },
      onRequest: app.carrierAuth,
    },
    (request, reply) =>
      app.answerOnce(request, reply, async (call) => {
        const { carrier, body } = request
        const { parcel } = decode(body, 'parcel')
        const claims = await introspection.read(body.token, carrier)
        if (claims?.answer !== 'yes' || claims.parcel !== printBase64url(parcel)) {
          throw new GatewayError('token_not_redeemable', 'token_not_redeemable')
        }
        const device = await registry.device(parseBase64url(claims.device, deviceBytes) ?? Buffer.alloc(0))
        const redemption = {
          ...{ carrier, jti: parseBase64url(claims.jti, jtiBytes) as Buffer },
          ...{ outlet: device?.outlet ?? '', day: carrierDay(claims.iat * 1000) },
        }
        return redeemAll({ call, redemption })
      }),
  )
}

export default routes
