// Routes of the carrier listener: what a carrier may ask about itself (PROTOCOL section 10).
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type {} from '../../plugins/carrier-auth.ts'
import { present } from '../base/assert.ts'
import { type ClientCertificate, printSerial } from '../pki/client-certificate.ts'
import { warningOf } from '../pki/ending.ts'
import type { RegistryReader } from '../registry/reader.ts'
import type { Quotas } from '../verify/quota.ts'
import { problems } from './schemas.ts'

const closed = { additionalProperties: false }
const Warning = Type.Union(
  [Type.Literal('30_days'), Type.Literal('7_days'), Type.Literal('1_day'), Type.Null()],
  { description: 'How near its end is; null: not near' },
)
const Certificate = Type.Object(
  {
    serial: Type.String({ description: 'Hex, as openssl prints it' }),
    notAfter: Type.String({ description: 'ISO 8601; from then on the certificate is refused' }),
    warning: Warning,
  },
  { ...closed, description: 'The certificate of this connection' },
)
const Quota = Type.Object({ limit: Type.Integer(), used: Type.Integer() }, closed)
const Status = Type.Object(
  {
    carrier: Type.String(),
    status: Type.Literal('active'),
    sandboxOf: Type.Optional(Type.String({ description: 'Whose sandbox this is' })),
    conditions: Type.Optional(Type.String()),
    quota: Type.Optional({ ...Quota, description: 'Answers of this calendar month, Asia/Shanghai' }),
    reviewAt: Type.Optional(Type.String({ description: 'ISO 8601; from then on the carrier is suspended' })),
    reviewWarning: Type.Optional(Warning),
    certificate: Certificate,
  },
  closed,
)

const printTime = (ms: number) => new Date(ms).toISOString()

const printCertificate = ({ serial, notAfterMs }: ClientCertificate, nowMs: number) => ({
  serial: printSerial(serial),
  notAfter: printTime(notAfterMs),
  warning: warningOf(notAfterMs, nowMs),
})

export type StandingRoutes = {
  registry: Pick<RegistryReader, 'carrier'>
  quotas: Pick<Quotas, 'usedBy'>
}

/** What a carrier was admitted on, as far as there is any of it. */
async function readTerms({ registry, quotas }: StandingRoutes, carrier: string, nowMs: number) {
  const { sandboxOf, conditions, quota, reviewAtMs } = present(
    await registry.carrier(carrier),
    'an active carrier',
  )
  const review =
    reviewAtMs === null
      ? {}
      : { reviewAt: printTime(reviewAtMs), reviewWarning: warningOf(reviewAtMs, nowMs) }
  return {
    ...(sandboxOf === null ? {} : { sandboxOf }),
    ...(conditions === null ? {} : { conditions }),
    ...(quota === null ? {} : { quota: { limit: quota, used: quotas.usedBy(carrier) } }),
    ...review,
  }
}

const routes: FastifyPluginAsyncTypebox<StandingRoutes & { now: () => number }> = async (app, options) => {
  app.get(
    '/v1/carrier',
    {
      schema: {
        summary: 'The standing of the carrier that the client certificate names, and its terms',
        security: [{ carrierCertificate: [] }],
        response: { 200: Status, ...problems(403, 429, 500, 503) },
      },
      onRequest: app.carrierAuth,
    },
    async (request) => {
      const { carrier } = request
      const nowMs = options.now()
      return {
        ...{ carrier, status: 'active' as const },
        ...(await readTerms(options, carrier, nowMs)),
        certificate: printCertificate(present(request.certificate, 'a checked certificate'), nowMs),
      }
    },
  )
}

export default routes
