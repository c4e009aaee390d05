// Routes of the device listener: each maps HTTP to one call and back (PROTOCOL sections 3, 4, 5, 7).

import type {} from '@fastify/swagger'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import { sessionOf } from '../../plugins/device-auth.ts'
import type {} from '../../plugins/verifier.ts'
import { present } from '../base/assert.ts'
import { purpose } from '../channel/challenge.ts'
import type { Outcome } from '../verify/once.ts'
import {
  AnswerGiven,
  ChallengeGiven,
  ChallengeRequest,
  decode,
  KeySet,
  problems,
  SessionBody,
  SessionGiven,
  VerifyBody,
  VerifyBodyOfAny,
} from './schemas.ts'

export type DeviceRoutes = {
  directory(): string
  onAnswer(): void
  /** Whether readings of the size of passports are let in. */
  passports: boolean
}

const binariesOfVerify = ['challenge', 'parcel', 'sealed'] as const
const binariesOfSession = ['device', 'recipient', 'enc', 'challenge', 'courier', 'signature'] as const

declare module 'fastify' {
  interface FastifyRequest {
    /** Of a verification, decoded. */
    verifyFields: Record<(typeof binariesOfVerify)[number], Buffer> | undefined
  }
}

const routes: FastifyPluginAsyncTypebox<DeviceRoutes> = async (app, options) => {
  app.decorateRequest('verifyFields', undefined)
  app.get(
    '/v1/directory',
    {
      schema: {
        summary: 'Keys to seal to and to check tokens with, signed by the directory key',
        response: { 200: { content: { 'application/jwt': { schema: Type.String() } } } },
      },
    },
    async (_, reply) => reply.type('application/jwt').send(options.directory()),
  )

  app.get(
    '/.well-known/jwks.json',
    { schema: { summary: 'The token keys as a JWK set (RFC 7517)', response: { 200: KeySet } } },
    async () => app.verifier.jwks(),
  )

  app.post(
    '/v1/challenges',
    {
      schema: {
        summary: 'Challenges for a session, or for readings',
        body: ChallengeRequest,
        response: { 200: ChallengeGiven, ...problems(400, 401, 403, 413, 415, 429, 500, 503) },
      },
      preHandler: async (request) => {
        if (request.body.purpose === 'reading') return app.deviceAuth(request)
        decode(request.body, 'device')
        app.verifier.takeAddress(request.ip)
      },
    },
    async (request) => {
      const { body } = request
      if (body.purpose === 'reading') return app.verifier.challengeReadings(sessionOf(request), body.count)
      const { device } = decode(body, 'device')
      return app.verifier.challenge({ use: purpose.session, device, count: 1 })
    },
  )

  app.post(
    '/v1/sessions',
    {
      schema: {
        summary: 'Logs a device in for a shift',
        body: SessionBody,
        response: { 200: SessionGiven, ...problems(400, 401, 403, 409, 413, 415, 422, 429, 500, 503) },
      },
    },
    async (request, reply) => {
      const { arrivedAt, ip: address } = request
      const { firmware } = request.body
      const outcome = await app.verifier.logIn({
        ...decode(request.body, ...binariesOfSession),
        firmware,
        address,
        arrivedAt,
      })
      return give(reply, outcome)
    },
  )

  app.post(
    '/v1/verify',
    {
      schema: {
        summary: 'A sealed reading in, yes or no and a token out',
        security: [{ deviceToken: [] }],
        body: options.passports ? VerifyBodyOfAny : VerifyBody,
        response: { 200: AnswerGiven, ...problems(400, 401, 403, 409, 413, 415, 422, 429, 500, 503) },
      },
      preHandler: [decodeFields, app.deviceAuth],
    },
    async (request, reply) => {
      const { arrivedAt } = request
      const fields = present(request.verifyFields, 'the fields of the request')
      const outcome = await app.verifier.verify({ ...fields, session: sessionOf(request), arrivedAt })
      options.onAnswer()
      return give(reply, outcome)
    },
  )
}

/** Row 1 before row 2: the fields are canonical before the token is looked at. */
async function decodeFields(request: FastifyRequest): Promise<void> {
  request.verifyFields = decode(request.body as Static<typeof VerifyBody>, ...binariesOfVerify)
}

function give<T>(reply: FastifyReply, outcome: Outcome<T>): T {
  if (outcome.replayed) reply.header('idempotent-replayed', 'true')
  return outcome.value
}

export default routes
