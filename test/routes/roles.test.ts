// Every route with every role: who is not named by a route's description is refused, whoever else he is.
import t from 'tap'
import { Agent, request } from 'undici'
import { addOperator, operatorRoles } from '../../src/registry/operators.ts'
import { pemOf } from '../helpers/carrier.ts'
import { describeApi } from '../helpers/describe.ts'
import { startTestGateway } from '../helpers/gateway.ts'

type Operation = { security?: Record<string, string[]>[] }
type Listener = 'device' | 'carrier' | 'operator'

function listenerOf(path: string, { security }: Operation): Listener {
  if (path.startsWith('/health/')) return 'operator'
  const [way = {}] = security ?? []
  if ('carrierCertificate' in way) return 'carrier'
  return 'operator' in way ? 'operator' : 'device'
}

/** A path that a route takes, for things that are not there. */
const fill = (path: string) =>
  path
    .replace('entries/{*}', 'entries/000.p/1')
    .replace('{*}', '0/000.p/1')
    .replace('{device}', 'A'.repeat(22))
    .replace('{jti}', 'A'.repeat(22))
    .replace('{day}', '2026-11-01')
    .replace('{serial}', 'AB')
    .replaceAll(/\{\w+\}/g, 'nobody')

/** Row 1 comes before row 2 (PROTOCOL section 7): only a body of the right form reaches the look at the asker. */
function bodyOf(url: string): string {
  if (!url.endsWith('/v1/verify')) return '{}'
  const bytes = (count: number) => Buffer.alloc(count).toString('base64url')
  return JSON.stringify({ v: 1, challenge: bytes(42), parcel: bytes(32), sealed: bytes(2048 + 28) })
}

t.test('each route lets in the roles that it names, and nobody else', async (t) => {
  // Before the gateway starts: making it holds up this process, and a gateway in it would say that it is busy.
  const { paths } = (await describeApi()) as { paths: Record<string, Record<string, Operation>> }
  const g = await startTestGateway(t)
  const by = g.first.operator?.name ?? ''
  const basic: Record<string, string> = {}
  for (const role of operatorRoles) {
    const { secret } = await addOperator(g.db, { name: `the-${role}`, role, by, nowMs: g.clock.now() })
    basic[role] = `Basic ${Buffer.from(`the-${role}:${secret}`).toString('base64')}`
  }
  const device = await g.openDevice()
  const plain = new Agent({ connect: { ca: g.file('gateway-ca.crt') } })
  const carrier = new Agent({ connect: pemOf(g, 'swift-crane') })
  t.teardown(() => Promise.all([plain.destroy(), carrier.destroy()]))
  const origins: Record<Listener, string> = {
    device: g.url,
    carrier: `https://localhost:${g.ports.carrier}`,
    operator: `http://127.0.0.1:${g.ports.operator}`,
  }
  const who: Record<string, { authorization?: string; dispatcher?: Agent }> = {
    public: {},
    device: { authorization: `Bearer ${device.token}` },
    carrier: { dispatcher: carrier },
    ...Object.fromEntries(Object.entries(basic).map(([role, authorization]) => [role, { authorization }])),
  }

  const ask = async (method: string, url: string, role: string) => {
    const { authorization, dispatcher = plain } = who[role] ?? {}
    const body = method === 'GET' || method === 'DELETE' ? null : bodyOf(url)
    const headers = {
      ...(body === null ? {} : { 'content-type': 'application/json' }),
      'idempotency-key': `"${method} ${url} ${role}"`.slice(0, 100),
      ...(authorization === undefined ? {} : { authorization }),
    }
    try {
      const reply = await request(url, { method: method as 'GET', dispatcher, headers, body })
      await reply.body.dump()
      return reply.statusCode
    } catch {
      return 0 // Cut off at the handshake.
    }
  }

  let routes = 0
  for (const [path, methods] of Object.entries(paths)) {
    for (const [verb, operation] of Object.entries(methods)) {
      routes++
      const method = verb.toUpperCase()
      const listener = listenerOf(path, operation)
      const named = (operation.security ?? []).flatMap((way) =>
        'deviceToken' in way
          ? ['device']
          : 'carrierCertificate' in way
            ? ['carrier']
            : (way['operator'] ?? []),
      )
      const url = `${origins[listener]}${fill(path)}`
      for (const role of Object.keys(who)) {
        const status = await ask(method, url, role)
        const refused = [0, 401, 403].includes(status)
        const may = operation.security === undefined || named.includes(role)
        t.equal(refused, !may, `${method} ${path} as ${role}: ${status}`)
      }
      for (const other of ['device', 'carrier', 'operator'] as const) {
        if (other === listener || path === '/.well-known/jwks.json') continue
        const status = await ask(
          method,
          `${origins[other]}${fill(path)}`,
          other === 'carrier' ? 'carrier' : 'admin',
        )
        t.ok([0, 404].includes(status), `${method} ${path} is not on the ${other} listener: ${status}`)
      }
    }
  }
  t.ok(routes > 30, `${routes} routes`)
})
