// Tokens on the carrier listener: introspection (RFC 7662), for the carrier that the token was made for
// (PROTOCOL section 10).
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { type Static, Type } from 'typebox'
import type {} from '../../plugins/carrier-auth.ts'
import { GatewayError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Introspection } from '../token/introspect.ts'
import { KeySet, problems } from './schemas.ts'

export type TokenRoutes = { introspection: Introspection; jwks: () => Static<typeof KeySet> }

const formType = 'application/x-www-form-urlencoded'

export const Asked = Type.Object(
  {
    token: Type.String({ minLength: 1, maxLength: limits.tokenCharsMax }),
    token_type_hint: Type.Optional(Type.String({ maxLength: 64, description: 'Of no effect' })),
  },
  { additionalProperties: false },
)

const Inactive = Type.Object({ active: Type.Literal(false) }, { additionalProperties: false })

const Active = Type.Object(
  {
    active: Type.Literal(true),
    iss: Type.String(),
    aud: Type.String(),
    jti: Type.String(),
    iat: Type.Integer(),
    exp: Type.Integer(),
    answer: Type.Union([Type.Literal('yes'), Type.Literal('no')]),
    parcel: Type.String(),
    device: Type.String(),
    level: Type.Literal('chip+bureau'),
    leaf: Type.String(),
    index: Type.Integer(),
  },
  { additionalProperties: false },
)

const inactive = JSON.stringify({ active: false } satisfies Static<typeof Inactive>)

/** Fields of a form, each once; undefined if one is there twice. */
function parseForm(text: string): Record<string, string> | undefined {
  const pairs = [...new URLSearchParams(text)]
  const fields = Object.fromEntries(pairs)
  return Object.keys(fields).length === pairs.length ? fields : undefined
}

/** What RFC 7662 has its askers send; JSON is taken as everywhere. */
export function takeForms(app: Pick<FastifyInstance, 'addContentTypeParser'>): void {
  app.addContentTypeParser(formType, { parseAs: 'string' }, (_, body, done) => {
    const fields = parseForm(String(body))
    if (fields) done(null, fields)
    else done(new GatewayError('malformed', 'form_repeated'))
  })
}

const routes: FastifyPluginAsyncTypebox<TokenRoutes> = async (app, { introspection, jwks }) => {
  app.get(
    '/.well-known/jwks.json',
    { schema: { summary: 'The token keys as a JWK set (RFC 7517)', response: { 200: KeySet } } },
    async () => jwks(),
  )

  takeForms(app)
  app.post(
    '/v1/introspect',
    {
      schema: {
        summary: 'Whether a token of the asking carrier is in force (RFC 7662)',
        security: [{ carrierCertificate: [] }],
        consumes: ['application/json', formType],
        body: Asked,
        response: { 200: Type.Union([Active, Inactive]), ...problems(400, 403, 413, 415, 429, 500, 503) },
      },
      onRequest: app.carrierAuth, // Before the body: who may not ask is told nothing of its form either.
    },
    async (request, reply) => {
      const text = await introspection.introspect(request.body.token, request.carrier)
      // Printed already: the serializer of a union would check each alternative anew for each answer.
      const printed: FastifyReply = reply.type('application/json; charset=utf-8')
      return printed.header('cache-control', 'no-store').send(text ?? inactive)
    },
  )
}

export default routes
