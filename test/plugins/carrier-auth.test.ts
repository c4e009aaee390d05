// Carriers over mTLS: who is let in by a certificate of its own, and that nothing else ever is (PROTOCOL
// sections 0.5, 2). A refusal at the handshake closes the connection; one after it is a 403. Both are right.
import 'reflect-metadata'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import * as x509 from '@peculiar/x509'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { type Issued, serialOf } from '../../certs/card-issuer.ts'
import { type LeafOptions, makeTlsCa, makeTlsCrl, makeTlsLeaf } from '../../certs/tls-issuer.ts'
import type { CarrierTrust } from '../../plugins/carrier-auth.ts'
import { createMetrics } from '../../plugins/metrics.ts'
import { buildCarrierApp } from '../../src/app.ts'
import { dayMs, hourMs, manualClock, systemClock } from '../../src/base/clock.ts'
import { printPem } from '../../src/base/pem.ts'
import { openGateway } from '../../src/gateway.ts'
import { loadAnchors } from '../../src/pki/anchors.ts'
import { printSerial } from '../../src/pki/client-certificate.ts'
import { reinstateCarrier, suspendCarrier } from '../../src/registry/carriers.ts'
import { ask, isRefused, type Reply, sleep } from '../helpers/carrier-calls.ts'
import { startTestGateway, type TestGateway } from '../helpers/gateway.ts'

const nowMs = systemClock.now()

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
const serialNumberOf = (issued: Issued) => new X509Certificate(issued.certificateDer).serialNumber
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

function askAs(g: TestGateway, tls: Tls, port = g.ports.carrier): Promise<Reply> {
  return ask(port, { ...tls, ca: g.file('gateway-ca.crt') })
}
const named = (g: TestGateway, name: string): Tls => ({
  cert: g.file(`${name}.crt`),
  key: g.file(`${name}.key`),
})

t.test('each demo carrier is told of itself by its own certificate', async (t) => {
  const g = await startTestGateway(t)
  for (const carrier of ['swift-crane', 'river-post']) {
    const { serialNumber: serial, validToDate } = new X509Certificate(g.file(`carrier-${carrier}.crt`))
    const certificate = { serial, notAfter: validToDate.toISOString(), warning: null }
    t.same(await askAs(g, named(g, `carrier-${carrier}`)), {
      status: 200,
      body: { carrier, status: 'active', certificate },
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
async function startListener(t: Test, { trusting = true } = {}) {
  const never = undefined as never
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
  const list = { isFresh: true, revoked: new Set<string>() }
  const refused: [cause: string, serial: string | undefined][] = []
  const trust: CarrierTrust = {
    issuers: loadAnchors([carrierCa.certificateDer]),
    isListFresh: () => list.isFresh,
    onNewList: () => () => {},
    onRefused: (cause, serial) => refused.push([cause, serial]),
  }
  const noTerms = { sandboxOf: null, conditions: null, quota: null, reviewAtMs: null }
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
      isRevoked: (serial) => list.revoked.has(printSerial(serial)),
      ...(trusting ? { trust } : {}),
      routes: {
        ...{ ledger: never, recordKeyOf: never, introspection: never, db: never, clock },
        registry: {
          carrier: async (id: string) => ({ id, name: id, status: 'active', ...noTerms }),
        } as never,
        ...{ quotas: never, ledgerVkey: '', jwks: never, perSecond: 1000, nodes: () => 1 },
      },
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
  return { app, clock, carrierCa, registry, list, refused, askWith }
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

t.test('a certificate whose start our clock has not reached is refused until then', async (t) => {
  const { clock, carrierCa, askWith, refused } = await startListener(t)
  // OpenSSL goes by the clock of the machine, to which this certificate has begun.
  const startMs = Math.floor(nowMs / 1000) * 1000 - 1000
  const issued = await leaf(carrierCa, { notBeforeMs: startMs })
  clock.advance(startMs - 1 - clock.now())
  isRefused(t, await askWith(issued), 'a millisecond before')
  t.same(refused, [['not_yet_valid', serialNumberOf(issued)]])
  clock.advance(1)
  t.match(await askWith(issued), { status: 200 }, 'at its start')
})

t.test(
  'what is refused is told once of a connection, with its serial, and the connection is closed',
  async (t) => {
    const { app, carrierCa, list, refused, askWith } = await startListener(t)
    const issued = await leaf(carrierCa)
    const serial = serialNumberOf(issued)
    t.match(await askWith(issued), { status: 200 })
    t.equal(app.sockets.count('carrier', 'swift-crane'), 1)
    list.revoked.add(serial)
    isRefused(t, await askWith(issued), 'on its open connection')
    t.same(refused, [['revoked', serial]])
    while (app.sockets.count('carrier', 'swift-crane') > 0) await sleep(5)
    isRefused(t, await askWith(issued), 'on a new one')
    t.same(refused, [
      ['revoked', serial],
      ['revoked', serial],
    ])
    list.revoked.clear()
    t.match(await askWith(issued), { status: 200 })
  },
)

t.test('a list that is not fresh lets nobody in, and says that it will pass', async (t) => {
  const { carrierCa, list, registry, askWith } = await startListener(t)
  const issued = await leaf(carrierCa)
  t.match(await askWith(issued), { status: 200 })
  list.isFresh = false
  t.match(await askWith(issued), { status: 503, body: { code: 'registry_stale', retry: 'same' } })
  t.equal(registry.asked.length, 1, 'the registry was asked by the first alone')
  list.isFresh = true
  t.match(await askWith(issued), { status: 200 })
})

t.test('a listener that was told of no carrier CA lets nobody in', async (t) => {
  const { carrierCa, askWith, registry } = await startListener(t, { trusting: false })
  isRefused(t, await askWith(await leaf(carrierCa)), 'whatever OpenSSL says')
  t.same(registry.asked, [])
})

t.test('a request that came over no TLS connection is refused', async (t) => {
  const { app } = await startListener(t)
  const reply = await app.inject({ path: '/v1/carrier' })
  t.same([reply.statusCode, reply.json().code], [403, 'carrier_suspended'])
})

t.test('the warnings of a certificate come 30, 7 and 1 days before its end', async (t) => {
  const { clock, carrierCa, askWith } = await startListener(t)
  const endMs = Math.floor(nowMs / 1000) * 1000 + 60 * dayMs
  const issued = await leaf(carrierCa, { notAfterMs: endMs })
  const steps: [leftMs: number, warning: string | null][] = [
    [30 * dayMs + 1, null],
    [30 * dayMs, '30_days'],
    [7 * dayMs + 1, '30_days'],
    [7 * dayMs, '7_days'],
    [dayMs + 1, '7_days'],
    [dayMs, '1_day'],
    [1, '1_day'],
  ]
  for (const [leftMs, warning] of steps) {
    clock.advance(endMs - leftMs - clock.now())
    const certificate = { serial: serialNumberOf(issued), notAfter: new Date(endMs).toISOString(), warning }
    const body = { carrier: 'swift-crane', status: 'active', certificate }
    t.same(await askWith(issued), { status: 200, body }, `${leftMs} ms`)
  }
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
