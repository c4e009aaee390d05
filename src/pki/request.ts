// A carrier's certificate request (PKCS#10, RFC 2986): which is accepted, and what a person is told about any other.
// Only its key is taken over. Names and uses that it asks for must be what a carrier gets anyway. Issuing is not here.
import { verify } from 'node:crypto'
import { sha256 } from '../base/bytes.ts'
import {
  childrenOf,
  context,
  type Der,
  DerError,
  fixedChildren,
  oidHex,
  onlyChild,
  readDer,
  smallInteger,
  tags,
  wholeBits,
} from '../base/der.ts'
import { cursorAt } from '../base/der-cursor.ts'
import { parseBase64 } from '../base/text.ts'
import { type CarrierKey, carrierUri, importCarrierKey, isCarrierId, KeyRefused } from './carrier-key.ts'
import { oids, parseExtensions } from './certificate.ts'

const requestBytesMax = 8 * 1024
type Fix = (carrier: string) => string

const newKeyCommand: Fix = (id) =>
  `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -keyout ${id}.key ` +
  `-out ${id}.csr -subj "/CN=${id}"`
const useNewKey: Fix = (id) => `Fix: make a new key and its request: ${newKeyCommand(id)}`
const askCommand: Fix = (id) => `openssl req -new -sha256 -key ${id}.key -out ${id}.csr -subj "/CN=${id}"`
const askAgain: Fix = (id) => `Fix: make the request anew, with the key there is: ${askCommand(id)}`
const sendOne: Fix = (id) => `Fix: send ${id}.csr alone and unchanged; if there is none: ${askCommand(id)}`
const leaked: Fix = (id) =>
  'That key must be considered leaked: destroy every copy of this file and of the message that brought it, ' +
  'use the key nowhere again, have every certificate of it revoked, and from now on send the .csr file only. ' +
  useNewKey(id)
const nameCarrier: Fix = () => 'Fix: give the id as "vouchsafe carrier list" shows it.'

/** Each reason with the way out: the closed set. */
const fixes = {
  carrier_malformed: nameCarrier,
  private_key: leaked,
  empty: sendOne,
  too_large: sendOne,
  not_a_request: sendOne,
  certificate: sendOne,
  public_key: sendOne,
  several_requests: sendOne,
  several_blocks: sendOne,
  pem_malformed: sendOne,
  trailing_bytes: sendOne,
  der_malformed: sendOne,
  version: askAgain,
  hash_weak: askAgain,
  algorithm: askAgain,
  key_type: useNewKey,
  key_malformed: useNewKey,
  curve: useNewKey,
  curve_explicit: useNewKey,
  point_compressed: useNewKey,
  point_invalid: useNewKey,
  rsa_small: useNewKey,
  rsa_large: useNewKey,
  rsa_exponent: useNewKey,
  rsa_weak: useNewKey,
  signature: askAgain,
  common_name: askAgain,
  subject: askAgain,
  attribute: askAgain,
  dns_name: askAgain,
  ip_name: askAgain,
  email_name: askAgain,
  other_name: askAgain,
  second_uri: askAgain,
  uri: askAgain,
  ca: askAgain,
  cert_sign: askAgain,
  key_usage: askAgain,
  server_auth: askAgain,
  extended_key_usage: askAgain,
  extension: askAgain,
} as const satisfies Record<string, Fix> & Record<KeyRefused['reason'], Fix>

export type RequestReason = keyof typeof fixes
export const requestReasons = Object.keys(fixes) as readonly RequestReason[]

/** A request that is not accepted: `reason` for code; `message` says what is wrong, the value, and the way out. */
export class RequestRefused extends Error {
  readonly reason: RequestReason
  constructor(reason: RequestReason, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'RequestRefused'
    this.reason = reason
  }
}

/** What is wrong, before the carrier's way out is added to it. */
class Fault extends Error {
  readonly reason: RequestReason
  constructor(reason: RequestReason, message: string) {
    super(message)
    this.reason = reason
  }
}

function refuse(reason: RequestReason, message: string): never {
  throw new Fault(reason, message)
}

/**
 * Checks a request and takes its key over.
 * @param given.bytes one request, PEM or DER; read only
 * @param given.carrier id of the carrier that it is for
 * @returns the key as SubjectPublicKeyInfo (DER, a copy), and its SHA-256
 * @throws RequestRefused and nothing else
 */
export async function checkRequest(given: {
  bytes: Buffer
  carrier: string
}): Promise<{ spki: Buffer; keyHash: Buffer }> {
  const { bytes, carrier } = given
  try {
    if (!isCarrierId(carrier))
      refuse('carrier_malformed', `The carrier id ${quote(carrier)} is not 2 to 32 of a-z, 0-9 and -.`)
    const request = parseRequest(readArmour(bytes))
    const algorithm = checkAlgorithm(request.algorithm)
    const key = importCarrierKey(request.spki.raw)
    checkSignature(request, algorithm, key)
    // From here on it is known that who holds the key wrote this.
    checkSubject(request.subject, carrier)
    checkAttributes(request.attributes, carrier)
    const spki = Buffer.from(request.spki.raw)
    return { spki, keyHash: sha256(spki) }
  } catch (error) {
    throw refusalOf(error, carrier)
  }
}

function refusalOf(error: unknown, carrier: string): unknown {
  if (error instanceof Fault || error instanceof KeyRefused) {
    return new RequestRefused(error.reason, `${error.message} ${fixes[error.reason](carrier)}`)
  }
  if (!(error instanceof DerError)) return error
  const reason = error.message === 'trailing bytes' ? 'trailing_bytes' : 'der_malformed'
  const what = `The request is not well formed (DER, RFC 2986): ${error.message}.`
  return new RequestRefused(reason, `${what} ${fixes[reason](carrier)}`, { cause: error })
}

/** Text of others for a person's eyes: cut, and without what would steer a terminal. */
const quote = (text: string) => `"${text.slice(0, 64).replace(/[\p{C}\u2028\u2029"]/gu, '?')}"`

// Length and shape.

const keyLookBytesMax = 64 * 1024
const keyWords = /PRIVATE KEY-----|PuTTY-User-Key-File|"d"\s*:\s*"/
const length = '(?:80|[0-7].|81..|82.{4}|83.{6})'
/** DER, in hex, of PKCS#8, PKCS#1, SEC 1, PKCS#12 and encrypted PKCS#8, as far as needed to tell them. */
const keyHead = new RegExp(
  `^30${length}(02010[01]30${length}06|02010002|02010104|02010330|30${length}06(092a864886f70d0105|0a2a864886f70d010c01))`,
)

/** Whether there is a private key in it, PEM, DER, bare base64 or UTF-16, whole or cut. */
function holdsPrivateKey(bytes: Buffer): boolean {
  const text = bytes.subarray(0, keyLookBytesMax).toString('latin1').replaceAll('\0', '')
  const bare = Buffer.from(text.slice(0, 128).replace(/\s/g, ''), 'base64')
  const isHead = (der: Buffer) => keyHead.test(der.toString('hex', 0, 48))
  return isHead(bytes) || isHead(bare) || keyWords.test(text)
}

const requestLabel = /^(NEW )?CERTIFICATE REQUEST$/
const onlyBlock =
  /^[ \t\r\n]*-----BEGIN ([A-Z ]+)-----[ \t]*\r?\n([A-Za-z0-9+/= \t\r\n]+)\n-----END \1-----[ \t\r\n]*$/

/** DER of the one request in `bytes`. */
function readArmour(bytes: Buffer): Buffer {
  if (holdsPrivateKey(bytes)) refuse('private_key', 'The file holds a private key, not a request.')
  if (bytes.length === 0) refuse('empty', 'The file is empty.')
  if (bytes.length > requestBytesMax)
    refuse('too_large', `The file has ${bytes.length} bytes; a request has at most ${requestBytesMax}.`)
  const text = bytes.toString('latin1')
  const labels = [...text.matchAll(/-----BEGIN ([^\r\n]{0,64}?)-----/g)].map((match) => match[1] as string)
  if (labels.length === 0) {
    if (bytes[0] === tags.sequence) return bytes
    refuse('not_a_request', `The file is neither PEM nor DER; it begins with ${quote(text.slice(0, 16))}.`)
  }
  checkLabels(labels)
  const der = parseBase64((onlyBlock.exec(text)?.[2] ?? '-').replace(/\s/g, ''))
  if (!der) refuse('pem_malformed', 'The PEM block is cut or altered, or other text stands around it.')
  return der
}

function checkLabels(labels: string[]): void {
  const requests = labels.filter((label) => requestLabel.test(label)).length
  const shown = labels.slice(0, 4).map(quote).join(', ')
  if (requests > 1 && requests === labels.length)
    refuse('several_requests', `The file holds ${requests} requests; it must hold one.`)
  if (requests > 0 && labels.length > 1)
    refuse('several_blocks', `The file holds ${labels.length} PEM blocks: ${shown}; one must be alone.`)
  if (requests === 1) return
  if (labels.some((label) => label.endsWith('CERTIFICATE'))) throw certificateFault()
  if (labels.some((label) => label.endsWith('PUBLIC KEY'))) throw publicKeyFault()
  refuse('not_a_request', `The file holds ${shown}, not a "CERTIFICATE REQUEST".`)
}

const certificateFault = () => new Fault('certificate', 'The file is a certificate, not a request for one.')
const publicKeyFault = () =>
  new Fault('public_key', 'The file is a public key, not a request signed with its private key.')

/** Read, nothing believed: not even that one hand made it. */
type UnverifiedRequest = {
  /** The signed bytes. */
  info: Buffer
  subject: Der
  spki: Der
  attributes: Der
  algorithm: Der
  signature: Buffer
}

/** CertificationRequest (RFC 2986 section 4). */
function parseRequest(der: Buffer): UnverifiedRequest {
  const [info, algorithm, bits, ...rest] = childrenOf(readDer(der), tags.sequence)
  if (!info || !algorithm) throw new DerError('it is not a request')
  const parts = childrenOf(info, tags.sequence)
  const isVersion1 = parts.length === 6 && parts[3]?.tag === tags.sequence
  if (parts[0]?.tag === context(0) || isVersion1) throw certificateFault()
  if (parts[0]?.tag === tags.oid && algorithm.tag === tags.bitString) throw publicKeyFault()
  const [version, subject, spki, attributes, ...more] = parts
  if (!subject || !spki || !attributes || more.length + rest.length > 0) {
    throw new DerError('it is not a request')
  }
  const number = smallInteger(version)
  if (number !== 0) refuse('version', `The version is ${number + 1}; only 1 is defined.`)
  return { info: info.raw, subject, spki, attributes, algorithm, signature: wholeBits(bits) }
}

// Policy, key, crypto.

type Algorithm = { hash: 'sha256' | 'sha384' | 'sha512'; kind: CarrierKey['kind'] }

/** AlgorithmIdentifiers in hex, parameters included: absent for ECDSA (RFC 5758), NULL for RSA (RFC 4055). */
const algorithms: Record<string, Algorithm> = {
  '300a06082a8648ce3d040302': { hash: 'sha256', kind: 'EC' },
  '300a06082a8648ce3d040303': { hash: 'sha384', kind: 'EC' },
  '300a06082a8648ce3d040304': { hash: 'sha512', kind: 'EC' },
  '300d06092a864886f70d01010b0500': { hash: 'sha256', kind: 'RSA' },
  '300d06092a864886f70d01010c0500': { hash: 'sha384', kind: 'RSA' },
  '300d06092a864886f70d01010d0500': { hash: 'sha512', kind: 'RSA' },
}

const weakHashes: Record<string, string> = {
  '2a8648ce3d0401': 'SHA-1',
  '2a864886f70d010105': 'SHA-1',
  '2b0e03021d': 'SHA-1',
  '2a864886f70d010104': 'MD5',
  '2a864886f70d010102': 'MD2',
}

/** Object identifiers that people meet, by the hex of their bodies. */
const known: Record<string, string> = {
  '2a864886f70d01010a': 'RSASSA-PSS',
  '2b6570': 'Ed25519',
  '2b6571': 'Ed448',
  '2a864886f70d010902': 'unstructuredName',
  '2a864886f70d010907': 'challengePassword',
  '55040a': 'O',
  '55040b': 'OU',
  '550406': 'C',
  '550407': 'L',
  '550408': 'ST',
  '551d0e': 'subjectKeyIdentifier',
  '551d20': 'certificatePolicies',
}
const nameOf = (oid: string) => known[oid] ?? `object identifier ${oid.slice(0, 32)} (hex)`

/** Before the key is touched. The kind of key is named first: a person knows that better than algorithms. */
function checkAlgorithm(element: Der): Algorithm {
  const found = algorithms[element.raw.toString('hex')]
  if (found) return found
  const [oid] = childrenOf(element, tags.sequence)
  const weak = weakHashes[oidHex(oid)]
  if (weak) refuse('hash_weak', `The request is signed over ${weak}; SHA-256, 384 or 512 is needed.`)
  const name = nameOf(oidHex(oid))
  if (name.startsWith('Ed')) refuse('key_type', `The key is ${name}; P-256 or RSA is needed.`)
  refuse('algorithm', `The signature is ${name}; ECDSA or RSA with SHA-256, 384 or 512 is needed.`)
}

/** Proof of possession: the request is signed by the key that it names (RFC 2986 section 3). */
function checkSignature(request: UnverifiedRequest, algorithm: Algorithm, { kind, key }: CarrierKey): void {
  if (algorithm.kind !== kind)
    refuse('algorithm', `The signature is ${algorithm.kind}, but the key is ${kind}.`)
  if (!verify(algorithm.hash, request.info, key, request.signature))
    refuse('signature', 'The signature is not by the key in the request, or the request was altered.')
}

// Meaning: what the holder of the key asks for. Nothing of it is taken over, so nothing may differ silently.

const commonName = '550403'
const emailAddress = '2a864886f70d010901'
/** UTF8String and PrintableString, the two that RFC 5280 leaves to new names. */
const nameStrings = [0x0c, 0x13]

/** The subject is empty, or one common name: the carrier's id. */
function checkSubject(subject: Der, carrier: string): void {
  const attributes = childrenOf(subject, tags.sequence).flatMap((rdn) => childrenOf(rdn, tags.set))
  for (const attribute of attributes) {
    const [type, value] = fixedChildren(attribute, tags.sequence, 2) as [Der, Der]
    const oid = oidHex(type)
    const text = value.body.toString()
    if (oid === emailAddress) refuse('email_name', `The subject names the address ${quote(text)}.`)
    if (oid !== commonName)
      refuse('subject', `The subject has ${nameOf(oid)} = ${quote(text)}; it may have CN alone.`)
    if (!nameStrings.includes(value.tag)) throw new DerError('the CN is no UTF8String or PrintableString')
    if (text !== carrier)
      refuse('common_name', `The subject has CN = ${quote(text)}; the carrier is ${quote(carrier)}.`)
  }
  if (attributes.length > 1) refuse('subject', 'The subject has its CN twice.')
}

const extensionRequest = '2a864886f70d01090e' // RFC 2985 section 5.4.2.

function checkAttributes(attributes: Der, carrier: string): void {
  const all = childrenOf(attributes, context(0))
  for (const attribute of all) {
    const [type, values] = fixedChildren(attribute, tags.sequence, 2) as [Der, Der]
    const oid = oidHex(type)
    if (oid !== extensionRequest) refuse('attribute', `The request has the attribute ${nameOf(oid)}.`)
    checkExtensions(onlyChild(values, tags.set), carrier)
  }
  if (all.length > 1) throw new DerError('extensions are asked for twice')
}

function checkExtensions(list: Der, carrier: string): void {
  for (const [oid, { value }] of parseExtensions(cursorAt(list))) {
    if (oid === subjectAltName) checkNames(readDer(value), carrier)
    else if (oid === oids.basicConstraints) checkConstraints(readDer(value))
    else if (oid === oids.keyUsage) checkKeyUsage(readDer(value))
    else if (oid === oids.extKeyUsage) checkExtendedKeyUsage(readDer(value))
    else refuse('extension', `The request asks for the extension ${nameOf(oid)}; no carrier gets that.`)
  }
}

const subjectAltName = '551d11'
/** GeneralName (RFC 5280 section 4.2.1.6). */
const nameTags = { email: 0x81, dns: 0x82, uri: 0x86, ip: 0x87 } as const

function checkNames(list: Der, carrier: string): void {
  const names = childrenOf(list, tags.sequence)
  if (names.length === 0) throw new DerError('the list of names is empty')
  for (const { tag, body } of names) {
    const text = quote(body.toString())
    if (tag === nameTags.dns) refuse('dns_name', `The request asks for the DNS name ${text}.`)
    if (tag === nameTags.email) refuse('email_name', `The request asks for the address ${text}.`)
    if (tag === nameTags.ip) {
      const ip = body.length === 4 ? body.join('.') : body.toString('hex', 0, 16)
      refuse('ip_name', `The request asks for the IP address ${ip}.`)
    }
    if (tag !== nameTags.uri)
      refuse('other_name', `The request asks for a name of kind ${tag & 0x1f}; only a URI may be.`)
  }
  if (names.length > 1) refuse('second_uri', `The request asks for ${names.length} URIs; one may be.`)
  const uri = names[0]?.body.toString() ?? ''
  const own = carrierUri(carrier)
  if (uri !== own)
    refuse('uri', `The request asks for the URI ${quote(uri)}; that of the carrier is "${own}".`)
}

function checkConstraints(element: Der): void {
  const [first] = childrenOf(element, tags.sequence)
  if (first?.tag === tags.boolean && first.body[0] === 0xff)
    refuse('ca', 'The request asks to be a CA (basicConstraints CA=true).')
  // `cA` is DEFAULT FALSE, which DER leaves out: only the empty SEQUENCE says CA=false.
  if (first) throw new DerError('basicConstraints must be empty to say CA=false')
}

const digitalSignatureOnly = '0780'
const keyCertSign = 0x04

function checkKeyUsage({ tag, body }: Der): void {
  if (tag !== tags.bitString) throw new DerError('keyUsage is not a bit string')
  if (((body[1] ?? 0) & keyCertSign) !== 0)
    refuse('cert_sign', 'The request asks for the key usage keyCertSign.')
  const hex = body.toString('hex')
  if (hex !== digitalSignatureOnly)
    refuse('key_usage', `The request asks for key usage bits ${hex}; only digitalSignature is given.`)
}

const clientAuth = '2b06010505070302'
const serverAuth = '2b06010505070301'

function checkExtendedKeyUsage(element: Der): void {
  const uses = childrenOf(element, tags.sequence)
  for (const use of uses) {
    const oid = oidHex(use)
    if (oid === serverAuth) refuse('server_auth', 'The request asks for serverAuth: to be a server.')
    if (oid !== clientAuth)
      refuse('extended_key_usage', `The request asks for the use ${nameOf(oid)}; only clientAuth is given.`)
  }
  if (uses.length !== 1) throw new DerError('extKeyUsage must name clientAuth once')
}
