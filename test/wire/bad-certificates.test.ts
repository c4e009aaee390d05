// Bad client certificates against a running gateway: each is refused, at the handshake or with 403, and the log
// says why. Each differs from the good one, which is let in, in what its name says and nothing else.
import 'reflect-metadata'
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import t, { type Test } from 'tap'
import { dayMs, hourMs, systemClock } from '../../src/base/clock.ts'
import { type CertificateCause, causeWords } from '../../src/pki/causes.ts'
import { ask, isRefused, refusedLines, tally, until } from '../helpers/carrier-calls.ts'
import {
  altered,
  chained,
  keyOf,
  type Name,
  type Pem,
  signItself,
  TestCa,
  urn,
  type Wish,
} from '../helpers/certificates.ts'
import { makeFolder } from '../helpers/folder.ts'
import { startTestGateway, type TestGateway } from '../helpers/gateway.ts'

const nowMs = systemClock.now()
const ours = urn('swift-crane')
const versions = ['TLSv1.3', 'TLSv1.2'] as const
type Place = 'handshake' | '403'
type Row = [name: string, cause: CertificateCause, place: Place, pem: Pem, only?: 'TLSv1.2']

const caOf = (g: TestGateway, root: string) =>
  new TestCa(root, { cert: g.file('carrier-ca.crt').toString(), key: g.file('carrier-ca.key').toString() })
const named = (g: TestGateway, name: string): Pem => ({
  cert: g.file(`${name}.crt`).toString(),
  key: g.file(`${name}.key`).toString(),
})

/** Wrong in time, use, key or hash, all signed by the carrier CA. */
function misissued(ca: TestCa): Row[] {
  const row = (name: string, cause: CertificateCause, place: Place, wish: Wish): Row => [
    name,
    cause,
    place,
    ca.issue(wish),
  ]
  const use = (extensions: Record<string, string>) => ({ extensions })
  return [
    row('expired an hour ago', 'expired', 'handshake', { fromMs: nowMs - dayMs, toMs: nowMs - hourMs }),
    row('expired five years ago', 'expired', 'handshake', {
      fromMs: nowMs - 2000 * dayMs,
      toMs: nowMs - 1825 * dayMs,
    }),
    row('not yet valid for an hour', 'not_yet_valid', 'handshake', { fromMs: nowMs + hourMs }),
    row('not yet valid for a year', 'not_yet_valid', 'handshake', {
      fromMs: nowMs + 365 * dayMs,
      toMs: nowMs + 400 * dayMs,
    }),
    row('CA=true leaf', 'is_ca', '403', use({ basicConstraints: 'critical,CA:TRUE' })),
    row('CA=true leaf, not critical', 'is_ca', '403', use({ basicConstraints: 'CA:TRUE,pathlen:0' })),
    row(
      'keyCertSign without CA=true',
      'is_ca',
      '403',
      use({ keyUsage: 'critical,digitalSignature,keyCertSign' }),
    ),
    row('no extKeyUsage', 'not_for_clients', '403', use({ extendedKeyUsage: '' })),
    row('for servers only', 'not_for_clients', 'handshake', use({ extendedKeyUsage: 'serverAuth' })),
    row('for any use', 'not_for_clients', 'handshake', use({ extendedKeyUsage: 'anyExtendedKeyUsage' })),
    row('for mail', 'not_for_clients', 'handshake', use({ extendedKeyUsage: 'emailProtection' })),
    row('for key agreement only', 'wrong_key_usage', '403', use({ keyUsage: 'critical,keyAgreement' })),
    row(
      'for key encipherment only',
      'not_for_clients',
      'handshake',
      use({ keyUsage: 'critical,keyEncipherment' }),
    ),
    row('for non-repudiation only', 'not_for_clients', 'handshake', use({ keyUsage: 'nonRepudiation' })),
    row(
      'critical extension nobody knows',
      'not_accepted',
      'handshake',
      use({ '1.3.6.1.4.1.32473.1': 'critical,DER:0500' }),
    ),
    row(
      'critical extension we do not know',
      'unknown_extension',
      '403',
      use({ certificatePolicies: 'critical,1.3.6.1.4.1.32473.2' }),
    ),
    row('RSA-1024', 'not_accepted', 'handshake', { key: 'RSA-1024' }),
    row('RSA-2048', 'weak_key', '403', { key: 'RSA-2048' }),
    row('RSA-3072 with exponent 3', 'weak_key', '403', { key: 'RSA-3072, exponent 3' }),
    row('P-384', 'weak_key', '403', { key: 'P-384' }),
    row('P-521', 'weak_key', '403', { key: 'P-521' }),
    row('Ed25519', 'weak_key', '403', { key: 'Ed25519' }),
    row('RSA-PSS', 'weak_key', '403', { key: 'RSA-PSS-3072' }),
    ...(['P-192', 'P-224', 'secp256k1'] as const).map(
      (key): Row => [key, 'weak_key', 'handshake', ca.issue({ key }), 'TLSv1.2'],
    ),
    row('SHA-1', 'not_accepted', 'handshake', { hash: 'sha1' }),
    row('SHA-224', 'weak_signature', '403', { hash: 'sha224' }),
    ['version 1', 'malformed', '403', ca.issueOdd({ serial: '81', plain: true })],
    ['serial below zero', 'malformed', '403', ca.issueOdd({ serial: '-81' })],
    ['serial zero', 'malformed', '403', ca.issueOdd({ serial: '0' })],
    ['serial of 21 bytes', 'malformed', '403', ca.issueOdd({ serial: `0x7${'1'.repeat(41)}` })],
    ['altered signature', 'bad_signature', 'handshake', altered(ca.issue(), -1)],
    ['altered name', 'bad_signature', 'handshake', alterName(ca.issue())],
  ]
}

/** Another carrier in the bytes of a good certificate: one letter changed. */
function alterName(pem: Pem): Pem {
  const { raw } = new X509Certificate(pem.cert)
  return altered(pem, raw.indexOf(ours) + ours.length - 1)
}

/** With its extKeyUsage twice, first for servers, then for clients: what openssl does not make. */
async function twice(issuer: Pem): Promise<Pem> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const key = keyOf('P-256')
  const { serverAuth, clientAuth } = x509.ExtendedKeyUsage
  const made = await x509.X509CertificateGenerator.create({
    ...{ subject: 'CN=back end', issuer: new x509.X509Certificate(issuer.cert).subjectName },
    ...{ notBefore: new Date(nowMs - hourMs), notAfter: new Date(nowMs + dayMs) },
    publicKey: createPublicKey(key).toCryptoKey(algorithm, true, ['verify']),
    signingKey: createPrivateKey(issuer.key).toCryptoKey(algorithm, false, ['sign']),
    signingAlgorithm: algorithm,
    extensions: [
      new x509.ExtendedKeyUsageExtension([serverAuth]),
      new x509.ExtendedKeyUsageExtension([clientAuth]),
      new x509.SubjectAlternativeNameExtension([{ type: 'url', value: ours }]),
    ],
  })
  return { cert: `${made.toString('pem')}\n`, key }
}

/** Named otherwise than exactly one carrier, all signed by the carrier CA. */
function misnamed(ca: TestCa): Row[] {
  const row = (name: string, cause: CertificateCause, names: Wish['names']): Row => [
    name,
    cause,
    '403',
    ca.issue(names ? { names } : {}),
  ]
  const text = (value: string) => [0x0c, Buffer.byteLength(value), ...Buffer.from(value)]
  const other = Buffer.from([0x06, 0x03, 0x2a, 0x03, 0x04, 0xa0, ours.length + 2, ...text(ours)])
  return [
    row('no names', 'wrong_name', 'none'),
    row('an empty list of names', 'wrong_name', []),
    row('a DNS name', 'wrong_name', [['dns', 'swift-crane.example']]),
    row('the URN as a DNS name', 'wrong_name', [['dns', ours]]),
    row('the URN as a mail address', 'wrong_name', [['email', ours]]),
    row('the URN as another name', 'wrong_name', [['other', other]]),
    row('DNS name with the URN as printed inside', 'wrong_name', [['dns', `x, URI:${ours}`]]),
    row('URI with the URN as printed inside', 'wrong_name', [['uri', `x, URI:${ours}`]]),
    row('a second carrier after the first, in one URI', 'wrong_name', [
      ['uri', `${ours}, URI:${urn('river-post')}`],
    ]),
    row('URN of the gateway', 'wrong_name', [['uri', 'urn:vouchsafe:gateway']]),
    row('URN in upper case', 'wrong_name', [['uri', ours.toUpperCase()]]),
    row('NUL after the URN', 'wrong_name', [['uri', `${ours}\0`]]),
    row('newline after the URN', 'wrong_name', [['uri', `${ours}\n`]]),
    row('newline before the URN', 'wrong_name', [['uri', `\n${ours}`]]),
    row('carrier of one character', 'wrong_name', [['uri', urn('x')]]),
    row('carrier of 33 characters', 'wrong_name', [['uri', urn('x'.repeat(33))]]),
    row('carrier in Cyrillic letters', 'wrong_name', [['uri', urn('swift-сrane')]]),
    row('two carriers', 'several_names', [
      ['uri', ours],
      ['uri', urn('river-post')],
    ]),
    row('one carrier twice', 'several_names', [
      ['uri', ours],
      ['uri', ours],
    ]),
    row('a DNS name beside the carrier', 'several_names', [
      ['uri', ours],
      ['dns', 'swift-crane.example'],
    ]),
    row('a DNS name before the carrier', 'several_names', [
      ['dns', 'swift-crane.example'],
      ['uri', ours],
    ]),
    row('an address beside the carrier', 'several_names', [
      ['uri', ours],
      ['ip', Buffer.of(127, 0, 0, 1)],
    ]),
  ]
}

/** Signed by somebody else than the carrier CA. */
function foreign(g: TestGateway, ca: TestCa, root: string): Row[] {
  const stranger = TestCa.make(root, { subject: '/CN=Stranger' })
  const namesake = TestCa.make(root, { subject: ca.subject })
  const twin = TestCa.make(root, { subject: ca.subject, keyId: ca.keyId })
  const below = ca.issueCa('/CN=Below')
  const leaf = ca.issue()
  const byLeaf = new TestCa(root, leaf)
  const gatewayCa = new TestCa(root, named(g, 'gateway-ca'))
  const own: { subject: string; names: Name[] } = { subject: '/CN=swift-crane', names: [['uri', ours]] }
  const at = (name: string, cause: CertificateCause, pem: Pem): Row => [name, cause, 'handshake', pem]
  return [
    at('wrong CA', 'wrong_ca', stranger.issue()),
    at('wrong CA, sent along', 'wrong_ca', chained(stranger.issue(), stranger)),
    at('wrong CA, and expired', 'expired', stranger.issue({ fromMs: nowMs - dayMs, toMs: nowMs - hourMs })),
    at('the CA of the gateway itself', 'wrong_ca', gatewayCa.issue()),
    at('the server certificate of the gateway', 'wrong_ca', named(g, 'gateway')),
    at('the gateway’s certificate for the bureau', 'wrong_ca', named(g, 'bureau-client')),
    at('self-signed', 'wrong_ca', signItself(root, own)),
    at(
      'name collision: self-signed, named like the CA',
      'wrong_ca',
      signItself(root, { ...own, subject: ca.subject }),
    ),
    at('name collision: a CA of the same name', 'wrong_ca', namesake.issue()),
    at('name collision: a CA of the same name, sent along', 'wrong_ca', chained(namesake.issue(), namesake)),
    at('name collision: a CA of the same name and key id', 'bad_signature', twin.issue()),
    at('name collision: the same, sent along', 'bad_signature', chained(twin.issue(), twin)),
    ['name collision: a leaf named like the CA', 'name_collision', '403', ca.issue({ subject: ca.subject })],
    at('issued by a carrier', 'wrong_ca', byLeaf.issue()),
    at('issued by a carrier, chain sent', 'wrong_ca', chained(byLeaf.issue(), leaf)),
    at('issued by a CA below the carrier CA', 'wrong_ca', below.issue()),
    at('issued by a CA below the carrier CA, sent along', 'wrong_ca', chained(below.issue(), below)),
    at('the carrier CA itself', 'not_for_clients', named(g, 'carrier-ca')),
  ]
}

t.test('every bad certificate is refused, and the log has the cause', async (t) => {
  const g = await startTestGateway(t)
  const folder = makeFolder()
  t.teardown(folder.remove)
  const ca = caOf(g, folder.path)
  const rows = [...misissued(ca), ...misnamed(ca), ...foreign(g, ca, folder.path)]
  // OpenSSL finds no list for what it cannot read, and says no more.
  rows.push(['extKeyUsage twice', 'wrong_ca', 'handshake', await twice(named(g, 'carrier-ca'))])
  t.ok(rows.length >= 70, `${rows.length} bad certificates`)
  t.equal(new Set(rows.map(([name]) => name)).size, rows.length, 'each has a name of its own')
  const seenCauses = new Set(rows.map(([, cause]) => cause))
  for (const cause of seenCauses) {
    const before = tally(g.lines)
    const first = g.lines.length
    const group = rows.filter(([, its]) => its === cause)
    const tries = group.flatMap(([name, , place, pem, ...only]) =>
      (only.length > 0 ? only : versions).map((version) => ({ name, place, pem, version })),
    )
    for (const { name, place, pem, version } of tries) {
      // The client is as lax as OpenSSL allows: it is the gateway that must refuse.
      const lax = { minVersion: version, maxVersion: version, ciphers: 'DEFAULT@SECLEVEL=0' }
      const reply = await ask(g.ports.carrier, { ...pem, ...lax, ca: g.file('gateway-ca.crt') })
      isRefused(t, reply, `${name} (${version})`)
      t.equal(reply === 'closed' ? 'handshake' : '403', place, `${name}: refused where it should be`)
    }
    const sum = () => (tally(g.lines)[cause] ?? 0) - (before[cause] ?? 0)
    await until(t, () => sum() >= tries.length, `${cause}: all ${tries.length} are told`)
    const expected = { ...before, [cause]: (before[cause] ?? 0) + tries.length }
    t.same(tally(g.lines), expected, `${cause}: and nothing else is`)
    const lines = refusedLines(g.lines.slice(first))
    for (const [name, , place, pem] of group) {
      const { serialNumber: serial } = new X509Certificate(pem.cert)
      const its = lines.filter((line) => line.serial === serial)
      t.equal(its.length > 0, place === '403', `${name}: with the serial of what the CA vouches for`)
    }
  }
  await checkMetric(t, g)
  checkLines(t, g, seenCauses)
})

/** The metric counts what the log counts, and has a row for each cause from the start. */
async function checkMetric(t: Test, g: TestGateway): Promise<void> {
  const counted = await refusedCounts(g)
  t.same(Object.keys(counted).sort(), [...causeWords].sort())
  const some = Object.fromEntries(Object.entries(counted).filter(([, count]) => count > 0))
  t.same(some, tally(g.lines))
}

async function refusedCounts(g: TestGateway): Promise<Record<string, number>> {
  const { name = '', secret = '' } = g.first.operator ?? {}
  const authorization = `Basic ${Buffer.from(`${name}:${secret}`).toString('base64')}`
  const response = await fetch(`http://127.0.0.1:${g.ports.operator}/metrics`, { headers: { authorization } })
  const rows = [
    ...(await response.text()).matchAll(
      /^vouchsafe_client_certificates_refused_total\{cause="(\w+)"\} (\d+)$/gm,
    ),
  ]
  return Object.fromEntries(rows.map(([, cause, count]) => [cause as string, Number(count)]))
}

/** A line has the cause, what to do, how many, and at most a serial: no name, no address, no key. */
function checkLines(t: Test, g: TestGateway, seen: Set<string>): void {
  const lines = refusedLines(g.lines)
  const known = new Set(['level', 'time', 'pid', 'hostname', 'cause', 'serial', 'count', 'says', 'msg'])
  for (const line of lines) {
    const extra = Object.keys(line).filter((key) => !known.has(key))
    if (extra.length > 0) t.fail(`a line has ${extra.join(', ')}`)
    if (line.serial !== undefined && !/^-?[0-9A-F]{1,42}$/.test(line.serial)) t.fail('a serial is not hex')
    if (line.says.length < 20) t.fail(`${line.cause} is not explained`)
  }
  t.ok(seen.size >= 15, `${seen.size} causes: ${[...seen].join(', ')}`)
  t.notMatch(g.lines.join('\n'), /swift-crane|river-post|back end|BEGIN|Stranger/)
  const asked = g.lines.filter((line) => line.includes('"/v1/carrier"'))
  t.ok(asked.length > 50)
  t.notMatch(asked.join('\n'), /"status":"(200|500)"/, 'none was let in, none was a failure of ours')
}

t.test('the good twins are let in, so that the refusals mean something', async (t) => {
  const g = await startTestGateway(t)
  const folder = makeFolder()
  t.teardown(folder.remove)
  const ca = caOf(g, folder.path)
  const table: [name: string, pem: Pem][] = [
    ['P-256', ca.issue()],
    ['RSA-3072', ca.issue({ key: 'RSA-3072' })],
    ['RSA-4096', ca.issue({ key: 'RSA-4096' })],
    ['SHA-384', ca.issue({ hash: 'sha384' })],
    ['SHA-512', ca.issue({ hash: 'sha512' })],
    ['without keyUsage', ca.issue({ extensions: { keyUsage: '' } })],
    ['without basicConstraints', ca.issue({ extensions: { basicConstraints: '' } })],
    ['for servers and clients', ca.issue({ extensions: { extendedKeyUsage: 'serverAuth,clientAuth' } })],
    [
      'digitalSignature and keyAgreement',
      ca.issue({ extensions: { keyUsage: 'digitalSignature,keyAgreement' } }),
    ],
    ['an extension that is not critical', ca.issue({ extensions: { '1.3.6.1.4.1.32473.1': 'DER:0500' } })],
    ['no common name', ca.issue({ subject: '/O=Swift' })],
    ['the chain sent along', chained(ca.issue(), ca)],
    ['the bytes that are altered elsewhere', ca.issueOdd({ serial: '82' })],
    ['serial of 20 bytes', ca.issueOdd({ serial: `0x7${'1'.repeat(39)}` })],
    ['what openssl made the folder’s CA do', named(g, 'carrier-swift-crane')],
  ]
  // The gateway is in this process: it stood still while openssl made keys.
  await until(
    t,
    async () => {
      const reply = await ask(g.ports.carrier, {
        ...named(g, 'carrier-swift-crane'),
        ca: g.file('gateway-ca.crt'),
      })
      return reply !== 'closed' && reply.status === 200
    },
    'not overloaded any more',
  )
  for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
    for (const [name, pem] of table) {
      const tls = { ...pem, minVersion: version, maxVersion: version, ca: g.file('gateway-ca.crt') }
      const { serialNumber: serial } = new X509Certificate(pem.cert)
      const body = { carrier: 'swift-crane', status: 'active', certificate: { serial } }
      t.match(await ask(g.ports.carrier, tls), { status: 200, body }, `${name} (${version})`)
    }
  }
  t.same(refusedLines(g.lines), [])
})
