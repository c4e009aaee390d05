// Health on the operator listener, open to probes: alive, and ready part by part. Writes no entry.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'

/** Whether each part could serve a request now. */
export type Readiness = () => Record<string, boolean>

const Ready = Type.Object({ ready: Type.Boolean(), parts: Type.Record(Type.String(), Type.Boolean()) })

const routes: FastifyPluginAsyncTypebox<{ readiness: Readiness }> = async (app, { readiness }) => {
  app.get('/health/live', { schema: { summary: 'The process answers' } }, async () => ({ live: true }))

  app.get(
    '/health/ready',
    {
      schema: {
        summary: 'Store, ledger, feed, registry, keys, trust and directory are fit for requests',
        response: { 200: Ready, 503: Ready },
      },
    },
    async (_, reply) => {
      const parts = readiness()
      const ready = Object.values(parts).every(Boolean)
      return reply.code(ready ? 200 : 503).send({ ready, parts })
    },
  )
}

export default routes
