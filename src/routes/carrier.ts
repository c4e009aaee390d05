// Routes of the carrier listener: what a carrier may ask about itself (PROTOCOL section 10).
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type {} from '../../plugins/carrier-auth.ts'
import { problems } from './schemas.ts'

const Status = Type.Object(
  { carrier: Type.String(), status: Type.Literal('active') },
  { additionalProperties: false },
)

const routes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/v1/carrier',
    {
      schema: {
        summary: 'The standing of the carrier that the client certificate names',
        security: [{ carrierCertificate: [] }],
        response: { 200: Status, ...problems(403, 500, 503) },
      },
      preHandler: app.carrierAuth,
    },
    async (request) => ({ carrier: request.carrier, status: 'active' as const }),
  )
}

export default routes
