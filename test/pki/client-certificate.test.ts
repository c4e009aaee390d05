// The certificate of a carrier: which is accepted, and by which word each other is refused. What OpenSSL refuses
// before us is in test/wire/bad-certificates.test.ts; here it is shown that we would refuse it too.
import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { dayMs, hourMs } from '../../src/base/clock.ts'
import { loadAnchors } from '../../src/pki/anchors.ts'
import type { CertificateCause } from '../../src/pki/causes.ts'
import { checkClientCertificate, printSerial } from '../../src/pki/client-certificate.ts'
import { type Name, type Pem, signItself, TestCa, urn, type Wish } from '../helpers/certificates.ts'
import { makeFolder } from '../helpers/folder.ts'

const folder = makeFolder()
t.teardown(folder.remove)
const ca = TestCa.make(folder.path, { subject: '/O=Test/CN=Test carriers' })
const anchorOf = ({ cert }: { cert: string }) => new X509Certificate(cert).raw
const anchors = loadAnchors([anchorOf(ca)])
const derOf = ({ cert }: Pem) => Buffer.from(new X509Certificate(cert).raw)
const check = (pem: Pem, issuers = anchors) => checkClientCertificate(derOf(pem), issuers)
const ours = urn('swift-crane')

t.test('a good certificate names its carrier, serial and times as openssl does', async (t) => {
  const toMs = Math.floor(Date.now() / 1000) * 1000 + 90 * dayMs
  for (const key of ['P-256', 'RSA-3072', 'RSA-4096'] as const) {
    const pem = ca.issue({ key, fromMs: toMs - 90 * dayMs, toMs })
    const found = check(pem)
    if (typeof found === 'string') return t.fail(found)
    const { carrier, serial, notBeforeMs, notAfterMs } = found
    t.same(
      { carrier, notBeforeMs, notAfterMs },
      { carrier: 'swift-crane', notBeforeMs: toMs - 90 * dayMs, notAfterMs: toMs },
    )
    t.equal(printSerial(serial), new X509Certificate(pem.cert).serialNumber)
  }
})

t.test('serials are printed as node and openssl print them', async (t) => {
  for (const serial of [
    '1',
    '0x7f',
    '0x80',
    '0xff00',
    '0x0102',
    `0x8${'0'.repeat(31)}`,
    `0x7${'f'.repeat(39)}`,
  ]) {
    const pem = ca.issueOdd({ serial })
    const found = check(pem)
    t.equal(
      typeof found === 'string' ? found : printSerial(found.serial),
      new X509Certificate(pem.cert).serialNumber,
    )
  }
})

t.test('names: exactly one, and that of a carrier', async (t) => {
  const table: [what: string, cause: CertificateCause | undefined, names: Wish['names']][] = [
    ['two characters', undefined, [['uri', urn('ab')]]],
    ['32 characters', undefined, [['uri', urn('x'.repeat(32))]]],
    ['digits and hyphens', undefined, [['uri', urn('0-9')]]],
    ['none', 'wrong_name', 'none'],
    ['an empty list', 'wrong_name', []],
    ['no carrier in it', 'wrong_name', [['uri', urn('')]]],
    ['one character', 'wrong_name', [['uri', urn('x')]]],
    ['33 characters', 'wrong_name', [['uri', urn('x'.repeat(33))]]],
    ['upper case', 'wrong_name', [['uri', urn('Swift-Crane')]]],
    ['the URN in upper case', 'wrong_name', [['uri', ours.toUpperCase()]]],
    ['an underscore', 'wrong_name', [['uri', urn('swift_crane')]]],
    ['a full stop after it', 'wrong_name', [['uri', `${ours}.`]]],
    ['a path after it', 'wrong_name', [['uri', `${ours}/x`]]],
    ['a query after it', 'wrong_name', [['uri', `${ours}?x`]]],
    ['a fragment after it', 'wrong_name', [['uri', `${ours}#x`]]],
    ['a blank after it', 'wrong_name', [['uri', `${ours} `]]],
    ['a newline after it', 'wrong_name', [['uri', `${ours}\n`]]],
    ['NUL after it', 'wrong_name', [['uri', `${ours}\0`]]],
    ['NUL and more after it', 'wrong_name', [['uri', `${ours}\0.example`]]],
    ['a second URN after it', 'wrong_name', [['uri', `${ours}, URI:${urn('river-post')}`]]],
    ['something before it', 'wrong_name', [['uri', `x${ours}`]]],
    ['a newline before it', 'wrong_name', [['uri', `\n${ours}`]]],
    ['quoted', 'wrong_name', [['uri', `"${ours}"`]]],
    ['percent-encoded', 'wrong_name', [['uri', ours.replace('-', '%2d')]]],
    ['a DNS name that prints like it', 'wrong_name', [['dns', `URI:${ours}`]]],
    ['a registered id with its bytes', 'wrong_name', [['rid', ours]]],
    [
      'two carriers',
      'several_names',
      [
        ['uri', ours],
        ['uri', urn('river-post')],
      ],
    ],
    [
      'the same twice',
      'several_names',
      [
        ['uri', ours],
        ['uri', ours],
      ],
    ],
    [
      'a DNS name beside it',
      'several_names',
      [
        ['uri', ours],
        ['dns', 'swift-crane.example'],
      ],
    ],
    [
      'another URI before it',
      'several_names',
      [
        ['uri', 'urn:vouchsafe:gateway'],
        ['uri', ours],
      ],
    ],
    ['many', 'several_names', Array.from({ length: 5 }, (): Name => ['uri', ours])],
  ]
  for (const [what, cause, names] of table) {
    const found = check(ca.issue(names ? { names } : {}))
    t.equal(typeof found === 'string' ? found : undefined, cause, what)
  }
})

t.test('what OpenSSL refuses at the handshake is refused here too', async (t) => {
  const stranger = TestCa.make(folder.path, { subject: '/CN=Stranger' })
  const twin = TestCa.make(folder.path, { subject: ca.subject, keyId: ca.keyId })
  const below = ca.issueCa('/CN=Below')
  const nowMs = Date.now()
  const table: [what: string, cause: CertificateCause, pem: Pem][] = [
    ['wrong CA', 'wrong_ca', stranger.issue()],
    ['below the CA', 'wrong_ca', below.issue()],
    ['self-signed', 'wrong_ca', signItself(folder.path, { subject: '/CN=x', names: [['uri', ours]] })],
    ['a CA of the same name and key id', 'bad_signature', twin.issue()],
    [
      'self-signed, named like the CA',
      'bad_signature',
      signItself(folder.path, { subject: ca.subject, names: [['uri', ours]] }),
    ],
    ['named like the CA', 'name_collision', ca.issue({ subject: ca.subject })],
    [
      'named like the CA, in other letters',
      'name_collision',
      ca.issue({ subject: '/O=TEST/CN=test  Carriers' }),
    ],
    ['for servers', 'not_for_clients', ca.issue({ extensions: { extendedKeyUsage: 'serverAuth' } })],
    ['for key encipherment', 'wrong_key_usage', ca.issue({ extensions: { keyUsage: 'keyEncipherment' } })],
    ['RSA-1024', 'weak_key', ca.issue({ key: 'RSA-1024' })],
    ['P-224', 'weak_key', ca.issue({ key: 'P-224' })],
    ['SHA-1', 'weak_signature', ca.issue({ hash: 'sha1' })],
    [
      'unknown critical',
      'unknown_extension',
      ca.issue({ extensions: { '1.3.6.1.4.1.32473.1': 'critical,DER:0500' } }),
    ],
    ['very long', 'malformed', ca.issue({ extensions: { nsComment: 'x'.repeat(17_000) } })],
  ]
  for (const [what, cause, pem] of table) t.equal(check(pem), cause, what)
  t.equal(check(ca.issue(), []), 'wrong_ca', 'nobody to issue it')
  const both = loadAnchors([anchorOf(stranger), anchorOf(ca)])
  t.match(check(ca.issue(), both), { carrier: 'swift-crane' }, 'two CAs in overlap: the one')
  t.match(check(stranger.issue(), both), { carrier: 'swift-crane' }, 'and the other')
  const late = ca.issue({ fromMs: nowMs - dayMs, toMs: nowMs - hourMs })
  t.match(check(late), { carrier: 'swift-crane' }, 'time is the caller’s question')
})

t.test('no cut and no flipped bit of a good certificate is accepted', async (t) => {
  const der = derOf(ca.issue())
  let accepted = 0
  for (let length = 0; length < der.length; length++) {
    if (checkClientCertificate(der.subarray(0, length), anchors) !== 'malformed') accepted++
  }
  for (let bit = 0; bit < der.length * 8; bit++) {
    const flipped = Buffer.from(der)
    flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    if (typeof checkClientCertificate(flipped, anchors) !== 'string') accepted++
  }
  t.equal(accepted, 0)
  t.equal(checkClientCertificate(Buffer.concat([der, Buffer.of(0)]), anchors), 'malformed', 'a byte more')
  t.match(checkClientCertificate(der, anchors), { carrier: 'swift-crane' })
})
