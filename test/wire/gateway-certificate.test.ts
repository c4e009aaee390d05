// The gateway's own certificate is renewed while it runs: on both listeners, under open connections, and with
// everything else that a handshake had before.
import { X509Certificate } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { Agent, type RequestOptions, request } from 'node:https'
import { join } from 'node:path'
import type { Server, TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { dayMs, hourMs } from '../../src/base/clock.ts'
import { openSocket, shake, sleep, until } from '../helpers/carrier-calls.ts'
import { type Name, type Pem, TestCa, type Wish } from '../helpers/certificates.ts'
import { startTestGateway } from '../helpers/gateway.ts'

const versions = ['TLSv1.3', 'TLSv1.2'] as const
const serialOf = ({ cert }: Pem) => new X509Certificate(cert).serialNumber
const local: Name[] = [
  ['dns', 'localhost'],
  ['ip', Buffer.of(127, 0, 0, 1)],
  ['ip', Buffer.from(`${'00'.repeat(15)}01`, 'hex')],
]

async function start(t: Test) {
  const g = await startTestGateway(t)
  const pem = (name: string): Pem => ({
    cert: g.file(`${name}.crt`).toString(),
    key: g.file(`${name}.key`).toString(),
  })
  const gatewayCa = new TestCa(g.dataDir, pem('gateway-ca'))
  const issue = (wish: Wish = {}) =>
    gatewayCa.issue({
      names: local,
      subject: '/CN=localhost',
      ...wish,
      extensions: { extendedKeyUsage: 'serverAuth' },
    })
  const put = (name: string, text: string) => writeFileSync(join(g.certsDir, name), text)
  const putPair = ({ cert, key }: Pem) => {
    put('gateway.key', key)
    put('gateway.crt', cert)
  }
  const trusted = g.file('gateway-ca.crt')
  const swift = pem('carrier-swift-crane')
  /** Serial that a new connection is shown. */
  const shown = async (port: number, tls: object = {}) => {
    const socket = await openSocket(port, { ...swift, ca: trusted, ...tls })
    const serial = socket.getPeerX509Certificate()?.serialNumber
    socket.destroy()
    return serial
  }
  return {
    g,
    issue,
    put,
    putPair,
    trusted,
    swift,
    shown,
    first: pem('gateway'),
    carrierCa: new TestCa(g.dataDir, pem('carrier-ca')),
  }
}

/** A connection that is kept open; which port of ours each answer came to. */
function keepOpen(t: Test, options: RequestOptions) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  return () =>
    new Promise<{ status: number | undefined; port: number | undefined; serial: string | undefined }>(
      (resolve, reject) => {
        const sent = request({ host: 'localhost', ...options, agent }, (response) => {
          const socket = response.socket as TLSSocket
          const { localPort: port } = socket
          const serial = socket.getPeerX509Certificate()?.serialNumber
          response.resume().on('end', () => resolve({ status: response.statusCode, port, serial }))
        })
        sent.on('error', reject).end()
      },
    )
}

t.test('a new pair is served to new connections, and open ones are not dropped', async (t) => {
  const { g, issue, putPair, trusted, swift, shown, first } = await start(t)
  const listeners = [
    { port: g.ports.device, path: '/.well-known/jwks.json', tls: {} },
    { port: g.ports.carrier, path: '/v1/carrier', tls: swift },
  ]
  const open = listeners.flatMap(({ port, path, tls }) =>
    versions.map((version) =>
      keepOpen(t, { port, path, ...tls, ca: trusted, minVersion: version, maxVersion: version }),
    ),
  )
  const before = await Promise.all(open.map((askAgain) => askAgain()))
  for (const { status, serial } of before) t.same([status, serial], [200, serialOf(first)])
  for (const next of [issue({ toMs: Date.now() + 90 * dayMs }), issue({ key: 'P-384' })]) {
    putPair(next)
    for (const { port } of listeners) {
      await until(
        t,
        async () => (await shown(port)) === serialOf(next),
        `served at ${port === g.ports.device ? 'device' : 'carrier'}`,
      )
      for (const version of versions)
        t.equal(await shown(port, { maxVersion: version }), serialOf(next), version)
    }
    for (const [i, askAgain] of open.entries()) {
      const { status, port } = await askAgain()
      t.same([status, port], [200, before[i]?.port], 'the same connection still answers')
    }
    const line = g.lines.find(
      (line) => line.includes('gateway certificate renewed') && line.includes(serialOf(next)),
    )
    t.ok(line, 'the log says so')
  }
  const text = await g.gateway.operator.inject({ path: '/metrics', headers: basicOf(g.first.operator) })
  const endS = Math.floor(new X509Certificate(issue().cert).validToDate.getTime() / 1000)
  const gauge = Number(
    /^vouchsafe_certificate_expiry_seconds\{certificate="gateway"\} (\d+)$/m.exec(text.body)?.[1],
  )
  t.ok(Math.abs(gauge - endS) < 60, 'the gauge is of the pair in use, which lasts a day')
  t.match(text.body, /^vouchsafe_certificates_ending\{within="30_days"\} 1$/m)
  t.match(g.lines.join(''), /"certificate":"gateway","warning":"1_day".*"certificate ends soon"/)
})

const basicOf = (operator?: { name: string; secret: string }) => ({
  authorization: `Basic ${Buffer.from(`${operator?.name}:${operator?.secret}`).toString('base64')}`,
})

t.test('a bad pair is not served, and the log says why', async (t) => {
  const { g, issue, putPair, shown, first } = await start(t)
  const now = Date.now()
  const bad: [reason: string, pem: Pem][] = [
    ['ended', issue({ fromMs: now - dayMs, toMs: now - hourMs })],
    ['weaker', issue({ key: 'RSA-2048' })],
    ['key_of_another', { ...issue(), key: first.key }],
  ]
  for (const [reason, pem] of bad) {
    putPair(pem)
    const told = () =>
      g.lines.some((line) => line.includes('gateway certificate not renewed') && line.includes(`"${reason}"`))
    await until(t, told, `${reason} is told`)
    for (const port of [g.ports.device, g.ports.carrier])
      t.equal(await shown(port), serialOf(first), 'the old one is served')
  }
  t.notMatch(g.lines.join(''), /PRIVATE|BEGIN/)
  const next = issue()
  putPair(next)
  await until(t, async () => (await shown(g.ports.carrier)) === serialOf(next), 'and then a good one is')
})

t.test(
  'a renewal undoes neither list, versions nor ticket keys, and a newer list undoes no renewal',
  async (t) => {
    const { g, issue, put, putPair, shown, swift, trusted, carrierCa } = await start(t)
    const { carrier: port } = g.ports
    const server = g.gateway.carrier.server as unknown as Server
    const renewed = async (next: Pem) => {
      putPair(next)
      await until(t, async () => (await shown(port)) === serialOf(next), 'renewed')
    }
    const revoked = carrierCa.issue()
    const refused = async (pem: Pem) => (await openAndAsk(port, { ...pem, ca: trusted })) === 'closed'
    t.notOk(await refused(revoked), 'good until it is on the list')
    const keys = [server.getTicketKeys().toString('hex')]
    await sleep(1000)
    put('carrier-ca.crl', carrierCa.list([revoked]))
    await until(t, () => refused(revoked), 'on the list')
    keys.push(server.getTicketKeys().toString('hex'))
    const next = issue()
    await renewed(next)
    keys.push(server.getTicketKeys().toString('hex'))
    t.ok(await refused(revoked), 'still, after the renewal')
    t.notOk(await refused(swift))
    await sleep(1000)
    put('carrier-ca.crl', carrierCa.list([]))
    await until(t, async () => !(await refused(revoked)), 'taken off the list')
    keys.push(server.getTicketKeys().toString('hex'))
    t.equal(await shown(port), serialOf(next), 'and the new pair is served still')
    t.equal(new Set(keys).size, 4, 'ticket keys were new each time')
    const files = [
      '-cert',
      'carrier-swift-crane.crt',
      '-key',
      'carrier-swift-crane.key',
      '-CAfile',
      'gateway-ca.crt',
    ]
    const as = files.map((one) => (one.startsWith('-') ? one : join(g.certsDir, one)))
    for (const listener of [port, g.ports.device]) {
      const old = await shake(listener, [...as, '-tls1_1', '-cipher', 'ALL:@SECLEVEL=0'])
      t.match(old.reason, 'protocol version', 'TLS 1.1 is refused still')
    }
  },
)

/** Whether a connection is closed before it answers. */
async function openAndAsk(port: number, tls: object): Promise<'closed' | 'answered'> {
  const socket = await openSocket(port, tls).catch(() => undefined)
  if (!socket) return 'closed'
  return new Promise((resolve) => {
    socket.on('error', () => resolve('closed'))
    socket.on('close', () => resolve('closed'))
    socket.on('data', () => {
      socket.destroy()
      resolve('answered')
    })
    socket.write('GET /v1/carrier HTTP/1.1\r\nhost: localhost\r\n\r\n')
  })
}
