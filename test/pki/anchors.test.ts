// Trusted card issuers: what may be one, and what the person who configured another is told.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { loadAnchors } from '../../src/pki/anchors.ts'
import { p256, sm2 } from '../../src/pki/suites.ts'
import { issuer, signer, worlds } from '../helpers/cards.ts'

const folder = t.testdir()
let made = 0

/** A self-signed certificate by OpenSSL with these extensions. */
function opensslCa(extensions: string[], curve = 'P-256'): Buffer {
  const key = join(folder, `${++made}.key`)
  const more = extensions.flatMap((one) => ['-addext', one])
  return execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      `ec_paramgen_curve:${curve}`,
      '-nodes',
      '-keyout',
      key,
      '-subj',
      '/CN=Test',
      '-outform',
      'DER',
      ...more,
    ],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  )
}
// OpenSSL adds a subjectKeyIdentifier and CA:TRUE by itself.
const usage = 'keyUsage=critical,keyCertSign,cRLSign'

t.test('a CA by OpenSSL and ours are anchors for P-256', async (t) => {
  const anchors = loadAnchors([opensslCa([usage]), issuer.certificateDer])
  t.equal(anchors.length, 2)
  for (const anchor of anchors) {
    t.equal(anchor.suite, p256)
    t.equal(anchor.keyId.length, 20)
  }
})

t.test('an SM2 CA is an anchor for SM2, and none for P-256', async (t) => {
  const { certificateDer } = worlds[1].issuer
  const [anchor] = loadAnchors([certificateDer], sm2)
  t.equal(anchor?.suite, sm2)
  t.throws(() => loadAnchors([certificateDer]), /its key is not P-256/)
  t.throws(() => loadAnchors([issuer.certificateDer], sm2), /its key is not SM2/)
})

const refused: [about: string, der: () => Buffer, message: RegExp][] = [
  ['a document signer', () => signer.certificateDer, /not a CA/],
  ['a CA for certificates alone', () => opensslCa(['keyUsage=critical,keyCertSign']), /not a CA/],
  ['a certificate with no usage', () => opensslCa([]), /not a CA/],
  ['another curve', () => opensslCa([usage], 'P-384'), /not P-256/],
  ['no certificate', () => Buffer.from('-----BEGIN CERTIFICATE-----'), /./],
  ['a cut certificate', () => issuer.certificateDer.subarray(0, 200), /cut short/],
]
for (const [about, der, message] of refused) {
  t.test(`${about} is no anchor, and the message says which one and what to do`, async (t) => {
    const load = () => loadAnchors([issuer.certificateDer, der()])
    t.throws(load, message)
    t.throws(load, /^Card issuer 2 is not accepted: .* Fix: .*certs\/README\.md/)
  })
}

t.test('no anchors at all are a fault of the configuration', async (t) => {
  t.throws(() => loadAnchors([]), /no card issuer to trust.*Fix:/)
})
