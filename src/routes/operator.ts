// Routes of the operator listener beside health: metrics, for a named operator of a reading role.
import type { FastifyPluginAsync } from 'fastify'
import { Type } from 'typebox'
import type { Metrics } from '../../plugins/metrics.ts'
import type {} from '../../plugins/operator-auth.ts'
import type { Readiness } from './health.ts'
import { problems } from './schemas.ts'

const routes: FastifyPluginAsync<{ metrics: Metrics; readiness: Readiness }> = async (app, options) => {
  const { metrics, readiness } = options
  app.get(
    '/metrics',
    {
      schema: {
        summary: 'Prometheus metrics',
        security: [{ operator: ['admin', 'reviewer', 'auditor', 'metrics'] }],
        response: {
          200: { content: { 'text/plain': { schema: Type.String() } } },
          ...problems(401, 403, 500, 503),
        },
      },
    },
    async (_, reply) => {
      for (const [part, up] of Object.entries(readiness())) metrics.ready.set({ part }, up ? 1 : 0)
      return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics())
    },
  )
}

export default routes
