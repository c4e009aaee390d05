// The carrier listener on the wire: versions, resumption, what is cut off when an admission ends, and what is said.
import { spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { type AddressInfo, connect as connectTcp, createServer } from 'node:net'
import { join } from 'node:path'
import { connect, type Server } from 'node:tls'
import t, { type Test } from 'tap'
import { reinstateCarrier, suspendCarrier } from '../../src/registry/carriers.ts'
import { recordCertificate, revokeCertificate } from '../../src/registry/certificates.ts'
import {
  ask,
  isRefused,
  openSocket,
  refusedLines,
  sessionOf,
  shake,
  sleep,
  tally,
  until,
} from '../helpers/carrier-calls.ts'
import { type Pem, TestCa, urn } from '../helpers/certificates.ts'
import { startTestGateway, type TestGateway } from '../helpers/gateway.ts'

const versions = ['TLSv1.3', 'TLSv1.2'] as const
const flagOf = { 'TLSv1.3': '-tls1_3', 'TLSv1.2': '-tls1_2' }

async function start(t: Test) {
  const g = await startTestGateway(t)
  const pem = (name: string): Pem => ({
    cert: g.file(`${name}.crt`).toString(),
    key: g.file(`${name}.key`).toString(),
  })
  const ca = new TestCa(g.dataDir, pem('carrier-ca'))
  const [swift, river] = [pem('carrier-swift-crane'), pem('carrier-river-post')]
  const trusted = g.file('gateway-ca.crt')
  const port = g.ports.carrier
  const put = (name: string, text: string) => {
    writeFileSync(join(g.certsDir, name), text)
    return join(g.certsDir, name)
  }
  /** Arguments by which openssl comes as somebody. */
  const as = ({ cert, key }: Pem) => {
    const files = ['-cert', put('client.crt', cert), '-key', put('client.key', key)]
    return [...files, '-CAfile', join(g.certsDir, 'gateway-ca.crt'), '-verify_return_error']
  }
  const revoke = (...revoked: Pem[]) => put('carrier-ca.crl', ca.list(revoked))
  const server = g.gateway.carrier.server as unknown as Server
  return { g, ca, swift, river, trusted, port, put, as, revoke, server }
}
const suspend = (g: TestGateway, id: string) =>
  suspendCarrier(g.db, { id, operator: 'founder', reason: 'test', nowMs: g.clock.now() })
const reinstate = (g: TestGateway, id: string) =>
  reinstateCarrier(g.db, { id, operator: 'founder', nowMs: g.clock.now() })
const serialOf = ({ cert }: Pem) => new X509Certificate(cert).serialNumber

t.test('TLS 1.2 and 1.3 are spoken, 1.1 is not, nor anything else, and the log says which', async (t) => {
  const { g, swift, port, as, trusted } = await start(t)
  for (const version of versions)
    t.match(await shake(port, [...as(swift), flagOf[version]]), { status: 200 }, version)
  t.same(refusedLines(g.lines), [])
  const weak = ['-cipher', 'ALL:@SECLEVEL=0']
  for (const old of ['-tls1_1', '-tls1']) {
    const { status, reason } = await shake(port, [...as(swift), old, ...weak])
    t.same([status, reason], [undefined, 'protocol version'], old)
  }
  await new Promise((resolve) =>
    connectTcp(port, 'localhost')
      .on('close', resolve)
      .on('error', () => {})
      .end('GET / HTTP/1.1\r\n\r\n'),
  )
  const none = await shake(port, ['-tls1_3', '-CAfile', join(g.certsDir, 'gateway-ca.crt')])
  t.equal(none.status, undefined, 'without a certificate')
  t.match(none.reason, 'certificate required')
  const distrusts = ['-CAfile', join(g.certsDir, 'bureau-ca.crt')]
  t.equal(
    (await shake(port, [...as(swift), ...distrusts])).status,
    undefined,
    'who does not trust the gateway',
  )
  const gone = connectTcp(port, 'localhost', () => gone.resetAndDestroy())
  await new Promise((resolve) => gone.on('error', () => {}).on('close', resolve))
  const sum = () => Object.values(tally(g.lines)).reduce((a, b) => a + b, 0)
  await until(t, () => sum() >= 6, 'all are told')
  t.same(tally(g.lines), {
    old_protocol: 2,
    not_tls: 1,
    no_certificate: 1,
    gateway_not_trusted: 1,
    broken_off: 1,
  })
  t.same(
    [...new Set(refusedLines(g.lines).map(({ level }) => level))],
    [30],
    'info: nobody showed a certificate',
  )
  t.match(await ask(port, { ...swift, ca: trusted }), { status: 200 })
})

t.test('a client of TLS 1.2 may not renegotiate, so a socket keeps its certificate', async (t) => {
  const { g, swift, port, as } = await start(t)
  const devices = g.ports.device
  const asked = { input: 'R\n', msMax: 1500 }
  const handshakes = ({ text }: { text: string }) => text.match(/^depth=0 /gm)?.length
  for (const listener of [port, devices]) {
    const reply = await shake(listener, [...as(swift), '-tls1_2', '-no_ign_eof'], asked)
    t.match(reply.text, 'RENEGOTIATING')
    t.equal(handshakes(reply), 1, 'the gateway goes into no second handshake')
  }
  const lax = await startLaxServer(t, g)
  t.equal(
    handshakes(await shake(lax, [...as(swift), '-tls1_2', '-no_ign_eof'], asked)),
    2,
    'another server does',
  )
})

/** `openssl s_server` that lets its clients renegotiate, to see what that looks like. */
async function startLaxServer(t: Test, g: TestGateway): Promise<number> {
  const probe = createServer().listen(0)
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  const pair = ['-cert', join(g.certsDir, 'gateway.crt'), '-key', join(g.certsDir, 'gateway.key')]
  const child = spawn('openssl', ['s_server', '-accept', String(port), ...pair, '-client_renegotiation'])
  t.teardown(() => void child.kill())
  await new Promise((resolve) => child.stdout.once('data', resolve))
  return port
}

t.test('a resumed connection has the identity of its first, by openssl and by node', async (t) => {
  const { swift, river, port, as, trusted, g } = await start(t)
  for (const version of versions) {
    const file = join(g.certsDir, `session-${version}`)
    const first = await shake(port, [...as(swift), flagOf[version], '-sess_out', file])
    t.match(first, { status: 200, resumed: false })
    const again = await shake(port, [...as(swift), flagOf[version], '-sess_in', file])
    t.match(again, { status: 200, resumed: true }, `${version} resumed by openssl`)
    t.match(again.text, `"serial":"${serialOf(swift)}"`, 'the certificate is there after resumption')
    const tls = { ca: trusted, minVersion: version, maxVersion: version }
    const session = await sessionOf(port, { ...swift, ...tls })
    t.ok(session)
    if (!session) continue
    const asRiver = await ask(port, { ...river, ...tls, session })
    t.match(asRiver, { status: 200, body: { carrier: 'swift-crane' } }, 'who resumes is who began')
    t.match(await ask(port, { ...tls, session }), { status: 200, body: { carrier: 'swift-crane' } })
  }
})

t.test('a session of the device listener opens nothing at the carrier listener', async (t) => {
  const { g, trusted } = await start(t)
  for (const version of versions) {
    const tls = { ca: trusted, minVersion: version, maxVersion: version }
    const session = await sessionOf(g.ports.device, tls)
    t.ok(session, version)
    if (session) t.equal(await ask(g.ports.carrier, { ...tls, session }), 'closed')
  }
})

t.test(
  'a suspended carrier: its sockets are cut within 1 s, its tickets are of no use, its resumption is refused',
  async (t) => {
    const { g, swift, river, port, as, trusted, server } = await start(t)
    for (const version of versions) {
      const tls = { ca: trusted, minVersion: version, maxVersion: version }
      const file = join(g.certsDir, `session-${version}`)
      await shake(port, [...as(swift), flagOf[version], '-sess_out', file])
      const session = await sessionOf(port, { ...swift, ...tls })
      const agent = new Agent({ keepAlive: true, maxSockets: 1 })
      t.teardown(() => agent.destroy())
      t.match(await ask(port, { ...river, ...tls, agent }), { status: 200 })
      const silent = await openSocket(port, { ...swift, ...tls })
      const other = await openSocket(port, { ...river, ...tls })
      const keys = server.getTicketKeys()
      await suspend(g, 'swift-crane')
      t.ok((await until(t, () => silent.destroyed, 'a socket that never asked is cut')) < 1000)
      t.notOk(other.destroyed, 'the other carrier’s stays')
      t.notOk(server.getTicketKeys().equals(keys), 'the ticket keys are new')
      const resumed = await shake(port, [...as(swift), flagOf[version], '-sess_in', file])
      t.match(resumed, { status: 403, resumed: false }, `${version}, by openssl`)
      if (session) isRefused(t, await ask(port, { ...swift, ...tls, session }), `${version}, by node`)
      t.match(await ask(port, { ...river, ...tls, agent }), { status: 200 }, 'on its open connection')
      other.destroy()
      await reinstate(g, 'swift-crane')
      await sleep(700)
      t.match(await ask(port, { ...swift, ...tls }), { status: 200 }, 'until it is reinstated')
    }
  },
)

t.test('a handshake begun before a suspension or revocation ends in a refusal too', async (t) => {
  const { g, ca, river, port, trusted, revoke } = await start(t)
  const leaked = ca.issue()
  // Both have a socket, and so the TLS context of now, with its tickets and its list.
  const begun = [river, leaked].map((pem) => ({ pem, raw: connectTcp(port, 'localhost') }))
  await Promise.all(begun.map(({ raw }) => new Promise((resolve) => raw.on('connect', resolve))))
  await sleep(1000)
  revoke(leaked)
  await suspend(g, 'river-post')
  await sleep(1000)
  for (const { pem, raw } of begun) {
    const tls = { ...pem, ca: trusted, socket: raw, servername: 'localhost' }
    const status = await new Promise((resolve) => {
      const socket = connect(tls, () => socket.write('GET /v1/carrier HTTP/1.1\r\nhost: localhost\r\n\r\n'))
      socket.once('data', (chunk) => resolve(String(chunk).slice(9, 12)))
      socket.on('error', () => resolve('closed'))
      socket.on('close', () => resolve('closed'))
    })
    t.equal(status, '403')
  }
  t.match(refusedLines(g.lines), [{ cause: 'revoked', serial: serialOf(leaked) }])
})

t.test(
  'a certificate that comes on the list: its sockets are cut within 1 s, resumed and new ones refused',
  async (t) => {
    const { g, ca, swift, port, as, trusted, revoke, server } = await start(t)
    for (const version of versions) {
      const tls = { ca: trusted, minVersion: version, maxVersion: version }
      const [leaked, renewed] = [ca.issue(), ca.issue({ key: 'RSA-3072' })]
      const file = join(g.certsDir, `session-${version}`)
      t.match(await shake(port, [...as(leaked), flagOf[version], '-sess_out', file]), { status: 200 })
      const session = await sessionOf(port, { ...leaked, ...tls })
      const silent = await openSocket(port, { ...leaked, ...tls })
      const other = await openSocket(port, { ...renewed, ...tls })
      const keys = server.getTicketKeys()
      await sleep(1000) // A list has whole seconds, and an older one is not taken.
      revoke(leaked)
      t.ok((await until(t, () => silent.destroyed, 'its open socket is cut')) < 1000)
      t.notOk(other.destroyed, 'another certificate of the same carrier stays')
      t.notOk(server.getTicketKeys().equals(keys), 'the ticket keys are new')
      t.match(refusedLines(g.lines).at(-1), { cause: 'revoked', serial: serialOf(leaked), count: 1 })
      t.match(await shake(port, [...as(leaked), flagOf[version], '-sess_in', file]), {
        status: undefined,
        resumed: false,
      })
      if (session) t.equal(await ask(port, { ...leaked, ...tls, session }), 'closed')
      t.equal(await ask(port, { ...leaked, ...tls }), 'closed', 'a new connection')
      for (const good of [renewed, swift]) t.match(await ask(port, { ...good, ...tls }), { status: 200 })
      other.destroy()
    }
  },
)

t.test('a certificate revoked in the registry: cut, not resumed, not let in', async (t) => {
  const { g, ca, swift, port, as, trusted, server } = await start(t)
  const leaked = ca.issue()
  const serial = serialOf(leaked)
  const certificate = {
    serial,
    carrier: 'swift-crane',
    keyHash: Buffer.alloc(32, 7),
    notAfterMs: Date.now() + 86_400_000,
  }
  const by = { operator: 'founder', nowMs: g.clock.now() }
  await recordCertificate(g.db, { ...certificate, ...by })
  const file = join(g.certsDir, 'session')
  await shake(port, [...as(leaked), '-tls1_2', '-sess_out', file])
  const silent = await openSocket(port, { ...leaked, ca: trusted })
  const other = await openSocket(port, { ...swift, ca: trusted })
  const keys = server.getTicketKeys()
  await revokeCertificate(g.db, { serial, reason: 'leaked', ...by })
  t.ok((await until(t, () => silent.destroyed, 'its open socket is cut')) < 1000)
  t.notOk(other.destroyed)
  t.notOk(server.getTicketKeys().equals(keys), 'the ticket keys are new')
  t.match(refusedLines(g.lines), [{ cause: 'revoked', serial }])
  t.match(await shake(port, [...as(leaked), '-tls1_2', '-sess_in', file]), { status: 403, resumed: false })
  t.match(await ask(port, { ...swift, ca: trusted }), { status: 200 })
  other.destroy()
})

t.test('a certificate past its end is refused on open, resumed and new connections', async (t) => {
  const { g, ca, port, as, trusted } = await start(t)
  const endMs = Math.ceil(Date.now() / 1000) * 1000 + 4000
  const short = ca.issue({ toMs: endMs })
  const agents = versions.map((version) => ({
    version,
    agent: new Agent({ keepAlive: true, maxSockets: 1 }),
  }))
  t.teardown(() => agents.forEach(({ agent }) => void agent.destroy()))
  for (const { version, agent } of agents) {
    const tls = { ...short, ca: trusted, agent, minVersion: version, maxVersion: version }
    t.match(await ask(port, tls), { status: 200, body: { certificate: { warning: '1_day' } } })
    const file = join(g.certsDir, `session-${version}`)
    t.match(await shake(port, [...as(short), flagOf[version], '-sess_out', file]), { status: 200 })
  }
  await sleep(endMs - Date.now() + 50)
  for (const { version, agent } of agents) {
    const file = join(g.certsDir, `session-${version}`)
    const resumed = await shake(port, [...as(short), flagOf[version], '-sess_in', file])
    t.match(
      resumed,
      { status: 403, resumed: true },
      `${version}: OpenSSL resumes it, the gateway does not let it in`,
    )
    const tls = { ...short, ca: trusted, agent, minVersion: version, maxVersion: version }
    t.match(await ask(port, tls), { status: 403 }, 'the open connection')
    t.equal(await ask(port, { ...tls, agent: false }), 'closed', 'a new one')
  }
  t.match(refusedLines(g.lines)[0], { cause: 'expired', serial: serialOf(short) })
})

t.test('a list past its end lets nobody in, and the log says what to do', async (t) => {
  const { g, ca, swift, port, put, trusted } = await start(t)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  const endMs = Math.ceil(Date.now() / 1000) * 1000 + 3000
  put('carrier-ca.crl', ca.list([], { fromMs: Date.now(), toMs: endMs }))
  await sleep(1000)
  t.match(await ask(port, { ...swift, ca: trusted, agent }), { status: 200 })
  await sleep(endMs - Date.now() + 1000)
  const stale = { status: 503, body: { code: 'registry_stale', retry: 'same' } }
  t.match(await ask(port, { ...swift, ca: trusted, agent }), stale, 'the open connection')
  t.equal(await ask(port, { ...swift, ca: trusted }), 'closed', 'a new one')
  await until(t, () => tally(g.lines)['revocation_list_stale'] === 1, 'told')
  t.match(refusedLines(g.lines), [{ says: /Fix: put the current one at carrier-ca\.crl/ }])
  put('carrier-ca.crl', ca.list([]))
  await sleep(1000)
  t.match(await ask(port, { ...swift, ca: trusted, agent }), { status: 200 }, 'a new list, and all go on')
})

t.test('two certificates of one carrier are good at once, until one ends or is revoked', async (t) => {
  const { ca, swift, port, trusted, revoke } = await start(t)
  const next = ca.issue({ key: 'RSA-3072', names: [['uri', urn('swift-crane')]] })
  for (const one of [swift, next, swift, next]) {
    const body = { carrier: 'swift-crane', certificate: { serial: serialOf(one) } }
    t.match(await ask(port, { ...one, ca: trusted }), { status: 200, body })
  }
  await sleep(1000)
  revoke(swift)
  await sleep(1000)
  t.equal(await ask(port, { ...swift, ca: trusted }), 'closed')
  t.match(await ask(port, { ...next, ca: trusted }), { status: 200 })
})

t.test('a flood of bad handshakes is counted, and does not fill the log', async (t) => {
  const { g, ca, swift, port, trusted } = await start(t)
  const bad = TestCa.make(g.dataDir, { subject: '/CN=Stranger' }).issue()
  const begun = performance.now()
  const count = 300
  for (let i = 0; i < count; i += 20) {
    const batch = Array.from({ length: 20 }, () => ask(port, { ...bad, ca: trusted }))
    for (const reply of await Promise.all(batch)) if (reply !== 'closed') t.fail('one was let in')
  }
  await until(t, () => tally(g.lines)['wrong_ca'] === count, 'all are counted')
  const seconds = Math.ceil((performance.now() - begun) / 1000)
  const lines = refusedLines(g.lines)
  t.ok(lines.length <= seconds + 1, `${lines.length} lines in ${seconds} s for ${count} handshakes`)
  t.match(await ask(port, { ...swift, ca: trusted }), { status: 200 })
  t.match(await ask(port, { ...ca.issue(), ca: trusted }), { status: 200 })
})
