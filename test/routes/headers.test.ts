// Headers that every answer has, whoever refuses it and how early.
import t from 'tap'
import { startTestGateway } from '../helpers/gateway.ts'

const headers = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
  'x-content-type-options': 'nosniff',
}

t.test('answers and refusals have them, on each listener', async (t) => {
  const { gateway } = await startTestGateway(t)
  const json = { 'content-type': 'application/json' }
  const asked = [
    [gateway.device, { path: '/v1/directory' }, 200],
    [gateway.device, { path: '/nowhere' }, 404],
    [gateway.device, { path: '/v1/directory', headers: { 'x-client-cert': 'mine' } }, 400],
    [gateway.device, { method: 'POST', path: '/v1/verify', headers: json, payload: '{' }, 400],
    [gateway.carrier, { path: '/v1/carrier' }, 403],
    [gateway.operator, { path: '/health/live' }, 200],
    [gateway.operator, { path: '/metrics' }, 401],
  ] as const
  for (const [listener, request, status] of asked) {
    const reply = await listener.inject(request)
    t.match(reply, { statusCode: status, headers }, request.path)
  }
})
