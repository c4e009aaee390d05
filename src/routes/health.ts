// Health on the operator listener, open to probes: alive, and ready part by part. Writes no entry.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type TBoolean, Type } from 'typebox'
import type { MetricValues } from '../../plugins/metrics.ts'

/** What a gateway needs to serve a request. */
const parts = ['store', 'ledger', 'feed', 'registry', 'keys', 'trust', 'directory'] as const

export type Parts = Record<(typeof parts)[number], boolean>

/** Whether each part could serve a request now. */
export type Readiness = () => Parts

/** How another worker of this gateway is: which parts are ready, and its metrics. */
export type Report = { ready: Parts; metrics: MetricValues }

/** Of the other workers that answer in time. */
export type Others = () => Promise<Report[]>

/** What all of several workers could serve. */
const inAll = (each: readonly Parts[]): Parts =>
  Object.fromEntries(parts.map((part) => [part, each.every((one) => one[part])])) as Parts

const closed = { additionalProperties: false }
const PartsSchema = Type.Object(
  Object.fromEntries(parts.map((part) => [part, Type.Boolean()])) as Record<(typeof parts)[number], TBoolean>,
  closed,
)
const Live = Type.Object({ live: Type.Boolean() }, closed)
const Ready = Type.Object({ ready: Type.Boolean(), parts: PartsSchema }, closed)

type HealthRoutes = { readiness: Readiness; others: Others }

const routes: FastifyPluginAsyncTypebox<HealthRoutes> = async (app, { readiness, others }) => {
  app.get(
    '/health/live',
    { schema: { summary: 'The process answers', response: { 200: Live } } },
    async () => ({ live: true }),
  )

  app.get(
    '/health/ready',
    {
      schema: {
        summary: 'Store, ledger, feed, registry, keys, trust and directory are fit for requests',
        response: { 200: Ready, 503: Ready },
      },
    },
    async (_, reply) => {
      const now = inAll([readiness(), ...(await others()).map(({ ready }) => ready)])
      const ready = Object.values(now).every(Boolean)
      return reply.code(ready ? 200 : 503).send({ ready, parts: now })
    },
  )
}

export default routes
