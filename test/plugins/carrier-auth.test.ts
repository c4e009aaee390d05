// Carriers over mTLS: who is let in by a certificate of its own, and that nothing else ever is (PROTOCOL
// sections 0.5, 2). A refusal at the handshake closes the connection; one after it is a 403. Both are right.
import 'reflect-metadata'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { Agent, type RequestOptions, request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { connect } from 'node:tls'
import * as x509 from '@peculiar/x509'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { type Issued, printPem, serialOf } from '../../certs/card-issuer.ts'
import { type LeafOptions, makeTlsCa, makeTlsCrl, makeTlsLeaf } from '../../certs/tls-issuer.ts'
import { createMetrics } from '../../plugins/metrics.ts'
import { buildCarrierApp } from '../../src/app.ts'
import { dayMs, hourMs, manualClock, systemClock } from '../../src/base/clock.ts'
import { openGateway } from '../../src/gateway.ts'
import { reinstateCarrier, suspendCarrier } from '../../src/registry/carriers.ts'
import { startTestGateway, type TestGateway } from '../helpers/gateway.ts'

const nowMs = systemClock.now()
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

type Files = Pick<TestGateway, 'certsDir'>
type Tls = { key?: Buffer | string; cert?: Buffer | string }

const issuerIn = ({ certsDir }: Files, name: string): Issued => ({
  certificateDer: new X509Certificate(readFileSync(join(certsDir, `${name}.crt`))).raw,
  privateKey: createPrivateKey(readFileSync(join(certsDir, `${name}.key`))),
})
const tlsOf = ({ certificateDer, privateKey }: Issued): Tls => ({
  cert: printPem('CERTIFICATE', certificateDer),
  key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
})
const urn = (carrier: string) => `urn:vouchsafe:carrier:${carrier}`
const leaf = (issuer: Issued, changes: Partial<LeafOptions> = {}) =>
  makeTlsLeaf(issuer, {
    commonName: 'swift-crane',
    use: 'client',
    names: { uri: [urn('swift-crane')] },
    notBeforeMs: nowMs - hourMs,
    notAfterMs: nowMs + dayMs,
    ...changes,
  })

type Asking = RequestOptions & { session?: Buffer }
type Reply = { status: number; body: Record<string, unknown> } | 'closed'

/** GET /v1/carrier; `closed` if the connection ended without an answer. */
function ask(port: number, options: Asking): Promise<Reply> {
  return new Promise((resolve) => {
    const given = { host: 'localhost', port, path: '/v1/carrier', agent: false as const, ...options }
    const sent = request(given, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk) => chunks.push(chunk))
      response.on('error', () => resolve('closed'))
      response.on('end', () => {
        const body = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>
        resolve({ status: response.statusCode ?? 0, body })
      })
    })
    sent.on('error', () => resolve('closed'))
    sent.end()
  })
}

function askAs(g: TestGateway, tls: Tls, port = g.ports.carrier): Promise<Reply> {
  return ask(port, { ...tls, ca: g.file('gateway-ca.crt') })
}
const named = (g: TestGateway, name: string): Tls => ({
  cert: g.file(`${name}.crt`),
  key: g.file(`${name}.key`),
})

/** A refusal: closed, or 403 with the one code; anything else fails the test. */
function isRefused(t: Test, reply: Reply, what: string): void {
  if (reply === 'closed') return void t.pass(`${what}: closed`)
  const { status, body } = reply
  t.same([status, body['code'], body['retry']], [403, 'carrier_suspended', 'never'], what)
  t.same(Object.keys(body).sort(), ['code', 'requestId', 'retry', 'status', 'title', 'type'])
}

t.test('each demo carrier is told of itself by its own certificate', async (t) => {
  const g = await startTestGateway(t)
  for (const carrier of ['swift-crane', 'river-post']) {
    t.same(await askAs(g, named(g, `carrier-${carrier}`)), {
      status: 200,
      body: { carrier, status: 'active' },
    })
  }
  const alike = await leaf(issuerIn(g, 'carrier-ca'), { commonName: 'somebody else' })
  t.match(await askAs(g, tlsOf(alike)), { status: 200, body: { carrier: 'swift-crane' } }, 'the URN counts')
})

t.test('what is not a certificate of the carrier CA, good now, for one carrier, is refused', async (t) => {
  const g = await startTestGateway(t)
  const ca = issuerIn(g, 'carrier-ca')
  const good = { uri: [urn('swift-crane')] }
  const validity = { notBeforeMs: nowMs - hourMs, notAfterMs: nowMs + dayMs }
  const twin = await makeTlsCa({ commonName: 'Carrier CA', ...validity })
  const selfSigned = await signItself(urn('swift-crane'))
  const foreign = await leaf(issuerIn(g, 'bureau-ca'))
  const under = await leaf(ca, { names: good })
  const table: [what: string, tls: Tls][] = [
    ['no certificate', {}],
    ['the bureau CA’s', tlsOf(foreign)],
    ['the gateway CA’s', tlsOf(await leaf(issuerIn(g, 'gateway-ca')))],
    ['the gateway’s own at the bureau', named(g, 'bureau-client')],
    ['the gateway’s own as a server', named(g, 'gateway')],
    ['a CA’s of the same name', tlsOf(await leaf(twin))],
    ['self-signed', tlsOf(selfSigned)],
    ['the CA itself', named(g, 'carrier-ca')],
    ['issued by a carrier', tlsOf(await leaf(under))],
    ['issued by a carrier, chain sent', chained(await leaf(under), under)],
    ['for servers', tlsOf(await leaf(ca, { use: 'server' }))],
    ['expired', tlsOf(await leaf(ca, { notBeforeMs: nowMs - dayMs, notAfterMs: nowMs - 1000 }))],
    ['not yet valid', tlsOf(await leaf(ca, { notBeforeMs: nowMs + hourMs }))],
    ['the key of another', { ...named(g, 'carrier-swift-crane'), key: g.file('carrier-river-post.key') }],
  ]
  for (const [what, tls] of table) {
    const reply = await askAs(g, tls).catch((error) => {
      t.match(error, { code: /ERR_OSSL/ }, `${what}: not even our own side takes it`)
      return 'closed' as const
    })
    isRefused(t, reply, what)
  }
  t.match(await askAs(g, tlsOf(under)), { status: 200 }, 'and the right one still is let in')
  t.notMatch(g.lines.join('\n'), /"status":"500"/)
})

t.test('a certificate whose names are not exactly one carrier is refused', async (t) => {
  const g = await startTestGateway(t)
  const ca = issuerIn(g, 'carrier-ca')
  const ours = urn('swift-crane')
  const table: [what: string, names: LeafOptions['names']][] = [
    ['two carriers', { uri: [ours, urn('river-post')] }],
    ['the same carrier twice', { uri: [ours, ours] }],
    ['a DNS name beside it', { uri: [ours], dns: ['swift-crane.example'] }],
    ['an address beside it', { uri: [ours], ip: ['127.0.0.1'] }],
    ['another URI beside it', { uri: [ours, 'https://swift-crane.example'] }],
    ['another URI before it', { uri: ['urn:vouchsafe:gateway', ours] }],
    ['a DNS name only', { dns: ['swift-crane'] }],
    ['a DNS name that looks like it', { dns: [`URI:${ours}`] }],
    ['the gateway’s URN', { uri: ['urn:vouchsafe:gateway'] }],
    ['no carrier in it', { uri: [urn('')] }],
    ['one character', { uri: [urn('x')] }],
    ['33 characters', { uri: [urn('x'.repeat(33))] }],
    ['upper case', { uri: [urn('Swift-Crane')] }],
    ['URN in upper case', { uri: [ours.toUpperCase()] }],
    ['an underscore', { uri: [urn('swift_crane')] }],
    ['a path after it', { uri: [`${ours}/x`] }],
    ['a query after it', { uri: [`${ours}?x`] }],
    ['a blank after it', { uri: [`${ours} `] }],
    ['a newline after it', { uri: [`${ours}\n`] }],
    ['NUL after it', { uri: [`${ours}\0`] }],
    ['NUL and more after it', { uri: [`${ours}\0.example`] }],
    ['a second name inside', { uri: [`${ours}, URI:${urn('river-post')}`] }],
    ['something before it', { uri: [`x${ours}`] }],
    ['quoted', { uri: [`"${ours}"`] }],
    ['no names', {}],
  ]
  for (const [what, names] of table) {
    const tls = tlsOf(await leaf(ca, { names }))
    isRefused(t, await askAs(g, tls), what)
  }
  t.match(await askAs(g, named(g, 'carrier-swift-crane')), { status: 200 })
})

t.test('a carrier that is not admitted is refused like one that is suspended', async (t) => {
  const g = await startTestGateway(t)
  for (const carrier of ['slow-snail', '__proto__', 'constructor', '--', '00']) {
    const tls = tlsOf(await leaf(issuerIn(g, 'carrier-ca'), { names: { uri: [urn(carrier)] } }))
    isRefused(t, await askAs(g, tls), carrier)
  }
  t.notMatch(g.lines.join('\n'), /"status":"(200|500)"/)
})

t.test('a suspended carrier is refused within 1 s on its open connection and on new ones', async (t) => {
  const g = await startTestGateway(t)
  const agent = new Agent({ keepAlive: true, maxSockets: 1, maxCachedSessions: 10 })
  t.teardown(() => agent.destroy())
  const ca = g.file('gateway-ca.crt')
  const again = () => ask(g.ports.carrier, { ...named(g, 'carrier-river-post'), ca, agent })
  const other = { ...named(g, 'carrier-swift-crane'), ca }
  t.match(await again(), { status: 200 })
  t.match(await again(), { status: 200 })
  const act = { id: 'river-post', operator: 'founder' }
  await suspendCarrier(g.db, { ...act, reason: 'test', nowMs: g.clock.now() })
  const begun = performance.now()
  let reply = await again()
  while (reply !== 'closed' && reply.status === 200 && performance.now() - begun < 3000) {
    await sleep(20)
    reply = await again()
  }
  t.ok(performance.now() - begun < 1000, `after ${Math.round(performance.now() - begun)} ms`)
  isRefused(t, reply, 'the open connection')
  for (let i = 0; i < 20; i++) isRefused(t, await again(), 'never again')
  isRefused(t, await askAs(g, named(g, 'carrier-river-post')), 'a new connection')
  t.match(await ask(g.ports.carrier, other), { status: 200 }, 'the other carrier is not touched')
  await reinstateCarrier(g.db, { ...act, nowMs: g.clock.now() })
  await sleep(1000)
  t.match(await again(), { status: 200, body: { carrier: 'river-post' } }, 'until it is reinstated')
})

t.test('a resumed TLS session brings no admission that has ended', async (t) => {
  const g = await startTestGateway(t)
  const ca = g.file('gateway-ca.crt')
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const tls = { ...named(g, 'carrier-swift-crane'), ca, minVersion: version, maxVersion: version }
    const session = await sessionOf(g.ports.carrier, tls)
    t.ok(session, `a ticket of ${version}`)
    if (!session) continue
    t.match(await ask(g.ports.carrier, { ...tls, session }), { status: 200 }, 'resumed')
    const act = { id: 'swift-crane', operator: 'founder' }
    await suspendCarrier(g.db, { ...act, nowMs: g.clock.now() })
    await sleep(1000)
    isRefused(t, await ask(g.ports.carrier, { ...tls, session }), `${version} resumed`)
    await reinstateCarrier(g.db, { ...act, nowMs: g.clock.now() })
    await sleep(1000)
  }
})

t.test('a certificate on the revocation list is refused, others of the CA are not', async (t) => {
  const g = await startTestGateway(t)
  await g.gateway.close()
  await revoke(g, g.file('carrier-swift-crane.crt'))
  const gateway = await openGateway({ config: g.config, clock: g.clock, log: pino({ level: 'silent' }) })
  t.teardown(() => gateway.close())
  const { carrier: port } = await gateway.listen()
  isRefused(t, await askAs(g, named(g, 'carrier-swift-crane'), port), 'on the list')
  t.match(await askAs(g, named(g, 'carrier-river-post'), port), { status: 200 })
  const renewed = tlsOf(await leaf(issuerIn(g, 'carrier-ca')))
  t.match(await askAs(g, renewed, port), { status: 200, body: { carrier: 'swift-crane' } }, 'its new one')
})

t.test(
  'a certificate that comes on the list while its connection is open is refused within 1 s',
  async (t) => {
    const g = await startTestGateway(t)
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    t.teardown(() => agent.destroy())
    const tls = { ...named(g, 'carrier-swift-crane'), ca: g.file('gateway-ca.crt') }
    t.match(await ask(g.ports.carrier, { ...tls, agent }), { status: 200 })
    await revoke(g, g.file('carrier-swift-crane.crt'))
    await sleep(1000)
    isRefused(t, await ask(g.ports.carrier, { ...tls, agent }), 'the open connection')
    isRefused(t, await ask(g.ports.carrier, { ...tls, agent: false }), 'a new connection')
    t.match(await askAs(g, named(g, 'carrier-river-post')), { status: 200 })
  },
)

t.test('a header that claims a certificate is malformed, whoever sends it', async (t) => {
  const g = await startTestGateway(t)
  const tls = { ...named(g, 'carrier-swift-crane'), ca: g.file('gateway-ca.crt') }
  for (const name of ['x-client-cert', 'X-SSL-Client-Cert', 'x-forwarded-client-cert', 'ssl-client-cert-x']) {
    const reply = await ask(g.ports.carrier, { ...tls, headers: { [name]: urn('river-post') } })
    t.match(reply, { status: 400, body: { code: 'malformed' } }, name)
  }
})

/** The carrier listener alone, on a clock and a registry that do what the test says. */
async function startListener(t: Test) {
  const clock = manualClock(nowMs)
  const made = { notBeforeMs: nowMs - hourMs, notAfterMs: nowMs + dayMs }
  const serverCa = await makeTlsCa({ commonName: 'Server CA', ...made })
  const carrierCa = await makeTlsCa({ commonName: 'Test carriers', ...made })
  const names = { dns: ['localhost'] }
  const server = await makeTlsLeaf(serverCa, { commonName: 'localhost', use: 'server', names, ...made })
  const crlDer = await makeTlsCrl(carrierCa, {
    thisUpdateMs: nowMs - hourMs,
    nextUpdateMs: nowMs + dayMs,
    number: 1,
    revoked: [],
  })
  const { key, cert } = tlsOf(server)
  const pem = (label: string, der: Buffer) => Buffer.from(printPem(label, der))
  const registry = { fresh: true, asked: [] as string[] }
  const app = await buildCarrierApp(
    { log: pino({ level: 'silent' }), clock, metrics: createMetrics(), inFlightMax: 100 },
    {
      tls: {
        ...{ key: Buffer.from(key ?? ''), cert: Buffer.from(cert ?? '') },
        ...{ ca: pem('CERTIFICATE', carrierCa.certificateDer), crl: pem('X509 CRL', crlDer) },
      },
      registry: {
        isFresh: () => registry.fresh,
        carrier: async (id: string) => {
          registry.asked.push(id)
          return { id, name: id, status: 'active' as const }
        },
        device: async () => undefined,
        onChange: () => () => {},
      },
      isRevoked: () => false,
      receipts: { ledger: undefined as never, recordKeyOf: async () => undefined },
      tokens: { introspection: undefined as never },
    },
  )
  await app.listen({ host: '127.0.0.1', port: 0 })
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(async () => {
    agent.destroy()
    await app.close()
  })
  const { port } = app.server.address() as AddressInfo
  const ca = printPem('CERTIFICATE', serverCa.certificateDer)
  const askWith = (issued: Issued) => ask(port, { ...tlsOf(issued), ca, agent })
  return { clock, carrierCa, registry, askWith }
}

t.test('a certificate that ends while its connection is open is refused from that second on', async (t) => {
  const { clock, carrierCa, askWith } = await startListener(t)
  const endMs = Math.floor(nowMs / 1000) * 1000 + hourMs
  const issued = await leaf(carrierCa, { notAfterMs: endMs })
  t.match(await askWith(issued), { status: 200 })
  clock.advance(endMs - 1 - clock.now())
  t.match(await askWith(issued), { status: 200 }, 'in its last millisecond')
  clock.advance(1)
  isRefused(t, await askWith(issued), 'at its end')
})

t.test('the registry is asked on every request, and one that is not fresh lets nobody in', async (t) => {
  const { carrierCa, registry, askWith } = await startListener(t)
  const issued = await leaf(carrierCa)
  for (let i = 0; i < 3; i++) t.match(await askWith(issued), { status: 200 })
  t.same(registry.asked, ['swift-crane', 'swift-crane', 'swift-crane'])
  registry.fresh = false
  const stale = { status: 503, body: { code: 'registry_stale', retry: 'same' } }
  t.match(await askWith(issued), stale)
  t.equal(registry.asked.length, 3)
  registry.fresh = true
  t.match(await askWith(issued), { status: 200 })
})

/** A leaf that only its own key vouches for. */
async function signItself(uri: string): Promise<Issued> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const made = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=swift-crane',
    notBefore: new Date(nowMs - hourMs),
    notAfter: new Date(nowMs + dayMs),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
      new x509.SubjectAlternativeNameExtension([{ type: 'url', value: uri }]),
    ],
  })
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey))
  return {
    certificateDer: Buffer.from(made.rawData),
    privateKey: createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' }),
  }
}

function chained(issued: Issued, under: Issued): Tls {
  const { key, cert } = tlsOf(issued)
  return { ...(key ? { key } : {}), cert: `${cert}${printPem('CERTIFICATE', under.certificateDer)}` }
}

/** Writes a newer list of the carrier CA with this certificate on it. */
async function revoke(g: TestGateway, pem: Buffer): Promise<void> {
  const atMs = Math.floor(systemClock.now() / 1000) * 1000
  const crl = await makeTlsCrl(issuerIn(g, 'carrier-ca'), {
    thisUpdateMs: atMs,
    nextUpdateMs: atMs + dayMs,
    number: 2,
    revoked: [{ serial: serialOf(new X509Certificate(pem).raw), atMs }],
  })
  writeFileSync(join(g.certsDir, 'carrier-ca.crl'), printPem('X509 CRL', crl))
}

/** A session of one request, to be resumed. */
function sessionOf(port: number, tls: object): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: 'localhost', port, servername: 'localhost', ...tls })
    let session: Buffer | undefined
    socket.on('session', (given) => {
      session = given
    })
    socket.on('error', reject)
    socket.on('close', () => resolve(session))
    socket.on('secureConnect', () => {
      socket.write('GET /v1/carrier HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n')
    })
    socket.resume()
  })
}
