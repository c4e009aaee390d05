// Routes of the operator listener beside health: metrics, for a named operator of a reading role.
import type { FastifyPluginAsync } from 'fastify'
import type { Metrics } from '../../plugins/metrics.ts'
import type {} from '../../plugins/operator-auth.ts'
import type { Readiness } from './health.ts'

const routes: FastifyPluginAsync<{ metrics: Metrics; readiness: Readiness }> = async (app, options) => {
  const { metrics, readiness } = options
  app.get(
    '/metrics',
    {
      schema: { summary: 'Prometheus metrics', security: [{ operator: [] }] },
      preHandler: app.operatorAuth('admin', 'reviewer', 'auditor', 'metrics'),
    },
    async (_, reply) => {
      for (const [part, up] of Object.entries(readiness())) metrics.ready.set({ part }, up ? 1 : 0)
      return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics())
    },
  )
}

export default routes
