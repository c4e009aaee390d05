// What changed for the asking carrier since it last asked: tokens revoked, devices and certificates and its own
// standing. Nothing of why a token was revoked (PROTOCOL section 10).
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type {} from '../../plugins/carrier-auth.ts'
import { newsOfCarrier } from '../registry/changes.ts'
import type { RegistryDb } from '../registry/schema.ts'
import { object, toldProblems } from './schemas.ts'

export type ChangesRoutes = { db: RegistryDb }

const pageMax = 1000

const routes: FastifyPluginAsyncTypebox<ChangesRoutes> = async (app, { db }) => {
  app.get(
    '/v1/changes',
    {
      schema: {
        summary:
          'Changes that concern the carrier, by cursor; `subject` is a token id, a device, a serial or the carrier',
        security: [{ carrierCertificate: [] }],
        querystring: object({ after: Type.Optional(Type.String({ pattern: '^(0|[1-9][0-9]{0,14})$' })) }),
        response: {
          200: object({
            changes: Type.Array(
              object({
                seq: Type.Integer(),
                at: Type.String({ format: 'date-time' }),
                change: Type.String(),
                subject: Type.String(),
              }),
            ),
            next: Type.Integer({ description: 'Give it as `after` the next time' }),
          }),
          ...toldProblems(400, 403, 429, 500, 503),
        },
      },
      onRequest: app.carrierAuth,
    },
    async (request) => {
      const after = Number(request.query.after ?? 0)
      const news = await newsOfCarrier(db, { carrier: request.carrier, after, limit: pageMax })
      const changes = news.map(({ seq, timeMs, act, subject }) => {
        return { seq, at: new Date(timeMs).toISOString(), change: act, subject }
      })
      return { changes, next: changes.at(-1)?.seq ?? after }
    },
  )
}

export default routes
