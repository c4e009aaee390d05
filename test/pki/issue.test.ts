// Certificates of carriers and the lists that revoke them, judged by OpenSSL, by node and by the gateway's readers.
import { spawnSync } from 'node:child_process'
import { createPrivateKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { makeTlsCa, makeTlsCrl, makeTlsLeaf } from '../../certs/tls-issuer.ts'
import { dayMs, hourMs, systemClock } from '../../src/base/clock.ts'
import { loadAnchors } from '../../src/pki/anchors.ts'
import { carrierUri, KeyRefused } from '../../src/pki/carrier-key.ts'
import { checkClientCertificate } from '../../src/pki/client-certificate.ts'
import { addToRevocationList, IssueRefused, issueCarrierCertificate } from '../../src/pki/issue.ts'
import { checkRequest } from '../../src/pki/request.ts'
import { parseCrl } from '../../src/pki/revocation.ts'
import { makeFolder } from '../helpers/folder.ts'

const carrier = 'swift-crane'
const nowMs = Math.floor(systemClock.now() / 1000) * 1000
/** For what OpenSSL dates by its own clock, which goes on while the tests run. */
const laterMs = nowMs + hourMs
const folder = makeFolder()
t.teardown(() => folder.remove())
const file = (name: string) => join(folder.path, name)
let made = 0

function run(line: string): { ok: boolean; out: string } {
  const { status, stdout, stderr } = spawnSync('openssl', line.split(' '), {
    cwd: folder.path,
    encoding: 'latin1',
  })
  return { ok: status === 0, out: stdout + stderr }
}
function openssl(line: string): string {
  const { ok, out } = run(line)
  if (!ok) throw new Error(`openssl ${line}: ${out}`)
  return out
}
function write(bytes: Buffer | string): string {
  const name = `${++made}.file`
  writeFileSync(file(name), bytes)
  return name
}
/** DER as PEM, by OpenSSL; the name of the file. */
const pemOf = (kind: 'x509' | 'crl', der: Buffer) => write(openssl(`${kind} -inform DER -in ${write(der)}`))

type Ca = { caCertificate: Buffer; caKey: KeyObject }
const life = { notBeforeMs: nowMs - 400 * dayMs, notAfterMs: nowMs + 400 * dayMs }

async function makeCa(given: Partial<typeof life> & { commonName?: string } = {}): Promise<Ca> {
  const issued = await makeTlsCa({ commonName: 'Carrier CA', ...life, ...given })
  return { caCertificate: issued.certificateDer, caKey: issued.privateKey }
}

/** A CA by OpenSSL. */
function opensslCa(
  subject = '/O=Invented/CN=CA',
  usage = 'critical,keyCertSign,cRLSign',
  curve = 'P-256',
): Ca {
  const key = write(openssl(`genpkey -algorithm EC -pkeyopt ec_paramgen_curve:${curve}`))
  const more = `-days 3650 -addext keyUsage=${usage} -set_serial 1 -utf8`
  const certificate = openssl(`req -x509 -key ${key} -subj ${subject} ${more}`)
  return {
    caCertificate: new X509Certificate(certificate).raw,
    caKey: createPrivateKey(readFileSync(file(key))),
  }
}

const ca = await makeCa()
const spkiOf = (key: KeyObject) => key.export({ format: 'der', type: 'spki' })
const p256 = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
const rsa = generateKeyPairSync('rsa', { modulusLength: 3072 })
const spki = spkiOf(p256.publicKey)
const issue = (given: Partial<Parameters<typeof issueCarrierCertificate>[0]> = {}) =>
  issueCarrierCertificate({ ...ca, carrier, spki, nowMs, ...given })

const verifyLine = (by: Ca, certificate: string, more = '-purpose sslclient') =>
  run(`verify -x509_strict ${more} -CAfile ${pemOf('x509', by.caCertificate)} ${certificate}`)

for (const [kind, key] of Object.entries({ 'P-256': p256, RSA: rsa })) {
  t.test(`OpenSSL accepts a certificate for a ${kind} key strictly, for clients only`, async (t) => {
    const { pem } = await issue({ spki: spkiOf(key.publicKey) })
    const name = write(pem)
    t.match(verifyLine(ca, name), { ok: true })
    t.match(verifyLine(ca, name, '-purpose sslserver'), { ok: false, out: /unsuitable certificate purpose/ })
    t.match(verifyLine(await makeCa(), name), { ok: false })
    t.equal(openssl(`x509 -in ${name} -noout -pubkey`), key.publicKey.export({ format: 'pem', type: 'spki' }))
  })
}

t.test('a certificate has the profile of a carrier, and no extension beside', async (t) => {
  const { pem, der, serial, notAfterMs } = await issue()
  const text = openssl(`x509 -in ${write(pem)} -noout -text`)
  t.match(text, /Version: 3 /)
  t.match(text, /Subject: O\s?=\s?Vouchsafe development, CN\s?=\s?swift-crane\n/)
  t.match(text, /Issuer: O\s?=\s?Vouchsafe development, CN\s?=\s?Carrier CA\n/)
  t.match(text, /Basic Constraints: critical\s+CA:FALSE\n/)
  t.match(text, /X509v3 Key Usage: critical\s+Digital Signature\n/)
  t.match(text, /Extended Key Usage: ?\n\s+TLS Web Client Authentication\n/)
  t.match(text, /Subject Alternative Name: ?\n\s+URI:urn:vouchsafe:carrier:swift-crane\n/)
  t.match(text, /Authority Key Identifier/)
  t.match(text, /Subject Key Identifier/)
  t.equal(text.match(/X509v3 (?!extensions)/g)?.length, 6)
  t.equal(text.match(/Signature Algorithm: ecdsa-with-SHA256/g)?.length, 2)
  const read = new X509Certificate(der)
  t.same(new X509Certificate(pem).raw, der)
  t.match(pem, /^-----BEGIN CERTIFICATE-----\n([\w+/]{64}\n)+[\w+/=]{1,64}\n-----END CERTIFICATE-----\n$/)
  t.equal(read.subjectAltName, `URI:${carrierUri(carrier)}`, 'as the carrier listener reads it')
  t.match(checkClientCertificate(der, loadAnchors([ca.caCertificate])), { carrier, notAfterMs })
  t.equal(read.serialNumber, serial)
  t.equal(read.validFromDate.getTime(), nowMs - hourMs)
  t.equal(read.validToDate.getTime(), notAfterMs)
  t.equal(notAfterMs, nowMs + 90 * dayMs)
})

t.test('from the request by OpenSSL to a certificate that goes with the carrier’s key', async (t) => {
  const key = write(openssl('genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256'))
  const bytes = Buffer.from(openssl(`req -new -key ${key} -subj /CN=${carrier}`))
  const { pem } = await issue({ spki: (await checkRequest({ bytes, carrier })).spki })
  t.ok(new X509Certificate(pem).checkPrivateKey(createPrivateKey(readFileSync(file(key)))))
})

t.test('a certificate never outlives its CA nor begins before it', async (t) => {
  const short = await makeCa({ notBeforeMs: nowMs - 1000, notAfterMs: nowMs + 5 * dayMs })
  const cut = await issue(short)
  t.equal(cut.notAfterMs, nowMs + 5 * dayMs)
  t.equal(new X509Certificate(cut.der).validToDate.getTime(), cut.notAfterMs)
  t.equal(new X509Certificate(cut.der).validFromDate.getTime(), nowMs - 1000)
  t.match(verifyLine(short, write(cut.pem)), { ok: true })
  t.equal((await issue({ ...short, lifeDays: 1 })).notAfterMs, nowMs + dayMs)
  t.equal((await issue({ ...short, lifeDays: 3650 })).notAfterMs, nowMs + 5 * dayMs)
  const late = await makeCa({ notAfterMs: Date.UTC(2060, 0, 1) })
  const beyond2049 = await issue({ ...late, nowMs: Date.UTC(2049, 11, 31), lifeDays: 30 })
  t.equal(beyond2049.notAfterMs, Date.UTC(2050, 0, 30), 'UTCTime ends with 2049')
})

t.test('parts of a second are dropped', async (t) => {
  const { der, notAfterMs } = await issue({ nowMs: nowMs + 999 })
  t.equal(notAfterMs, nowMs + 90 * dayMs)
  t.equal(new X509Certificate(der).validToDate.getTime(), notAfterMs)
})

t.test('serials are positive, of 16 bytes, and never the same; 300 signatures hold', async (t) => {
  const key = new X509Certificate(ca.caCertificate).publicKey
  const serials = new Set<string>()
  for (let i = 0; i < 300; i++) {
    const { der, serial } = await issue()
    if (!new X509Certificate(der).verify(key)) t.fail(der.toString('hex'))
    if (!/^[4-7][0-9A-F]{31}$/.test(serial)) t.fail(serial)
    serials.add(serial)
  }
  t.equal(serials.size, 300)
})

t.test('a CA by OpenSSL is good too, whatever its name is made of', async (t) => {
  const subjects = [
    '/O=Invented/CN=CA',
    '/CN=CA',
    '/C=CN/O=云汀/CN=承运商',
    '/DC=x/O=A+OU=B/emailAddress=a@b.example',
  ]
  for (const subject of subjects) {
    const own = opensslCa(subject)
    const { pem, der } = await issue({ ...own, nowMs: laterMs })
    t.match(verifyLine(own, write(pem)), { ok: true })
    const organization = /O=(.*?)[/+]/.exec(subject)?.[1] ?? 'Vouchsafe'
    t.equal(new X509Certificate(der).subject, `O=${organization}\nCN=${carrier}`)
  }
})

const refusals: [about: string, given: () => Parameters<typeof issue>[0] | Promise<Ca>, message: RegExp][] = [
  ['an id with capitals', () => ({ carrier: 'Swift' }), /"Swift" is no carrier\. Fix:/],
  ['an id with a line', () => ({ carrier: 'swift\ncrane' }), /"swift\\ncrane" is no carrier/],
  ['no life', () => ({ lifeDays: 0 }), /life of 0 days .* Fix:/],
  ['too long a life', () => ({ lifeDays: 3651 }), /life of 3651 days/],
  ['half a day', () => ({ lifeDays: 0.5 }), /life of 0\.5 days/],
  ['a life that is no number', () => ({ lifeDays: Number.NaN }), /life of NaN days/],
  [
    'the key of another CA',
    async () => ({ ...ca, caKey: (await makeCa()).caKey }),
    /key is not that of the carrier CA.*Fix:/,
  ],
  ['a public key', () => ({ caKey: p256.publicKey }), /key is not that/],
  ['an RSA key', () => ({ caKey: rsa.privateKey }), /key is not that/],
  ['a CA that has ended', () => makeCa({ notAfterMs: nowMs }), /good from .* to .*Z; it is .*Fix:/],
  ['a CA that has not begun', () => makeCa({ notBeforeMs: nowMs + 1000 }), /good from/],
  [
    'a CA that may not sign lists',
    async () => opensslCa('/CN=CA', 'keyCertSign'),
    /not a CA for certificates and/,
  ],
  ['a CA on P-384', async () => opensslCa('/CN=CA', 'keyCertSign,cRLSign', 'P-384'), /not P-256.*Fix:/],
  ['a leaf as CA', leafAsCa, /not a CA/],
  [
    'a CA that is named as the carrier',
    () => makeCa({ commonName: carrier }),
    /would refuse .* name_collision: /,
  ],
  ['a cut CA', () => ({ caCertificate: ca.caCertificate.subarray(1) }), /carrier CA is not accepted: .*Fix:/],
]
async function leafAsCa(): Promise<Ca> {
  const issuer = { certificateDer: ca.caCertificate, privateKey: ca.caKey }
  const leaf = await makeTlsLeaf(issuer, { ...life, commonName: 'x', use: 'client', names: {} })
  return { caCertificate: leaf.certificateDer, caKey: leaf.privateKey }
}
for (const [about, given, message] of refusals) {
  t.test(`nothing is issued: ${about}`, async (t) => {
    const error = await issue(await given()).catch((error) => error)
    t.type(error, IssueRefused)
    t.match(error.message, message)
  })
}

t.test('nothing is issued for a key that no request may have', async (t) => {
  const keys: [reason: string, spki: Buffer][] = [
    ['rsa_small', spkiOf(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey)],
    ['curve', spkiOf(generateKeyPairSync('ec', { namedCurve: 'secp384r1' }).publicKey)],
    ['key_type', spkiOf(generateKeyPairSync('ed25519').publicKey)],
    ['key_malformed', Buffer.concat([spki, Buffer.of(0)])],
    ['key_malformed', Buffer.alloc(0)],
  ]
  for (const [reason, bad] of keys) await t.rejects(issue({ spki: bad }), { name: 'KeyRefused', reason })
  t.ok(new KeyRefused('curve', 'x') instanceof Error)
})

// Lists.

const firstList = (by: Ca, number = 1, serials: string[] = []) =>
  makeTlsCrl(
    { certificateDer: by.caCertificate, privateKey: by.caKey },
    {
      thisUpdateMs: nowMs - dayMs,
      nextUpdateMs: nowMs + dayMs,
      number,
      revoked: serials.map((serial) => ({ serial: Buffer.from(serial, 'hex'), atMs: nowMs - 2 * dayMs })),
    },
  )
const add = (
  list: Buffer,
  serials: string[],
  given: Partial<Parameters<typeof addToRevocationList>[0]> = {},
) => addToRevocationList({ ...ca, list, serials, nowMs, ...given })

const first = await firstList(ca, 1, ['41AA'])

/** The list as OpenSSL prints it, its signature checked. */
function textOf(list: Buffer, by: Ca = ca): string {
  const name = pemOf('crl', list)
  const out = openssl(`crl -in ${name} -CAfile ${pemOf('x509', by.caCertificate)} -verify -noout -text`)
  return out.includes('verify OK') ? out : `not verified: ${out}`
}
const serialsIn = (text: string) => [...text.matchAll(/Serial Number: ([0-9A-F]+)/g)].map((match) => match[1])

t.test('a revoked certificate is refused by OpenSSL and the gateway’s list, others are not', async (t) => {
  const [good, bad] = [await issue(), await issue()]
  const list = await add(await firstList(ca), [bad.serial])
  const name = pemOf('crl', list)
  const checked = `-purpose sslclient -crl_check -CRLfile ${name}`
  t.match(verifyLine(ca, write(good.pem), checked), { ok: true })
  t.match(verifyLine(ca, write(bad.pem), checked), { ok: false, out: /certificate revoked/ })
  const read = parseCrl(list, loadAnchors([ca.caCertificate]))
  t.ok(read.has(Buffer.from(bad.serial, 'hex')))
  t.notOk(read.has(Buffer.from(good.serial, 'hex')))
  t.ok(read.isFresh(nowMs + 30 * dayMs))
  t.notOk(read.isFresh(nowMs + 30 * dayMs + 1))
})

t.test(
  'the next list has the next number, the old entries as they were, and the new ones once',
  async (t) => {
    const seventh = await firstList(ca, 7, ['41AA', '42BB'])
    const list = await add(seventh, ['7F', '42bb', '0080', '7f', 'FFFF'.repeat(10), 'abc'])
    const text = textOf(list)
    t.match(text, /Version 2/)
    t.match(text, /CRL Number: ?\s+8\n/)
    t.match(text, /Authority Key Identifier/)
    t.match(text, /Signature Algorithm: ecdsa-with-SHA256/)
    t.same(serialsIn(text), ['41AA', '42BB', '7F', '80', 'FFFF'.repeat(10), '0ABC'])
    const dates = [...text.matchAll(/Revocation Date: (.*)/g)].map((match) => Date.parse(match[1] as string))
    t.same(
      dates,
      [-2, -2, 0, 0, 0, 0].map((days) => nowMs + days * dayMs),
    )
    t.match(list.toString('hex'), /301202017f170d[0-9a-f]{26}30/, 'no extensions, nor an empty list of them')
  },
)

t.test('lists follow one another without end: numbers of any length, entries of any number', async (t) => {
  for (const [number, next] of [
    [1, 2],
    [127, 128],
    [255, 256],
    [65_535, 65_536],
    [2 ** 40, 2 ** 40 + 1],
  ] as const) {
    const hex = next.toString(16).toUpperCase()
    const text = textOf(await add(await firstList(ca, number), ['41']))
    const shown = /CRL Number: ?\s+(0x)?([0-9A-F]+)/.exec(text)
    t.ok([hex, String(next)].includes((shown?.[2] ?? '').replace(/^0(?=.)/, '')), `${number}: ${shown?.[2]}`)
  }
  let list = await firstList(ca)
  for (let i = 0; i < 20; i++) list = await add(list, [(0x4100 + i).toString(16)])
  t.match(textOf(list), /CRL Number: ?\s+21\n/)
  t.equal(serialsIn(textOf(list)).length, 20)
  const many = Array.from({ length: 2000 }, (_, i) => `51${i.toString(16).padStart(30, '0')}`)
  const long = await add(await add(list, many), ['61'])
  t.equal(serialsIn(textOf(long)).length, 2021)
})

t.test('a clock that is a little behind makes no list that gateways would pass over', async (t) => {
  const list = await add(first, ['42'], { nowMs: nowMs - dayMs - 5000 })
  t.equal(parseCrl(list, loadAnchors([ca.caCertificate])).thisUpdateMs, nowMs - dayMs)
  t.same(serialsIn(textOf(list)), ['41AA', '42'])
})

t.test('without serials a list is renewed, and a serial already listed changes nothing else', async (t) => {
  const empty = textOf(await add(await firstList(ca), []))
  t.match(empty, /No Revoked Certificates/)
  t.match(empty, /CRL Number: ?\s+2\n/)
  const again = textOf(await add(first, ['41aa'], { lifeDays: 2 }))
  t.same(serialsIn(again), ['41AA'])
  t.equal(Date.parse(/Next Update: (.*)/.exec(again)?.[1] ?? ''), nowMs + 2 * dayMs)
  t.equal(Date.parse(/Last Update: (.*)/.exec(again)?.[1] ?? ''), nowMs)
})

const keyid = 'authorityKeyIdentifier = keyid'
/** A list by `openssl ca -gencrl`, with the reasons of its entries; `extensions` for the list. */
function opensslList(by: Ca, extensions = keyid, numbered = true): Buffer {
  const home = `${++made}.ca`
  mkdirSync(file(home))
  const date = `${new Date(nowMs - dayMs).toISOString().slice(2, 19).replace(/[-T:]/g, '')}Z`
  const row = (serial: string, why: string) => `R\t491231235959Z\t${date}${why}\t${serial}\tunknown\t/CN=x\n`
  writeFileSync(
    file(`${home}/index`),
    row('41AA', ',keyCompromise') + row('00C2', '') + row('43', ',superseded'),
  )
  writeFileSync(file(`${home}/number`), '0A\n')
  writeFileSync(file(`${home}/ca.key`), by.caKey.export({ format: 'pem', type: 'pkcs8' }))
  const own = [
    `database = ${home}/index`,
    'default_md = sha256',
    'crl_extensions = e',
    numbered ? `crlnumber = ${home}/number` : '',
  ]
  writeFileSync(file(`${home}/cnf`), ['[ca]', 'default_ca = c', '[c]', ...own, '[e]', extensions].join('\n'))
  const signer = `-cert ${pemOf('x509', by.caCertificate)} -keyfile ${home}/ca.key`
  openssl(`ca -gencrl -config ${home}/cnf ${signer} -crldays 5 -out ${home}/list`)
  openssl(`crl -in ${home}/list -outform DER -out ${home}/der`)
  return readFileSync(file(`${home}/der`))
}

t.test('a list by OpenSSL is gone on from, and the reasons of its entries stay', async (t) => {
  for (const by of [ca, opensslCa('/C=CN/O=云汀/CN=承运商')]) {
    const text = textOf(await add(opensslList(by), ['44'], { ...by, nowMs: laterMs }), by)
    t.match(text, /CRL Number: ?\s+11\n/)
    t.same(serialsIn(text), ['43', 'C2', '41AA', '44'])
    t.match(text, /: 43.*Superseded.*: C2.*: 41AA.*Key Compromise.*: 44/s)
    t.equal(text.match(/CRL entry extensions/g)?.length, 2, 'none where there were none')
  }
})

const scope = 'issuingDistributionPoint = critical,@i\n[i]\nonlyuser = TRUE'
const altered = () => Buffer.from(first.toString('hex').replace('41aa', '40aa'), 'hex')
const noList: [about: string, make: () => Promise<Buffer>, message: RegExp][] = [
  ['a list of another CA', async () => add(await firstList(await makeCa()), []), /not by this CA\. Fix:/],
  ['an altered list', () => add(altered(), []), /not by this CA/],
  ['a list for some certificates', () => add(opensslList(ca, scope), []), /critical extension/],
  ['a list without a number', () => add(opensslList(ca, keyid, false), []), /it has no number/],
  ['a certificate as list', () => add(ca.caCertificate, []), /revocation list is not accepted: .* Fix:/],
  ['bytes after the list', () => add(Buffer.concat([first, Buffer.of(0)]), []), /trailing bytes/],
  ['no list', () => add(Buffer.alloc(0), []), /cut short/],
  ['a list of tomorrow', () => add(first, [], { nowMs: nowMs - dayMs - 5001 }), /now is earlier\. Fix:/],
  ['no life', () => add(first, [], { lifeDays: 0 }), /life of 0 days/],
  ['the key of another', () => add(first, [], { caKey: p256.privateKey }), /not that of the carrier CA/],
]
const badSerial = /The serial ".*" is not 1 to 40 hex digits above zero\. Fix: .*openssl x509 -noout -serial/
for (const bad of ['', '0', '00', 'xyz', '41:AA', '-1', '0x41', ' 41', '1'.repeat(41)]) {
  noList.push([`the serial "${bad}"`, () => add(first, ['41', bad]), badSerial])
}
for (const [about, make, message] of noList) {
  t.test(`no list is made: ${about}`, async (t) => {
    const error = await make().catch((error) => error)
    t.type(error, IssueRefused)
    t.match(error.message, message)
  })
}
