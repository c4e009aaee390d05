// The sandbox of an applicant: its back end shows that it handled a yes, a no and a could-not-decide, and an audit
// record. What it shows is checked against what the gateway itself recorded.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type {} from '../../plugins/carrier-auth.ts'
import type {} from '../../plugins/idempotency.ts'
import { parseBase64url } from '../base/bytes.ts'
import { carrierDay } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { type ConformanceOutcome, outcomes, provedOutcomes, proveOutcome } from '../registry/applications.ts'
import { callOnce } from '../registry/calls.ts'
import { isRedeemed } from '../registry/redemptions.ts'
import type { RegistryDb } from '../registry/schema.ts'
import { checkReceipt } from '../sdk/receipt.ts'
import type { Introspection } from '../token/introspect.ts'
import { orRefused } from './refusals.ts'
import { object, toldProblems } from './schemas.ts'

export type ConformanceRoutes = {
  db: RegistryDb
  introspection: Pick<Introspection, 'read'>
  ledger: Pick<Ledger, 'countAnswers'>
  ledgerVkey: string
}

const receiptCharsMax = 6000
const jtiBytes = 16
/** A sandbox is tried for so long before what it shows must be newer. */
const daysBack = 31

type Shown = {
  carrier: string
  outcome: ConformanceOutcome
  token: string
  receipt: string | undefined
  nowMs: number
}

const unproved = (detail: string) => new GatewayError('refused', 'conformance_not_proved', { detail })

/** Throws unless what is shown proves the outcome; resolves to what is kept of it, a token id. */
async function assertShown(options: ConformanceRoutes, shown: Shown): Promise<string> {
  const { db, introspection, ledger, ledgerVkey } = options
  const { carrier, outcome, token, receipt, nowMs } = shown
  const claims = await introspection.read(token, carrier)
  if (!claims) throw unproved('The token is not one of this sandbox in force.')
  if (outcome === 'yes') {
    const jti = parseBase64url(claims.jti, jtiBytes)
    const redeemed = claims.answer === 'yes' && jti && (await isRedeemed(db, carrier, jti))
    if (!redeemed) throw unproved('Show a token that says yes and that you have redeemed.')
  }
  if (outcome === 'no' && claims.answer !== 'no') throw unproved('Show a token that says no.')
  if (outcome === 'undecided') {
    const today = carrierDay(nowMs)
    if (ledger.countAnswers(carrier, today - daysBack, today).undecided === 0) {
      throw unproved(
        'No verification of this sandbox was left undecided yet; show the answer after one that was.',
      )
    }
  }
  if (outcome === 'audit') {
    const verdict = checkReceipt(receipt ?? '', { ledger: ledgerVkey, token })
    if (verdict.state !== 'true')
      throw unproved('Show the receipt of the token, as GET /v1/receipts gave it.')
  }
  return claims.jti
}

const routes: FastifyPluginAsyncTypebox<ConformanceRoutes> = async (app, options) => {
  const { db } = options
  app.post(
    '/v1/conformance',
    {
      schema: {
        summary: 'Shows that the back end of a sandbox handled an outcome',
        security: [{ carrierCertificate: [] }],
        headers: Type.Object({
          'idempotency-key': Type.Optional(Type.String({ description: 'Required; kept 24 h' })),
        }),
        body: object({
          outcome: Type.Union(outcomes.map((outcome) => Type.Literal(outcome))),
          token: Type.String({ minLength: 1, maxLength: limits.tokenCharsMax }),
          receipt: Type.Optional(Type.String({ maxLength: receiptCharsMax, description: 'For `audit`' })),
        }),
        response: {
          200: object({ proved: Type.Array(Type.String()), missing: Type.Array(Type.String()) }),
          ...toldProblems(400, 403, 404, 409, 413, 415, 422, 429, 500, 503),
        },
      },
      onRequest: app.carrierAuth,
    },
    (request, reply) =>
      app.answerOnce(request, reply, async (call) => {
        const { carrier, body } = request
        const { outcome, token, receipt } = body as {
          outcome: ConformanceOutcome
          token: string
          receipt?: string
        }
        const { nowMs } = call
        const evidence = await assertShown(options, { carrier, outcome, token, receipt, nowMs })
        const work = () =>
          callOnce(db, call, async (tx) => {
            const acts = await proveOutcome(tx, { carrier, outcome, evidence, nowMs })
            const proved = (await provedOutcomes(tx, carrier)).map((one) => one.outcome)
            const missing = outcomes.filter((one) => !proved.includes(one))
            return { reply: { status: 200, body: JSON.stringify({ proved, missing }) }, acts }
          })
        return orRefused(work)
      }),
  )
}

export default routes
