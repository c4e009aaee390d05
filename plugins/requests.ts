// How a request enters: its id, when its body was complete, strict JSON, and one log line when it has left.
import { randomUUID } from 'node:crypto'
import Fastify, { type FastifyServerOptions } from 'fastify'
import fp from 'fastify-plugin'
import { parseBase64url } from '../src/base/bytes.ts'
import type { Clock } from '../src/base/clock.ts'
import { GatewayError } from '../src/base/errors.ts'
import { parseJson } from '../src/base/json.ts'
import { limits } from '../src/base/limits.ts'
import { statusOf } from './metrics.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Monotonic ms at which the last body byte was read. */
    arrivedAt: number
  }
}

const fixedBase64url = /^\^\[A-Za-z0-9_-\]\{(\d+)\}\$$/

/** Patterns as Ajv is to match them: one of base64url of one length is decoded, which takes a tenth of the time. */
const matchPattern = Object.assign(
  (pattern: string, flags: string) => {
    const length = Number(fixedBase64url.exec(pattern)?.[1])
    if (!length) return new RegExp(pattern, flags)
    return {
      test: (text: string) => text.length === length && parseBase64url(text) !== undefined,
      toString: () => pattern,
    }
  },
  { code: 'matchPattern' },
)

/** Options of every listener: nothing of a request is logged but what this plugin writes. */
export const requestOptions = {
  bodyLimit: limits.bodyBytesMax,
  logController: new Fastify.LogController({ disableRequestLogging: true }),
  genReqId: () => randomUUID(),
  requestTimeout: 10_000,
  ajv: {
    customOptions: {
      ...{ coerceTypes: false, removeAdditional: false, allErrors: false },
      code: { regExp: matchPattern },
    },
  },
  routerOptions: { caseSensitive: true, ignoreTrailingSlash: false },
} satisfies FastifyServerOptions

const utf8 = new TextDecoder('utf-8', { fatal: true })

function decodeText(body: Buffer): string | undefined {
  try {
    return utf8.decode(body)
  } catch {
    return undefined // Not UTF-8, so not JSON (RFC 8259 section 8.1).
  }
}

export default fp<{ clock: Clock }>(
  async (app, { clock }) => {
    app.decorateRequest('arrivedAt', 0)
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
      request.arrivedAt = clock.mono()
      const text = decodeText(body as Buffer)
      const parsed = text === undefined ? undefined : parseJson(text)
      if (parsed) done(null, parsed.value)
      else done(new GatewayError('malformed', 'not_json'))
    })
    app.addHook('onRequest', (request, reply, done) => {
      request.arrivedAt = clock.mono()
      reply.raw.on('close', () => {
        const route = request.routeOptions.url ?? 'none'
        const ms = Math.round(reply.elapsedTime * 10) / 10
        request.log.info({ route, status: statusOf(reply), code: request.refusedAs, ms }, 'request done')
      })
      // RFC 9112 section 3.2.
      if (request.raw.httpVersion === '1.1' && request.headers.host === undefined)
        return done(new GatewayError('malformed', 'no_host'))
      for (const name in request.headers) {
        if (name.includes('client-cert'))
          return done(new GatewayError('malformed', 'client_certificate_header'))
      }
      done()
    })
  },
  { name: 'requests', dependencies: ['errors'] },
)
