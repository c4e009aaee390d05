// Routes of the operator listener for carriers: applications, reviews, admission, certificates, standing. Each step
// names the operator who took it, in the registry and in the ledger.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { type Static, type TSchema, Type } from 'typebox'
import type {} from '../../plugins/operator-auth.ts'
import { present } from '../base/assert.ts'
import { parseBase64url } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { warningOf } from '../pki/ending.ts'
import {
  admitApplicant,
  fileApplication,
  listApplications,
  reviewApplication,
  type Verdict,
  verdicts,
} from '../registry/applications.ts'
import {
  expelCarrier,
  listCarriers,
  reinstateCarrier,
  setTerms,
  suspendCarrier,
} from '../registry/carriers.ts'
import { listCertificates } from '../registry/certificates.ts'
import { type By, reinstateDevice, suspendDevice } from '../registry/devices.ts'
import type { RegistryDb } from '../registry/schema.ts'
import { orRefused } from './refusals.ts'
import { object, toldProblems } from './schemas.ts'

/** As src/issuing.ts, with the folder of the carrier CA. */
export type Issuing = {
  certify(
    given: By & { carrier: string; request: Buffer },
  ): Promise<{ pem: string; serial: string; notAfterMs: number; seq: number }>
  decertify(
    given: By & { serial: string; reason: string },
  ): Promise<{ seq: number; carrier: string; listed: boolean }>
}

export type AdmissionRoutes = { db: RegistryDb; clock: Clock; issuing: Issuing }

const admins = [{ operator: ['admin'] }]
const reviewers = [{ operator: ['admin', 'reviewer'] }]
const readers = [{ operator: ['admin', 'reviewer', 'auditor'] }]
const Label = Type.String({ minLength: 1, maxLength: 100 })
const Time = Type.String({ format: 'date-time' })
const Id = Type.Object({ id: Type.String({ maxLength: 32 }) })
const Seq = object({ seq: Type.Integer({ description: 'Of the change; its ledger entry follows' }) })
const Reason = object({ reason: Label })
const Outlet = object({ id: Type.String({ maxLength: 32 }), name: Label })
const Evidence = object({ name: Label, sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }) })

const Terms = object({
  quota: Type.Optional(Type.Integer({ minimum: 0, description: 'Answers a calendar month' })),
  conditions: Type.Optional(Label),
  reviewAt: Type.Optional(Type.String({ format: 'date-time', description: 'When its standing is reviewed' })),
})
const Application = object({
  id: Type.String({ maxLength: 32 }),
  name: Label,
  contact: Label,
  outlets: Type.Array(Outlet, { minItems: 1, maxItems: 1000 }),
  evidence: Type.Array(Evidence, { minItems: 1, maxItems: 50 }),
})
const Review = object({
  verdict: Type.Union(verdicts.map((verdict) => Type.Literal(verdict))),
  note: Label,
})

const Nullable = <T extends TSchema>(type: T) => Type.Union([type, Type.Null()])
const ListedApplication = object({
  ...{ id: Type.String(), round: Type.Integer(), name: Label, contact: Label, status: Type.String() },
  ...{ filedBy: Type.String(), filedAt: Time, outlets: Type.Array(Outlet), evidence: Type.Array(Evidence) },
  reviews: Type.Array(object({ operator: Type.String(), verdict: Type.String(), note: Label, at: Time })),
  proved: Type.Array(Type.String()),
})
const ListedCarrier = object({
  ...{ id: Type.String(), name: Label, status: Type.String(), admittedAt: Time },
  ...{ sandboxOf: Nullable(Type.String()), conditions: Nullable(Label), quota: Nullable(Type.Integer()) },
  ...{ reviewAt: Nullable(Time), reviewWarning: Nullable(Type.String()), outlets: Type.Array(Type.String()) },
  certificates: Type.Array(
    object({
      ...{ serial: Type.String(), status: Type.String(), notAfter: Time },
      warning: Nullable(Type.String()),
    }),
  ),
})

const answers = (schema: ReturnType<typeof object>) => ({
  200: schema,
  ...toldProblems(400, 401, 403, 404, 413, 415, 422, 500, 503),
})

function termsOf({ quota, conditions, reviewAt }: Static<typeof Terms>) {
  const reviewAtMs = reviewAt === undefined ? undefined : Date.parse(reviewAt)
  if (Number.isNaN(reviewAtMs)) throw new GatewayError('malformed', 'review_at')
  return {
    ...(quota === undefined ? {} : { quota }),
    ...(conditions === undefined ? {} : { conditions }),
    ...(reviewAtMs === undefined ? {} : { reviewAtMs }),
  }
}

type App = Parameters<FastifyPluginAsyncTypebox>[0]
type Tools = AdmissionRoutes & { by(request: FastifyRequest): By }

const routes: FastifyPluginAsyncTypebox<AdmissionRoutes> = async (app, options) => {
  const by = (request: FastifyRequest): By => ({
    operator: present(request.operator, 'a checked operator').name,
    nowMs: options.clock.now(),
  })
  const tools = { ...options, by }
  addApplications(app as App, tools)
  addStanding(app as App, tools)
  addCertificates(app as App, tools)
  addDevices(app as App, tools)
}

function addApplications(app: App, { db, by }: Tools): void {
  app.post(
    '/v1/applications',
    {
      schema: {
        summary: 'Files the application of a carrier',
        ...{ security: reviewers, body: Application, response: answers(Seq) },
      },
    },
    (request) => orRefused(() => fileApplication(db, { ...request.body, ...by(request) })),
  )
  app.get(
    '/v1/applications',
    {
      schema: {
        summary: 'Applications, their reviews and what their sandboxes have proved',
        ...{ security: readers, response: answers(object({ applications: Type.Array(ListedApplication) })) },
      },
    },
    async () => ({
      applications: (await listApplications(db)).map(({ filedAtMs, reviews, ...application }) => ({
        ...application,
        filedAt: printTime(filedAtMs),
        reviews: reviews.map(({ atMs, ...review }) => ({ ...review, at: printTime(atMs) })),
      })),
    }),
  )
  app.post(
    '/v1/applications/:id/reviews',
    {
      schema: {
        summary: 'One verdict on an application: two operators who did not file it must approve',
        ...{ security: reviewers, params: Id, body: Review },
        response: answers(object({ seq: Type.Integer(), status: Type.String() })),
      },
    },
    (request) => {
      const { verdict, note } = request.body as { verdict: Verdict; note: string }
      return orRefused(() => reviewApplication(db, { id: request.params.id, verdict, note, ...by(request) }))
    },
  )
  app.post(
    '/v1/applications/:id/admission',
    {
      schema: {
        summary: 'Admits an applicant that is approved and whose sandbox has proved every outcome',
        ...{ security: admins, params: Id, body: Terms, response: answers(Seq) },
      },
    },
    (request) => {
      const terms = termsOf(request.body)
      return orRefused(() => admitApplicant(db, { id: request.params.id, ...terms, ...by(request) }))
    },
  )
}

function addStanding(app: App, { db, clock, by }: Tools): void {
  app.get(
    '/v1/carriers',
    {
      schema: {
        summary: 'Carriers, their standing, terms and certificates',
        ...{ security: readers, response: answers(object({ carriers: Type.Array(ListedCarrier) })) },
      },
    },
    async () => {
      const certificates = Map.groupBy(await listCertificates(db), ({ carrier }) => carrier)
      const carriers = (await listCarriers(db)).map(({ admittedAtMs, reviewAtMs, ...carrier }) => ({
        ...carrier,
        admittedAt: printTime(admittedAtMs),
        reviewAt: reviewAtMs === null ? null : printTime(reviewAtMs),
        reviewWarning: reviewAtMs === null ? null : warningOf(reviewAtMs, clock.now()),
        certificates: (certificates.get(carrier.id) ?? []).map(({ serial, status, notAfterMs }) => {
          const warning = status === 'active' ? warningOf(notAfterMs, clock.now()) : null
          return { serial, status, notAfter: printTime(notAfterMs), warning }
        }),
      }))
      return { carriers }
    },
  )
  const moves = { suspension: suspendCarrier, expulsion: expelCarrier, reinstatement: reinstateCarrier }
  for (const [name, move] of Object.entries(moves)) {
    app.post(
      `/v1/carriers/:id/${name}`,
      {
        schema: {
          summary: `The ${name} of a carrier, in force within a second`,
          ...{ security: admins, params: Id, body: Reason, response: answers(Seq) },
        },
      },
      (request) =>
        orRefused(() => move(db, { id: request.params.id, reason: request.body.reason, ...by(request) })),
    )
  }
  app.put(
    '/v1/carriers/:id/terms',
    {
      schema: {
        summary: 'Sets quota, conditions or the next review of a carrier; what is left out stays',
        ...{ security: admins, params: Id, body: Terms, response: answers(Seq) },
      },
    },
    (request) => {
      const terms = termsOf(request.body)
      return orRefused(() => setTerms(db, { id: request.params.id, ...terms, ...by(request) }))
    },
  )
}

function addCertificates(app: App, { issuing, by }: Tools): void {
  app.post(
    '/v1/carriers/:id/certificates',
    {
      schema: {
        summary: 'Issues a certificate from a certificate request (PKCS#10, PEM)',
        ...{ security: admins, params: Id },
        body: object({ request: Type.String({ minLength: 1, maxLength: 8192 }) }),
        response: answers(
          object({ seq: Type.Integer(), serial: Type.String(), notAfter: Time, certificate: Type.String() }),
        ),
      },
      bodyLimit: 16 * 1024,
    },
    (request) =>
      orRefused(async () => {
        const given = {
          carrier: request.params.id,
          request: Buffer.from(request.body.request),
          ...by(request),
        }
        const { seq, serial, notAfterMs, pem } = await issuing.certify(given)
        return { seq, serial, notAfter: printTime(notAfterMs), certificate: pem }
      }),
  )
  app.post(
    '/v1/certificates/:serial/revocation',
    {
      schema: {
        summary: 'Revokes a certificate for good, in force within a second',
        ...{
          security: admins,
          params: Type.Object({ serial: Type.String({ pattern: '^[0-9A-F]{2,64}$' }) }),
          body: Reason,
        },
        response: answers(object({ seq: Type.Integer(), carrier: Type.String(), listed: Type.Boolean() })),
      },
    },
    (request) =>
      orRefused(() =>
        issuing.decertify({ serial: request.params.serial, reason: request.body.reason, ...by(request) }),
      ),
  )
}

function addDevices(app: App, { db, by }: Tools): void {
  const moves = { suspension: suspendDevice, reinstatement: reinstateDevice }
  for (const [name, move] of Object.entries(moves)) {
    app.post(
      `/v1/devices/:device/${name}`,
      {
        schema: {
          summary: `The ${name} of a handheld`,
          ...{
            security: admins,
            params: Type.Object({ device: Type.String() }),
            body: Reason,
            response: answers(Seq),
          },
        },
      },
      (request) => {
        const id = parseBase64url(request.params.device, 16)
        if (!id) throw new GatewayError('malformed', 'device_id')
        return orRefused(() => move(db, { id, reason: request.body.reason, ...by(request) }))
      },
    )
  }
}

const printTime = (ms: number) => new Date(ms).toISOString()

export default routes
