// Routes of the operator listener beside health: metrics, for a named operator of a reading role.
import { Registry } from '@prometheus-io/client'
import type { FastifyPluginAsync } from 'fastify'
import { Type } from 'typebox'
import type { Metrics } from '../../plugins/metrics.ts'
import type {} from '../../plugins/operator-auth.ts'
import type { Clock } from '../base/clock.ts'
import { warnings } from '../pki/ending.ts'
import { readEnds } from '../registry/certificates.ts'
import type { RegistryDb } from '../registry/schema.ts'
import type { Others, Readiness } from './health.ts'
import { problems } from './schemas.ts'

export type MetricsRoutes = {
  metrics: Metrics
  readiness: Readiness
  others: Others
  db: RegistryDb
  clock: Clock
}

/** How much of what carriers hold ends soon; what has ended already is not soon. */
async function countEnding({ metrics, db, clock }: MetricsRoutes): Promise<void> {
  const nowMs = clock.now()
  for (const [what, ends] of Object.entries(await readEnds(db)))
    for (const [within, ms] of warnings) {
      const ending = ends.filter((endMs) => endMs > nowMs && endMs - nowMs <= ms)
      metrics.carriersEnding.set({ what, within }, ending.length)
    }
}

const routes: FastifyPluginAsync<MetricsRoutes> = async (app, options) => {
  const { metrics, readiness, others } = options
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
      await countEnding(options)
      const elsewhere = (await others()).map((report) => report.metrics)
      const all =
        elsewhere.length === 0
          ? metrics.registry
          : Registry.aggregate([await metrics.registry.getMetricsAsJSON(), ...elsewhere])
      return reply.type(metrics.registry.contentType).send(await all.metrics())
    },
  )
}

export default routes
