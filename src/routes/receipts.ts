// Receipts on the carrier listener: a carrier gets those of its own tokens, and nothing else (PROTOCOL
// sections 9, 10).
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type {} from '../../plugins/carrier-auth.ts'
import { parseBase64url } from '../base/bytes.ts'
import { type ErrorCode, GatewayError } from '../base/errors.ts'
import { type Issued, makeReceipt, type RecordKeyOf } from '../ledger/issue.ts'
import type { LedgerReading } from '../ledger/reading.ts'
import { problems } from './schemas.ts'

export type ReceiptRoutes = { ledger: LedgerReading; recordKeyOf: RecordKeyOf }

const jtiBytes = 16
const refusals = {
  unknown: 'not_found',
  pending: 'receipt_pending',
  destroyed: 'record_destroyed',
} as const satisfies Record<Exclude<Issued['state'], 'issued'>, ErrorCode>

const routes: FastifyPluginAsyncTypebox<ReceiptRoutes> = async (app, { ledger, recordKeyOf }) => {
  app.get(
    '/v1/receipts/:jti',
    {
      schema: {
        summary: 'The receipt of a token (c2sp.org/tlog-proof), to the carrier that it was made for',
        security: [{ carrierCertificate: [] }],
        params: Type.Object({ jti: Type.String({ description: 'The jti of the token' }) }),
        response: {
          200: { content: { 'text/plain': { schema: Type.String() } } },
          ...problems(400, 403, 404, 410, 425, 429, 500, 503),
        },
      },
      onRequest: app.carrierAuth,
    },
    async (request, reply) => {
      const jti = parseBase64url(request.params.jti, jtiBytes)
      if (!jti) throw new GatewayError('malformed', 'jti')
      const issued = await makeReceipt(ledger, recordKeyOf, { jti, carrier: request.carrier })
      if (issued.state !== 'issued') throw new GatewayError(refusals[issued.state], issued.state)
      const { receipt } = issued
      return reply
        .type('text/plain; charset=utf-8')
        .header('cache-control', 'private, no-store')
        .send(receipt)
    },
  )
}

export default routes
