// Requests of carriers, made by OpenSSL of every good and bad kind, and by hand where OpenSSL would not.
import { spawnSync } from 'node:child_process'
import { createHash, createPrivateKey, sign } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { checkRequest, type RequestReason, RequestRefused, requestReasons } from '../../src/pki/request.ts'
import { makeFolder } from '../helpers/folder.ts'

const carrier = 'swift-crane'
const uri = `urn:vouchsafe:carrier:${carrier}`
const folder = makeFolder()
t.teardown(() => folder.remove())
const file = (name: string) => join(folder.path, name)
let made = 0
/** Runs a command line of OpenSSL in the folder; its output. */
function openssl(line: string): Buffer {
  const run = spawnSync('openssl', line.split(' '), { cwd: folder.path, input: '' })
  if (run.status !== 0) throw new Error(`openssl ${line}: ${run.stderr}`)
  return run.stdout
}
/** Writes a file; its name. */
function write(bytes: Buffer | string): string {
  const name = `${++made}.given`
  writeFileSync(file(name), bytes)
  return name
}
const newKey = (options: string) => write(openssl(`genpkey ${options}`))
const ec = (curve: string, more = '') => newKey(`-algorithm EC -pkeyopt ec_paramgen_curve:${curve}${more}`)
const rsa = (bits: number, more = '') => newKey(`-algorithm RSA -pkeyopt rsa_keygen_bits:${bits}${more}`)
const p256 = ec('P-256')
const other = ec('P-256')
const rsa3072 = rsa(3072)
const keyOf = (name: string) => createPrivateKey(readFileSync(file(name)))
const spkiOf = (name: string) => openssl(`pkey -in ${name} -pubout -outform DER`)
const spkiOf256 = spkiOf(p256)
type Asked = { key?: string; subject?: string; ext?: string[]; attribute?: string; more?: string }

/** A request by OpenSSL, DER. An attribute comes with the subject of the configuration: -subj would leave it out. */
function csr({ key = p256, subject = '/', ext = [], attribute = '', more = '' }: Asked = {}): Buffer {
  const lines = ['[dn]', `CN = ${carrier}`, '[ext]', ...ext, '[attr]', attribute]
  const naming = attribute === '' ? 'string_mask = utf8only' : 'attributes = attr'
  const config = write(['[req]', 'distinguished_name = dn', 'prompt = no', naming, ...lines].join('\n'))
  const subjectAs = attribute === '' ? ` -subj ${subject}` : ''
  const extensions = ext.length > 0 ? ' -reqexts ext' : ''
  return openssl(`req -new -config ${config} -key ${key}${subjectAs}${extensions} -outform DER${more}`)
}
const ask = (...ext: string[]) => csr({ ext })
const rsaCsr = (more: string) => csr({ key: rsa3072, more })
const pem = (der: Buffer, label = 'CERTIFICATE REQUEST') =>
  `-----BEGIN ${label}-----\n${der.toString('base64').replace(/.{64}(?=.)/g, '$&\n')}\n-----END ${label}-----\n`
const check = (bytes: Buffer | string) => checkRequest({ bytes: Buffer.from(bytes as string), carrier })

// By hand, what OpenSSL does not make: DER, signed by keys of ours.

function der(tag: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  const n = body.length
  const size = n < 0x80 ? [n] : n < 0x100 ? [0x81, n] : [0x82, n >> 8, n & 0xff]
  return Buffer.concat([Buffer.of(tag, ...size), body])
}
const hex = (text: string) => Buffer.from(text, 'hex')
const seq = (...parts: Buffer[]) => der(0x30, ...parts)
const set = (...parts: Buffer[]) => der(0x31, ...parts)
const oid = (body: string) => der(0x06, hex(body))
const bits = (...parts: Buffer[]) => der(0x03, Buffer.of(0), ...parts)
const algorithm = (body: string, parameters = '') => seq(oid(body), hex(parameters))
const ecdsaSha256 = algorithm('2a8648ce3d040302')
const rsaSha256 = algorithm('2a864886f70d01010b', '0500')
const cn = (text: string, tag = 0x0c) => set(seq(oid('550403'), der(tag, Buffer.from(text))))

type Parts = { version?: number; subject?: Buffer; spki?: Buffer; attributes?: Buffer; algorithm?: Buffer }
const signWith = (key: string, info: Buffer) => sign('sha256', info, keyOf(key))

function byHand(parts: Parts = {}, signer = (info: Buffer) => signWith(p256, info)): Buffer {
  const { version = 0, subject = seq(), spki = spkiOf256, attributes = der(0xa0) } = parts
  const info = seq(der(2, Buffer.of(version)), subject, spki, attributes)
  return seq(info, parts.algorithm ?? ecdsaSha256, bits(signer(info)))
}
const asking = (...ext: Buffer[]) => der(0xa0, seq(oid('2a864886f70d01090e'), set(seq(...ext))))
const extension = (id: string, value: string) => seq(oid(id), der(0x04, hex(value)))
const notCa = extension('551d13', '3000')
const twice = der(0xa0, asking(notCa).subarray(2), asking(notCa).subarray(2))
const askByHand = (...ext: Buffer[]) => byHand({ attributes: asking(...ext) })

const integer = (value: bigint) => {
  const body = hex(value.toString(16).padStart(2 * Math.ceil(value.toString(16).length / 2), '0'))
  return der(0x02, Buffer.alloc(body.readUInt8(0) >> 7), body)
}
const rsaKey = (n: bigint, e: bigint, parameters = '0500') =>
  seq(algorithm('2a864886f70d010101', parameters), bits(seq(integer(n), integer(e))))
/** A request for an RSA key with this modulus, not signed by it: the key is judged before the signature. */
const forRsa = (n: bigint, e = 65_537n) => byHand({ spki: rsaKey(n, e), algorithm: rsaSha256 })
/** A modulus of so many bits that no prime below 1000 divides. */
function modulus(length: number): bigint {
  let n = 2n ** BigInt(length - 1) + 1n
  while (Array.from({ length: 998 }, (_, i) => BigInt(i + 2)).some((d) => n % d === 0n)) n += 2n
  return n
}

const all = [
  `subjectAltName = URI:${uri}`,
  'keyUsage = critical, digitalSignature',
  'extendedKeyUsage = clientAuth',
  'basicConstraints = critical, CA:FALSE',
]
const own = `/CN=${carrier}`

const good: [about: string, make: () => Buffer | string, key?: string][] = [
  ['nothing asked for, DER', () => csr()],
  ['PEM', () => pem(csr())],
  ['PEM with the older label', () => pem(csr(), 'NEW CERTIFICATE REQUEST')],
  ['PEM with CRLF and space around', () => `\r\n ${pem(csr()).replaceAll('\n', '\r\n')}\r\n`],
  ['the carrier as CN, UTF8String', () => csr({ subject: own })],
  ['the carrier as CN, PrintableString', () => byHand({ subject: seq(cn(carrier, 0x13)) })],
  ['the URI', () => ask(`subjectAltName = URI:${uri}`)],
  ['all that may be asked for', () => csr({ subject: own, ext: all })],
  ['ECDSA with SHA-384', () => csr({ more: ' -sha384' })],
  ['ECDSA with SHA-512', () => csr({ more: ' -sha512' })],
  ['RSA of 3072 bits', () => csr({ key: rsa3072, subject: own, ext: all }), rsa3072],
  ['RSA with SHA-384', () => rsaCsr(' -sha384'), rsa3072],
  ['RSA with SHA-512', () => pem(rsaCsr(' -sha512')), rsa3072],
]
for (const [about, make, key = p256] of good) {
  t.test(`accepted: ${about}`, async (t) => {
    const bytes = Buffer.from(make() as string)
    const before = Buffer.from(bytes)
    const { spki, keyHash } = await checkRequest({ bytes, carrier })
    t.same(bytes, before)
    bytes.fill(0)
    t.same(spki, spkiOf(key), 'a copy')
    t.same(keyHash, createHash('sha256').update(spkiOf(key)).digest())
  })
}

const selfSigned = (more = '') => openssl(`req -x509 -key ${p256} -subj ${own}${more}`)
const version1 = () => openssl(`x509 -req -in ${write(pem(csr({ subject: own })))} -signkey ${p256}`)
const keyText = () => readFileSync(file(p256), 'latin1')
const keyDer = (more = '') => openssl(`pkey -in ${p256} -outform DER${more}`)
const sealed = (more: string) => openssl(`pkcs8 -topk8 -in ${p256} -passout pass:invented${more}`)
const pkcs12 = () => openssl(`pkcs12 -export -in ${write(selfSigned())} -inkey ${p256} -passout pass:x`)
const utf16 = (text: string) => Buffer.from(`\ufeff${text}`, 'utf16le')
function withLast(bytes: Buffer, change = 1): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ change, bytes.length - 1)
  return copy
}
const explicit = () => csr({ key: ec('P-256', ' -pkeyopt ec_param_enc:explicit') })
const form = (form: string) => csr({ key: write(openssl(`ec -in ${p256} -conv_form ${form}`)) })
const negative = seq(algorithm('2a864886f70d010101', '0500'), bits(hex('3006020180020103')))
const twoParameters = seq(oid('2a8648ce3d0201'), oid('2a8648ce3d030107'), hex('0500'))
const plainRs = (info: Buffer) => sign('sha256', info, { key: keyOf(p256), dsaEncoding: 'ieee-p1363' })
const exponent = (e: number) => csr({ key: rsa(3072, ` -pkeyopt rsa_keygen_pubexp:${e}`) })

type Bad = [about: string, reason: RequestReason, make: () => Buffer | string, says?: RegExp]
const bad: Bad[] = [
  ['an empty file', 'empty', () => ''],
  ['more than 8 KiB', 'too_large', () => `${pem(csr())}${'\n'.repeat(8192)}`, /has \d{4} bytes; .* 8192/],
  ['text', 'not_a_request', () => 'Dear operator, please', /begins with "Dear operator, p"/],
  ['bare base64', 'not_a_request', () => csr().toString('base64')],
  ['PEM in UTF-16', 'not_a_request', () => utf16(pem(csr()))],
  ['another PEM block', 'not_a_request', () => pem(csr(), 'X509 CRL'), /"X509 CRL"/],
  ['a private key, PKCS#8', 'private_key', keyText],
  ['a private key, SEC 1', 'private_key', () => openssl(`ec -in ${p256}`)],
  ['a private key, PKCS#1', 'private_key', () => openssl(`rsa -in ${rsa3072} -traditional`)],
  ['a private key, encrypted', 'private_key', () => sealed('')],
  ['a private key, PKCS#8 DER', 'private_key', () => keyDer()],
  ['a private key, SEC 1 DER', 'private_key', () => keyDer(' -traditional')],
  ['a private key, PKCS#1 DER', 'private_key', () => openssl(`rsa -in ${rsa3072} -traditional -outform DER`)],
  ['a private key, encrypted DER', 'private_key', () => sealed(' -outform DER')],
  ['a private key, PKCS#12 encryption', 'private_key', () => sealed(' -outform DER -v1 PBE-SHA1-3DES')],
  ['a private key, DER and a newline', 'private_key', () => Buffer.concat([keyDer(), hex('0a')])],
  ['a private key, bare base64', 'private_key', () => keyDer().toString('base64')],
  ['a private key in UTF-16', 'private_key', () => utf16(keyText())],
  ['a cut private key', 'private_key', () => keyText().slice(0, 100)],
  ['a private key after the request', 'private_key', () => pem(csr()) + keyText()],
  ['a private key after 8 KiB', 'private_key', () => pem(csr()).repeat(30) + keyText()],
  ['a private key, JWK', 'private_key', () => JSON.stringify(keyOf(p256).export({ format: 'jwk' }))],
  ['a private key of PuTTY', 'private_key', () => 'PuTTY-User-Key-File-3: ecdsa-sha2-nistp256\n'],
  ['a private key with its certificate, PKCS#12', 'private_key', pkcs12],
  ['a public key', 'public_key', () => openssl(`pkey -in ${p256} -pubout`)],
  ['a public key, DER', 'public_key', () => spkiOf(p256)],
  ['a certificate', 'certificate', () => selfSigned()],
  ['a certificate, DER', 'certificate', () => selfSigned(' -outform DER')],
  ['a certificate of version 1', 'certificate', version1],
  ['a certificate labelled as a request', 'certificate', () => pem(selfSigned(' -outform DER'))],
  ['a chain', 'certificate', () => Buffer.concat([selfSigned(), selfSigned()])],
  ['two requests', 'several_requests', () => pem(csr()) + pem(csr()), /2 requests/],
  ['a request and a certificate', 'several_blocks', () => pem(csr()) + selfSigned()],
  ['text before the block', 'pem_malformed', () => `Our request:\n${pem(csr())}`],
  ['text after the block', 'pem_malformed', () => `${pem(csr())}Regards`],
  ['a block without end', 'pem_malformed', () => pem(csr()).slice(0, -10)],
  ['a character that is not base64', 'pem_malformed', () => pem(csr()).replace(/\n(.{10})./, '\n$1*')],
  ['too much padding', 'pem_malformed', () => pem(csr()).replace(/=*\n-----END/, '====\n-----END')],
  ['an encrypted block', 'pem_malformed', () => pem(csr()).replace('\n', '\nProc-Type: 4,ENCRYPTED\n\n')],
  ['bytes after the request', 'trailing_bytes', () => Buffer.concat([csr(), hex('00')])],
  ['bytes after the request, PEM', 'trailing_bytes', () => pem(Buffer.concat([csr(), hex('0500')]))],
  ['a cut request', 'der_malformed', () => csr().subarray(0, -1), /cut short/],
  ['BER', 'der_malformed', () => Buffer.concat([hex('3080'), csr().subarray(3), hex('0000')]), /indefinite/],
  ['no attributes at all', 'der_malformed', () => byHand({ attributes: Buffer.alloc(0) })],
  ['an element too many, signed', 'der_malformed', () => byHand({ attributes: hex('a0000500') })],
  ['an element too many, not signed', 'der_malformed', () => seq(byHand().subarray(3), hex('0500'))],
  ['version 2', 'version', () => byHand({ version: 1 }), /version is 2/],
  ['ECDSA with SHA-1', 'hash_weak', () => csr({ more: ' -sha1' }), /SHA-1;/],
  ['RSA with SHA-1', 'hash_weak', () => rsaCsr(' -sha1'), /SHA-1;/],
  ['RSA with MD5', 'hash_weak', () => rsaCsr(' -md5'), /MD5;/],
  ['ECDSA with SHA3-256', 'algorithm', () => csr({ more: ' -sha3-256' }), /identifier [0-9a-f]+ \(hex\);/],
  ['RSASSA-PSS', 'algorithm', () => rsaCsr(' -sigopt rsa_padding_mode:pss'), /PSS;/],
  ['ECDSA with parameters', 'algorithm', () => byHand({ algorithm: algorithm('2a8648ce3d040302', '0500') })],
  ['RSA for an EC key', 'algorithm', () => byHand({ algorithm: rsaSha256 }), /RSA, but the key is EC/],
  ['ECDSA for an RSA key', 'algorithm', () => byHand({ spki: spkiOf(rsa3072) }), /EC, but the key is RSA/],
  ['Ed25519', 'key_type', () => csr({ key: newKey('-algorithm ED25519') }), /Ed25519;/],
  ['Ed448', 'key_type', () => csr({ key: newKey('-algorithm ED448') }), /Ed448;/],
  ['an X25519 key', 'key_type', () => byHand({ spki: spkiOf(newKey('-algorithm X25519')) }), /2b656e/],
  ['P-384', 'curve', () => csr({ key: ec('P-384') }), /P-384;/],
  ['secp256k1', 'curve', () => csr({ key: ec('secp256k1') }), /secp256k1;/],
  ['brainpool', 'curve', () => csr({ key: ec('brainpoolP256r1') })],
  ['a curve spelled out', 'curve_explicit', explicit],
  ['a compressed point', 'point_compressed', () => form('compressed'), /form 0[23],/],
  ['a hybrid point', 'point_invalid', () => form('hybrid')],
  ['a point beside the curve', 'point_invalid', () => byHand({ spki: withLast(spkiOf(p256)) })],
  ['two parameters', 'key_malformed', () => byHand({ spki: seq(twoParameters, bits(Buffer.alloc(65, 4))) })],
  ['RSA without NULL', 'key_malformed', () => byHand({ spki: rsaKey(3n, 3n, '') })],
  ['a negative modulus', 'key_malformed', () => byHand({ spki: negative })],
  ['RSA of 2048 bits', 'rsa_small', () => csr({ key: rsa(2048) }), /2048 bits;/],
  ['RSA of 3071 bits', 'rsa_small', () => forRsa(modulus(3071)), /3071 bits;/],
  ['RSA of 3072 bits, not signed by it', 'signature', () => forRsa(modulus(3072))],
  ['RSA of 8192 bits, not signed by it', 'signature', () => forRsa(modulus(8192))],
  ['RSA of 8193 bits', 'rsa_large', () => forRsa(modulus(8193)), /8193 bits;/],
  ['RSA with exponent 3', 'rsa_exponent', () => exponent(3), /exponent 3;/],
  ['RSA with exponent 1', 'rsa_exponent', () => forRsa(modulus(3072), 1n), /exponent 1;/],
  ['RSA with an even modulus', 'rsa_weak', () => forRsa(modulus(3072) * 2n), /divisible by 2\./],
  ['RSA with a factor of 3', 'rsa_weak', () => forRsa(modulus(3072) * 3n), /divisible by 3\./],
  ['RSA with a factor of 997', 'rsa_weak', () => forRsa(modulus(3072) * 997n), /divisible by 997\./],
  ['an altered signature', 'signature', () => withLast(csr())],
  ['an altered RSA signature', 'signature', () => withLast(rsaCsr(''))],
  ['a signature by another key', 'signature', () => byHand({}, (info) => signWith(other, info))],
  ['the key of another', 'signature', () => byHand({ spki: spkiOf(other) })],
  ['another hash named', 'signature', () => byHand({ algorithm: algorithm('2a8648ce3d040303') })],
  ['no signature', 'signature', () => byHand({}, () => Buffer.alloc(0))],
  ['a signature of zeros', 'signature', () => byHand({}, () => hex('3006020100020100'))],
  ['a signature as r and s alone', 'signature', () => byHand({}, plainRs)],
  ['another CN', 'common_name', () => csr({ subject: '/CN=river-post' }), /"river-post"; .* "swift-crane"/],
  ['the CN and a zero', 'common_name', () => byHand({ subject: seq(cn(`${carrier}\0`)) }), /"swift-crane\?"/],
  ['the CN as BMPString', 'der_malformed', () => byHand({ subject: seq(cn(carrier, 0x1e)) }), /UTF8String/],
  ['a CN for a terminal', 'common_name', () => byHand({ subject: seq(cn('\x1b[2J\u202e')) }), /"\?\[2J\?"/],
  ['the CN twice', 'subject', () => csr({ subject: `${own}${own}` }), /twice/],
  ['an organization', 'subject', () => csr({ subject: `/O=Crane${own}` }), /O = "Crane"/],
  ['an address in the subject', 'email_name', () => csr({ subject: `${own}/emailAddress=a@example.com` })],
  [
    'a password',
    'attribute',
    () => csr({ attribute: 'challengePassword = invented' }),
    /challengePassword\./,
  ],
  ['a DNS name', 'dns_name', () => ask('subjectAltName = DNS:crane.example'), /"crane\.example"/],
  ['a DNS name beside the URI', 'dns_name', () => ask(`subjectAltName = URI:${uri},DNS:crane.example`)],
  ['an IP address', 'ip_name', () => ask('subjectAltName = IP:192.0.2.7'), /192\.0\.2\.7/],
  ['an IPv6 address', 'ip_name', () => ask('subjectAltName = IP:2001:db8::7'), /20010db8/],
  ['an address', 'email_name', () => ask('subjectAltName = email:a@example.com'), /"a@example\.com"/],
  ['another name', 'other_name', () => ask('subjectAltName = RID:1.2.3.4'), /kind 8/],
  ['a second URI', 'second_uri', () => ask(`subjectAltName = URI:${uri},URI:urn:x:y`), /2 URIs/],
  [
    'the URI of another',
    'uri',
    () => ask(`subjectAltName = URI:${uri}-2`),
    /URI "[a-z:-]+crane-2"; .*crane"\./,
  ],
  ['no name in the list', 'der_malformed', () => askByHand(extension('551d11', '3000'))],
  ['a CA', 'ca', () => ask('basicConstraints = critical, CA:TRUE'), /CA=true/],
  ['CA=false written out', 'der_malformed', () => askByHand(extension('551d13', '3003010100'))],
  ['keyCertSign', 'cert_sign', () => ask('keyUsage = digitalSignature, keyCertSign'), /keyCertSign/],
  ['keyEncipherment', 'key_usage', () => ask('keyUsage = digitalSignature, keyEncipherment'), /bits 05a0;/],
  ['serverAuth', 'server_auth', () => ask('extendedKeyUsage = clientAuth, serverAuth'), /serverAuth/],
  ['codeSigning', 'extended_key_usage', () => ask('extendedKeyUsage = codeSigning')],
  ['clientAuth twice', 'der_malformed', () => ask('extendedKeyUsage = clientAuth, clientAuth')],
  ['a key identifier', 'extension', () => ask('subjectKeyIdentifier = hash'), /subjectKeyIdentifier;/],
  ['must-staple', 'extension', () => ask('tlsfeature = status_request'), /2b06010505070118/],
  ['extensions asked for twice', 'der_malformed', () => byHand({ attributes: twice }), /asked for twice/],
  ['one extension twice', 'der_malformed', () => askByHand(notCa, notCa)],
]

const shown = new Map<RequestReason, string>()
for (const [about, reason, make, says] of bad) {
  t.test(`refused: ${about}`, async (t) => {
    const error = await check(make()).catch((error) => error)
    t.type(error, RequestRefused)
    t.equal(error.reason, reason, error.message)
    t.match(error.message, says ?? /./)
    t.match(error.message, /\. Fix: .*openssl req -new /)
    t.match(error.message, /^[^\p{C}]*$/u, 'one line that steers no terminal')
    shown.set(error.reason, error.message)
  })
}

t.test('the id of a carrier is looked at first, and never becomes part of a command', async (t) => {
  for (const id of ['', 'x', 'Swift-Crane', 'a;rm', '$(id)', 'a'.repeat(33)]) {
    const error = await checkRequest({ bytes: csr(), carrier: id }).catch((error) => error)
    t.equal(error.reason, 'carrier_malformed', id)
    t.notMatch(error.message, /openssl/)
    shown.set('carrier_malformed', error.message)
  }
})

t.test('every reason of the closed set has a case here', async (t) => {
  t.same([...shown.keys()].sort(), [...requestReasons].sort())
})

t.test('whoever pasted a private key is told that it leaked, and none of it is shown', async (t) => {
  const { message } = await check(keyText()).catch((error) => error)
  t.match(message, /must be considered leaked: .* have every certificate of it revoked/)
  for (const line of keyText().split('\n').slice(1, 3)) t.notOk(message.includes(line.slice(0, 16)))
})

t.test('the commands in the messages make a request that is accepted', async (t) => {
  const run = (message = '') => {
    const command = /openssl req -new .*$/.exec(message)?.[0].replaceAll('"', '') ?? ''
    openssl(command.replace(/^openssl /, ''))
    return readFileSync(file(`${carrier}.csr`))
  }
  const first = await check(run(shown.get('curve')))
  const again = await check(run(shown.get('uri')))
  t.same(again.spki, first.spki, 'the second with the key of the first')
})

/** Whether `bytes` are accepted; with the key that is meant then, or the test fails. */
async function accepts(t: { fail(message: string): void }, bytes: Buffer, meant: Buffer): Promise<boolean> {
  try {
    const { spki } = await check(bytes)
    if (!spki.equals(meant)) t.fail(`another key: ${bytes.toString('hex')}`)
    return true
  } catch (error) {
    if (!(error instanceof RequestRefused)) t.fail(`${error}: ${bytes.toString('hex')}`)
    return false
  }
}

/** `bytes` with each byte changed in nine ways, cut before it, and without it. */
function* spoil(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at++) {
    for (const change of [1, 2, 4, 8, 16, 32, 64, 128, 255]) {
      const copy = Buffer.from(bytes)
      copy.writeUInt8(bytes.readUInt8(at) ^ change, at)
      yield copy
    }
    yield bytes.subarray(0, at)
    yield Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)])
  }
}

for (const key of [p256, rsa3072]) {
  t.test(`no byte of a request can be another or be missing: ${keyOf(key).asymmetricKeyType}`, async (t) => {
    const request = csr({ key, subject: own, ext: all })
    const meant = spkiOf(key)
    t.ok(await accepts(t, request, meant), 'as it is')
    let accepted = 0
    for (const bytes of spoil(request)) if (await accepts(t, bytes, meant)) accepted++
    t.equal(accepted, 0)
    for (const bytes of spoil(Buffer.from(pem(request)))) if (await accepts(t, bytes, meant)) accepted++
    // The newlines within the base64 are idle, and the last one, which is both cut off and left out.
    t.equal(accepted, pem(request).split('\n').length - 2)
  })
}

t.test('no byte of what is asked for can be another, signed anew as it is then', async (t) => {
  const subject = seq(cn(carrier))
  const uriExtension = seq(oid('551d11'), der(4, seq(der(0x86, Buffer.from(uri)))))
  const uses = extension('551d25', '300a06082b06010505070302')
  const attributes = asking(uriExtension, notCa, extension('551d0f', '03020780'), uses)
  t.ok(await accepts(t, byHand({ subject, attributes }), spkiOf256), 'as it is')
  let accepted = 0
  for (const bytes of spoil(subject)) {
    if (await accepts(t, byHand({ subject: bytes, attributes }), spkiOf256)) accepted++
  }
  for (const bytes of spoil(attributes)) {
    if (await accepts(t, byHand({ subject, attributes: bytes }), spkiOf256)) accepted++
  }
  t.equal(accepted, 0)
})

t.test('whatever comes, it is refused with a reason', async (t) => {
  const request = csr({ subject: own, ext: all })
  const piece = fc.record({ at: fc.nat(request.length), size: fc.nat(40), to: fc.nat(request.length) })
  const moved = fc.array(piece, { minLength: 1, maxLength: 3 }).map((pieces) =>
    pieces.reduce((bytes, { at, size, to }) => {
      const part = request.subarray(at, at + size)
      return Buffer.concat([bytes.subarray(0, to), part, bytes.subarray(to + part.length)])
    }, request),
  )
  const noise = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes))
  const head = noise.map((bytes) => Buffer.concat([request.subarray(0, 9), bytes]))
  const armoured = noise.map((bytes) => Buffer.from(pem(bytes)))
  await fc.assert(
    fc.asyncProperty(fc.oneof(moved, noise, head, armoured), async (bytes) => {
      if (await accepts(t, bytes, spkiOf256)) t.ok(bytes.equals(request))
    }),
    { numRuns: 3000 },
  )
})
