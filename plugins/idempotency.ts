// Decorates `answerOnce`: a mutating call of a carrier is done once for its Idempotency-Key and answered alike
// whenever it is sent again (draft-ietf-httpapi-idempotency-key-header-07). Owns nothing to close.
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { sha256 } from '../src/base/bytes.ts'
import type { Clock } from '../src/base/clock.ts'
import { GatewayError } from '../src/base/errors.ts'
import { bind } from '../src/base/t2l.ts'
import { type Call, type Called, findCalled } from '../src/registry/calls.ts'
import type { RegistryDb } from '../src/registry/schema.ts'
import type {} from './carrier-auth.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Runs `work` for the call that a request is, and sends what it, or its first run, was answered. */
    answerOnce(
      request: Pick<FastifyRequest, 'carrier' | 'headers' | 'method' | 'url' | 'body'>,
      reply: Pick<FastifyReply, 'header' | 'code' | 'type' | 'send'>,
      work: (call: Call) => Promise<Called>,
    ): Promise<void>
  }
}

/** A String of RFC 8941 section 3.3.3; most clients send the text without its quotes, which is taken alike. */
const keyPattern = /^(?:"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,255})"|([A-Za-z0-9_.:~+/=-]{1,255}))$/

function keyOf(request: Pick<FastifyRequest, 'headers'>): string {
  const given = request.headers['idempotency-key']
  if (given === undefined) throw new GatewayError('idempotency_key_missing', 'idempotency_key_missing')
  const [, quoted, bare] = keyPattern.exec(String(given)) ?? []
  const key = quoted ?? bare
  if (key === undefined) throw new GatewayError('malformed', 'idempotency_key_malformed')
  return key
}

/** SHA-256 over what is asked: method, address, and the body as it was parsed. */
function digestOf({ method, url, body }: Pick<FastifyRequest, 'method' | 'url' | 'body'>): Buffer {
  return sha256(bind('call', method, url, sha256(Buffer.from(JSON.stringify(body ?? null)))))
}

export default fp<{ db: RegistryDb; clock: Clock }>(
  async (app, { db, clock }) => {
    const inFlight = new Set<string>()
    app.decorate('answerOnce', async (request, reply, work) => {
      const { carrier } = request
      const key = keyOf(request)
      const name = `${carrier} ${key}`
      // Of this process; between processes the transaction of the call decides.
      if (inFlight.has(name)) throw new GatewayError('in_progress', 'idempotency_key_in_flight')
      inFlight.add(name)
      try {
        const call = { carrier, key, digest: digestOf(request), nowMs: clock.now() }
        // Before the call is judged: what was answered is answered again, whatever has changed since.
        const called = (await findCalled(db, call)) ?? (await work(call))
        if (called.state === 'reused')
          throw new GatewayError('idempotency_key_reused', 'idempotency_key_reused')
        if (called.replayed) reply.header('idempotent-replayed', 'true')
        const { status, body } = called.reply
        // Through the route's serializer, which lets out what its schema has and nothing else.
        reply.code(status).type('application/json; charset=utf-8').send(JSON.parse(body))
      } finally {
        inFlight.delete(name)
      }
    })
  },
  { name: 'idempotency', dependencies: ['errors', 'carrier-auth'] },
)
