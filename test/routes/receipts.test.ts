// Receipts over HTTP: what a carrier is told, and that it is told nothing of another's. Who it is comes from a
// stand-in for the certificate; the real one is in test/sdk/carrier.test.ts.
import Fastify, { type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import errors, { frameworkErrors } from '../../plugins/errors.ts'
import requests, { requestOptions } from '../../plugins/requests.ts'
import { systemClock } from '../../src/base/clock.ts'
import type { RecordKeyOf } from '../../src/ledger/issue.ts'
import { checkReceipt } from '../../src/ledger/receipt.ts'
import receiptRoutes from '../../src/routes/receipts.ts'
import { ledgerVkey, who } from '../helpers/receipts.ts'
import { recordKey, ShownLedger } from '../helpers/shown-ledger.ts'

async function open(t: Test, ledger: ShownLedger, recordKeyOf: RecordKeyOf = async () => recordKey) {
  const app = Fastify({ ...requestOptions, frameworkErrors })
  await app.register(errors)
  await app.register(requests, { clock: systemClock })
  app.decorateRequest('carrier', '')
  app.decorate('carrierAuth', async (request: FastifyRequest) => {
    request.carrier = String(request.headers['x-carrier'])
  })
  await app.register(receiptRoutes, { ledger, recordKeyOf })
  t.teardown(() => app.close())
  return async (jti: string, carrier = who.carrier) => {
    const reply = await app.inject({ url: `/v1/receipts/${jti}`, headers: { 'x-carrier': carrier } })
    const { statusCode: status, headers, body } = reply
    const problem = status === 200 ? undefined : (JSON.parse(body) as Record<string, unknown>)
    return { status, headers, body, problem }
  }
}
const jti = who.jti.toString('base64url')

t.test('the asker’s own: 425 until the checkpoint, then a true receipt', async (t) => {
  const ledger = new ShownLedger()
  ledger.add(who)
  const get = await open(t, ledger)
  t.match(await get(jti), {
    status: 425,
    headers: { 'retry-after': '1', 'content-type': /^application\/problem\+json/ },
    problem: { code: 'receipt_pending', retry: 'same' },
  })
  ledger.show()
  const { status, headers, body } = await get(jti)
  t.equal(status, 200)
  t.match(headers, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'private, no-store' })
  t.match(checkReceipt(body, { ledger: ledgerVkey }), { state: 'true', jti: who.jti })
})

t.test('another carrier’s is exactly as unknown as one that never was', async (t) => {
  const ledger = new ShownLedger()
  ledger.add(who)
  const get = await open(t, ledger)
  const withoutId = async (reply: ReturnType<typeof get>) => {
    const { status, headers, problem } = await reply
    return { status, type: headers['content-type'], ...problem, requestId: '' }
  }
  for (const shown of [false, true]) {
    if (shown) ledger.show()
    const theirs = await withoutId(get(jti, 'river-post'))
    t.same(theirs, await withoutId(get('AAAAAAAAAAAAAAAAAAAAAA')))
    t.match(theirs, { status: 404, code: 'not_found' })
  }
})

t.test(
  'once the record is destroyed it is gone, and a keyring that cannot be read is our failure',
  async (t) => {
    const ledger = new ShownLedger()
    ledger.add(who)
    ledger.show()
    const gone = await (await open(t, ledger, async () => undefined))(jti)
    t.match(gone, { status: 410, problem: { code: 'record_destroyed', retry: 'never' } })
    const unread: RecordKeyOf = async () => {
      throw new Error('keyring.db is locked')
    }
    const failed = await (await open(t, ledger, unread))(jti)
    t.match(failed, { status: 500, problem: { code: 'internal' } })
    t.notMatch(failed.body, 'keyring')
  },
)

t.test('what is no token id is malformed', async (t) => {
  const get = await open(t, new ShownLedger())
  const table = [
    'AAAA',
    `${jti}A`,
    jti.slice(1),
    jti.replace(/.$/, 'B'),
    `${jti}%3D`,
    '%00',
    '%zz',
    '*',
    'A'.repeat(90),
  ]
  for (const text of table) t.match(await get(text), { status: 400, problem: { code: 'malformed' } }, text)
  for (const text of ['', 'A'.repeat(5000)]) t.match(await get(text), { status: 400 }, text.slice(0, 20))
  for (const text of [`${jti}/`, `${jti}/x`, '../carrier']) t.match(await get(text), { status: 404 }, text)
})
