// The TLS side of the development PKI, judged by OpenSSL and by a real handshake.
import { spawnSync } from 'node:child_process'
import { createPublicKey } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { connect, createServer, type TLSSocket } from 'node:tls'
import t from 'tap'
import { type Issued, makeCardCrl, makeCardIssuer, serialOf } from '../../certs/card-issuer.ts'
import { makeTlsCa, makeTlsCrl, makeTlsLeaf, readCrl } from '../../certs/tls-issuer.ts'
import { dayMs, hourMs, systemClock } from '../../src/base/clock.ts'
import { printPem } from '../../src/base/pem.ts'

const nowMs = systemClock.now()
const validity = { notBeforeMs: nowMs - hourMs, notAfterMs: nowMs + 90 * dayMs }
const ca = await makeTlsCa({ commonName: 'Test CA', ...validity })
const newServer = () =>
  makeTlsLeaf(ca, {
    commonName: 'localhost',
    use: 'server',
    names: { dns: ['localhost'], ip: ['127.0.0.1', '::1'] },
    ...validity,
  })
const newClient = () =>
  makeTlsLeaf(ca, {
    commonName: 'swift-crane',
    use: 'client',
    names: { uri: ['urn:vouchsafe:carrier:swift-crane'] },
    ...validity,
  })
const crlTimes = {
  thisUpdateMs: Math.floor(nowMs / 1000) * 1000,
  nextUpdateMs: Math.floor(nowMs / 1000) * 1000 + dayMs,
}
const directory = t.testdir()
let files = 0

function file(label: string, der: Buffer): string {
  const path = join(directory, `${++files}.pem`)
  writeFileSync(path, printPem(label, der))
  return path
}

function opensslFaults(leaf: Issued, ...more: string[]): string {
  const caFile = file('CERTIFICATE', ca.certificateDer)
  const args = [
    'verify',
    '-x509_strict',
    '-CAfile',
    caFile,
    ...more,
    file('CERTIFICATE', leaf.certificateDer),
  ]
  const run = spawnSync('openssl', args, { encoding: 'utf8' })
  return run.status === 0 ? '' : run.stderr
}

const tlsOptions = (issued: Issued) => ({
  cert: printPem('CERTIFICATE', issued.certificateDer),
  key: issued.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  ca: printPem('CERTIFICATE', ca.certificateDer),
})

t.test('OpenSSL accepts server and client strictly, each for its own purpose only', async (t) => {
  const server = await newServer()
  const client = await newClient()
  for (const name of [
    ['-verify_hostname', 'localhost'],
    ['-verify_ip', '127.0.0.1'],
    ['-verify_ip', '::1'],
  ]) {
    t.equal(opensslFaults(server, '-purpose', 'sslserver', ...name), '')
  }
  t.match(opensslFaults(server, '-purpose', 'sslserver', '-verify_hostname', 'example.com'), /mismatch/)
  t.equal(opensslFaults(client, '-purpose', 'sslclient'), '')
  t.match(opensslFaults(server, '-purpose', 'sslclient'), /unsuitable certificate purpose/)
  t.match(opensslFaults(client, '-purpose', 'sslserver'), /unsuitable certificate purpose/)
})

t.test('OpenSSL reads the revocation list and refuses the revoked client only', async (t) => {
  const good = await newClient()
  const revoked = await newClient()
  const crl = await makeTlsCrl(ca, {
    ...crlTimes,
    number: 300,
    revoked: [{ serial: serialOf(revoked.certificateDer), atMs: nowMs }],
  })
  const path = file('X509 CRL', crl)
  const args = [
    'crl',
    '-in',
    path,
    '-CAfile',
    file('CERTIFICATE', ca.certificateDer),
    '-verify',
    '-noout',
    '-text',
  ]
  const run = spawnSync('openssl', args, { encoding: 'utf8' })
  t.match(run.stdout + run.stderr, /verify OK/)
  t.match(run.stdout, /CRL Number:\s+300/)
  t.equal(opensslFaults(good, '-crl_check', '-CRLfile', path), '')
  t.match(opensslFaults(revoked, '-crl_check', '-CRLfile', path), /certificate revoked/)
})

t.test('a list is read back as it was made, from either side, if its issuer signed it', async (t) => {
  const cardIssuer = makeCardIssuer({ commonName: 'Test issuer', notBeforeMs: nowMs })
  const content = (number: number, serials: string[]) => ({
    ...crlTimes,
    number,
    revoked: serials.map((hex) => ({ serial: Buffer.from(hex, 'hex'), atMs: crlTimes.thisUpdateMs })),
  })
  const contents = [content(1, []), content(70_000, ['41'.repeat(16), '4200'])]
  for (const one of contents) {
    const tls = await makeTlsCrl(ca, one)
    t.same(readCrl(tls, createPublicKey(ca.privateKey)), one)
    const card = makeCardCrl(cardIssuer, one)
    t.same(readCrl(card, createPublicKey(cardIssuer.privateKey)), one)
    t.equal(readCrl(card, createPublicKey(ca.privateKey)), undefined)
  }
  t.throws(() => readCrl(Buffer.from('3000', 'hex'), createPublicKey(ca.privateKey)))
})

t.test('a handshake with both certificates succeeds and shows the carrier', async (t) => {
  const server = createServer({
    ...tlsOptions(await newServer()),
    requestCert: true,
    rejectUnauthorized: true,
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const accepted = once(server, 'secureConnection')
  const socket = connect({ port, host: '127.0.0.1', ...tlsOptions(await newClient()) })
  await once(socket, 'secureConnect')
  const [peer] = (await accepted) as [TLSSocket]
  t.equal(socket.authorized, true)
  t.equal(peer.authorized, true)
  t.equal(peer.getPeerX509Certificate()?.subjectAltName, 'URI:urn:vouchsafe:carrier:swift-crane')
  socket.destroy()
  peer.destroy()
  server.close()
  await once(server, 'close')
})
