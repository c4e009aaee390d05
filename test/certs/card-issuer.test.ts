// The card side of the development PKI, judged by OpenSSL.
import { execFileSync, spawnSync } from 'node:child_process'
import { createPublicKey, sign, verify, X509Certificate } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  type Issued,
  makeCardCrl,
  makeCardIssuer,
  makeDocumentSigner,
  printInteger,
  randomSerial,
  type Spoil,
  serialOf,
  usagePeriodOf,
} from '../../certs/card-issuer.ts'
import { dayMs, hourMs, systemClock } from '../../src/base/clock.ts'
import { importP256Spki } from '../../src/base/p256.ts'
import { printPem } from '../../src/base/pem.ts'

const nowMs = systemClock.now()
const issuer = makeCardIssuer({ commonName: 'Test issuer', notBeforeMs: nowMs - hourMs })
const signerOptions = {
  commonName: 'Test signer',
  notBeforeMs: nowMs - hourMs,
  usageNotBeforeMs: nowMs - hourMs,
  usageNotAfterMs: nowMs + 90 * dayMs,
}
const newSigner = (spoil: Partial<Spoil> = {}) => makeDocumentSigner(issuer, { ...signerOptions, spoil })
const directory = t.testdir()
let files = 0

function file(label: string, der: Buffer): string {
  const path = join(directory, `${++files}.pem`)
  writeFileSync(path, printPem(label, der))
  return path
}
const issuerFile = file('CERTIFICATE', issuer.certificateDer)

/** What `openssl verify -x509_strict` says; empty if it is content. */
function opensslFaults(certificate: Issued, ...more: string[]): string {
  const path = file('CERTIFICATE', certificate.certificateDer)
  const args = ['verify', '-x509_strict', '-purpose', 'any', '-CAfile', issuerFile, ...more, path]
  const run = spawnSync('openssl', args, { encoding: 'utf8' })
  return run.status === 0 ? '' : run.stderr
}

const opensslText = (der: Buffer) =>
  execFileSync('openssl', ['x509', '-inform', 'DER', '-noout', '-text'], { input: der, encoding: 'utf8' })

t.test('OpenSSL accepts the issuer and a signer strictly', async (t) => {
  t.equal(opensslFaults(issuer), '')
  t.equal(opensslFaults(newSigner()), '')
})

t.test('the issuer is a CA for signers and revocation lists only, without end', async (t) => {
  const text = opensslText(issuer.certificateDer)
  t.match(text, /Basic Constraints: critical\s+CA:TRUE, pathlen:0/)
  t.match(text, /Key Usage: critical\s+Certificate Sign, CRL Sign/)
  t.match(text, /Not After : Dec 31 23:59:59 9999 GMT/)
  t.match(text, /Subject Key Identifier/)
})

t.test('a signer has the profile of PROTOCOL section 6', async (t) => {
  const signer = newSigner()
  const text = opensslText(signer.certificateDer)
  t.match(text, /Basic Constraints: critical\s+CA:FALSE/)
  t.match(text, /Key Usage: critical\s+Digital Signature\s*\n/)
  t.match(text, /Private Key Usage Period:\s+Not Before: .+, Not After: .+ GMT/)
  t.match(text, /Authority Key Identifier/)
  t.match(text, /Not After : Dec 31 23:59:59 9999 GMT/)
  t.notMatch(text, /Extended Key Usage/)
  const floor = (ms: number) => Math.floor(ms / 1000) * 1000
  t.same(usagePeriodOf(signer.certificateDer), {
    notBeforeMs: floor(signerOptions.usageNotBeforeMs),
    notAfterMs: floor(signerOptions.usageNotAfterMs),
  })
})

t.test('keys are in the one accepted form and belong to their certificates', async (t) => {
  for (const issued of [issuer, newSigner()]) {
    const certificate = new X509Certificate(issued.certificateDer)
    const spki = certificate.publicKey.export({ format: 'der', type: 'spki' })
    t.ok(issued.certificateDer.includes(spki), 'uncompressed, named curve')
    const key = importP256Spki(spki)
    t.ok(key && verify('sha256', Buffer.from('m'), key, sign('sha256', Buffer.from('m'), issued.privateKey)))
  }
})

t.test('the algorithm has no parameters, in certificates and lists', async (t) => {
  const crl = makeCardCrl(issuer, {
    thisUpdateMs: nowMs,
    nextUpdateMs: nowMs + dayMs,
    number: 1,
    revoked: [],
  })
  const bare = Buffer.from('300a06082a8648ce3d040302', 'hex')
  for (const der of [issuer.certificateDer, newSigner().certificateDer, crl]) {
    const first = der.indexOf(bare)
    t.ok(first > 0 && der.indexOf(bare, first + 1) > first, 'twice: inside and outside')
  }
})

t.test('times are UTCTime until 2049 and GeneralizedTime after', async (t) => {
  const end = (notAfterMs: number) => newSigner({ notAfterMs }).certificateDer.toString('latin1')
  t.ok(end(Date.UTC(2049, 11, 31, 23, 59, 59, 999)).includes('\x17\x0d491231235959Z'))
  t.ok(end(Date.UTC(2050, 0, 1)).includes('\x18\x0f20500101000000Z'))
  t.ok(newSigner().certificateDer.toString('latin1').includes('\x18\x0f99991231235959Z'))
})

t.test('serials are positive, minimal and as given', async (t) => {
  for (const [given, printed] of [
    ['01', '020101'],
    ['80', '02020080'],
    ['000000ff01', '020300ff01'],
    ['00', '020100'],
  ] as const) {
    const serial = Buffer.from(given, 'hex')
    const { certificateDer } = makeDocumentSigner(issuer, { ...signerOptions, serial })
    t.ok(certificateDer.includes(Buffer.from(`a003020102${printed}300a`, 'hex')), given)
  }
  for (let i = 0; i < 100; i++) {
    const first = randomSerial()[0] ?? 0
    t.ok(first >= 0x40 && first < 0x80)
  }
  const serial = randomSerial()
  t.same(serialOf(makeDocumentSigner(issuer, { ...signerOptions, serial }).certificateDer), serial)
})

t.test('integers are minimal and positive', async (t) => {
  for (const [value, der] of [
    [0, '020100'],
    [127, '02017f'],
    [128, '02020080'],
    [256, '02020100'],
    [65_535, '020300ffff'],
  ] as const) {
    t.equal(printInteger(value).toString('hex'), der)
  }
})

t.test('OpenSSL reads the revocation list and refuses the revoked signer only', async (t) => {
  const good = newSigner()
  const revoked = newSigner()
  const crl = makeCardCrl(issuer, {
    thisUpdateMs: nowMs,
    nextUpdateMs: nowMs + dayMs,
    number: 258,
    revoked: [{ serial: serialOf(revoked.certificateDer), atMs: nowMs }],
  })
  const path = file('X509 CRL', crl)
  const run = spawnSync(
    'openssl',
    ['crl', '-in', path, '-CAfile', issuerFile, '-verify', '-noout', '-text'],
    {
      encoding: 'utf8',
    },
  )
  t.match(run.stdout + run.stderr, /verify OK/)
  t.match(run.stdout, /Version 2/)
  t.match(run.stdout, /CRL Number:\s+258/)
  t.match(run.stdout, /Authority Key Identifier/)
  t.equal(opensslFaults(good, '-crl_check', '-CRLfile', path), '')
  t.match(opensslFaults(revoked, '-crl_check', '-CRLfile', path), /certificate revoked/)
})

t.test('an empty list is left out, and an old list is not accepted', async (t) => {
  const times = { thisUpdateMs: nowMs - 2 * dayMs, nextUpdateMs: nowMs - dayMs }
  const path = file('X509 CRL', makeCardCrl(issuer, { ...times, number: 1, revoked: [] }))
  const text = execFileSync('openssl', ['crl', '-in', path, '-noout', '-text'], { encoding: 'utf8' })
  t.match(text, /No Revoked Certificates/)
  t.match(opensslFaults(newSigner(), '-crl_check', '-CRLfile', path), /CRL has expired/)
})

t.test('each fault is really there, and OpenSSL sees those that it looks for', async (t) => {
  const cases: { name: string; spoil: Partial<Spoil>; text?: RegExp; not?: RegExp; refused?: RegExp }[] = [
    { name: 'a CA', spoil: { ca: true }, text: /Basic Constraints: critical\s+CA:TRUE/ },
    {
      name: 'more usages',
      spoil: { keyUsage: ['digitalSignature', 'nonRepudiation'] },
      text: /Key Usage: critical\s+Digital Signature, Non Repudiation\s*\n/,
    },
    {
      name: 'another usage',
      spoil: { keyUsage: ['keyEncipherment'] },
      text: /Key Usage: critical\s+Key Encipherment\s*\n/,
    },
    { name: 'no usage', spoil: { noKeyUsage: true }, not: /Key Usage: critical/ },
    {
      name: 'an extended usage',
      spoil: { extKeyUsage: '1.3.6.1.5.5.7.3.3' },
      text: /Extended Key Usage:\s+Code Signing/,
    },
    { name: 'no basic constraints', spoil: { noBasicConstraints: true }, not: /Basic Constraints/ },
    { name: 'no usage period', spoil: { noUsagePeriod: true }, not: /Private Key Usage Period/ },
    {
      name: 'an unknown critical extension',
      spoil: { unknownCritical: true },
      text: /1\.3\.6\.1\.4\.1\.32473\.1: critical/,
      refused: /unhandled critical extension/,
    },
    {
      name: 'an end in the past',
      spoil: { notAfterMs: nowMs - 60_000 },
      not: /9999/,
      refused: /certificate has expired/,
    },
    { name: 'another signing key', spoil: { otherSigningKey: true }, refused: /signature failure/ },
  ]
  const issuerKey = createPublicKey(issuer.privateKey)
  for (const { name, spoil, text, not, refused } of cases) {
    const signer = newSigner(spoil)
    const printed = opensslText(signer.certificateDer)
    if (text) t.match(printed, text, name)
    if (not) t.notMatch(printed, not, name)
    if (refused) t.match(opensslFaults(signer), refused, name)
    const certificate = new X509Certificate(signer.certificateDer)
    t.equal(certificate.verify(issuerKey), !spoil.otherSigningKey, `${name}: signature`)
    t.ok(certificate.checkPrivateKey(signer.privateKey), `${name}: key`)
  }
  t.equal(usagePeriodOf(newSigner({ noUsagePeriod: true }).certificateDer), undefined)
  t.equal(usagePeriodOf(issuer.certificateDer), undefined)
})
