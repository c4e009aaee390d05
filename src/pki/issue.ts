// Which key a carrier may have, its certificate, and the lists that revoke (PROTOCOL sections 2 and 3; RFC 5280).
// It knows no file, no clock and no registry; what it has made it reads back and checks before it gives it out.
import 'reflect-metadata'
import { createPublicKey, type KeyObject, randomBytes, sign, verify, X509Certificate } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import { assert } from '../base/assert.ts'
import { dayMs, hourMs } from '../base/clock.ts'
import {
  childrenOf,
  context,
  type Der,
  DerError,
  fixedChildren,
  integerBytes,
  oidHex,
  onlyChild,
  readDer,
  tags,
  wholeBits,
} from '../base/der.ts'
import { limits } from '../base/limits.ts'
import { importP256Spki } from '../base/p256.ts'
import { type Anchor, loadAnchors } from './anchors.ts'
import { causes } from './causes.ts'
import { oids, parseCertificate, parseExtensions, type UnverifiedCertificate } from './certificate.ts'
import { isTrusted } from './chain.ts'
import { checkClientCertificate } from './client-certificate.ts'
import { parseCrl } from './revocation.ts'

const carrierPattern = /^[a-z0-9-]{2,32}$/
/** Whether an id has the form of a carrier's (PROTOCOL section 1). */
export const isCarrierId = (carrier: string) => carrierPattern.test(carrier)
/** The name by which the gateway knows the certificate of a carrier (PROTOCOL section 2). */
export const carrierUri = (carrier: string) => `urn:vouchsafe:carrier:${carrier}`

// Keys that a carrier may have.

const rsaBitsMin = 3072
const rsaBitsMax = 8192
const ecPublicKey = '2a8648ce3d0201' // 1.2.840.10045.2.1
const prime256v1 = '2a8648ce3d030107' // 1.2.840.10045.3.1.7
const rsaEncryption = '2a864886f70d010101' // 1.2.840.113549.1.1.1

const keyNames: Record<string, string> = {
  '2b6570': 'Ed25519',
  '2b6571': 'Ed448',
  '2a864886f70d01010a': 'RSASSA-PSS',
  '2b81040022': 'P-384',
  '2b81040023': 'P-521',
  '2b8104000a': 'secp256k1',
}

export type KeyReason =
  | `key_${'type' | 'malformed'}`
  | `curve${'' | '_explicit'}`
  | `point_${'compressed' | 'invalid'}`
  | `rsa_${'small' | 'large' | 'exponent' | 'weak'}`

/** A key that no carrier may have; `message` says what is wrong with it, for a person. */
export class KeyRefused extends Error {
  readonly reason: KeyReason
  constructor(reason: KeyReason, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'KeyRefused'
    this.reason = reason
  }
}

export type CarrierKey = { kind: 'EC' | 'RSA'; key: KeyObject }

/**
 * Imports a key (SubjectPublicKeyInfo, DER): P-256 named and uncompressed, or RSA of 3072 to 8192 bits with 65537.
 * @throws KeyRefused
 */
export function importCarrierKey(spki: Buffer): CarrierKey {
  try {
    const [algorithm, bits] = fixedChildren(readDer(spki), tags.sequence, 2) as [Der, Der]
    const [oid, parameters, ...rest] = childrenOf(algorithm, tags.sequence)
    if (rest.length > 0) throw new DerError('more parameters than one')
    const kind = oidHex(oid)
    if (kind === ecPublicKey) return { kind: 'EC', key: importEc(spki, parameters, wholeBits(bits)) }
    if (kind === rsaEncryption) return { kind: 'RSA', key: importRsa(spki, parameters, wholeBits(bits)) }
    refuseKey('key_type', `The key is of the kind ${nameOf(kind)}; P-256 or RSA is needed.`)
  } catch (error) {
    if (!(error instanceof DerError)) throw error
    throw new KeyRefused('key_malformed', `The key is malformed: ${error.message}.`, { cause: error })
  }
}

const nameOf = (oid: string) => keyNames[oid] ?? `object identifier ${oid.slice(0, 32)} (hex)`

function refuseKey(reason: KeyReason, message: string): never {
  throw new KeyRefused(reason, message)
}

function importEc(spki: Buffer, curve: Der | undefined, point: Buffer): KeyObject {
  if (curve?.tag === tags.sequence)
    refuseKey('curve_explicit', 'The curve of the key is spelled out; it must be named, P-256.')
  const name = oidHex(curve)
  if (name !== prime256v1) refuseKey('curve', `The curve of the key is ${nameOf(name)}; P-256 is needed.`)
  const form = point[0]
  if (form === 2 || form === 3)
    refuseKey('point_compressed', `The point of the key is compressed (form 0${form}, not 04).`)
  return importP256Spki(spki) ?? refuseKey('point_invalid', 'The key is not an uncompressed point on P-256.')
}

function importRsa(spki: Buffer, parameters: Der | undefined, bits: Buffer): KeyObject {
  if (parameters?.tag !== tags.null) throw new DerError('the parameters of an RSA key must be NULL')
  const [n, e] = fixedChildren(readDer(bits), tags.sequence, 2) as [Der, Der]
  const [modulus, exponent] = [readPositive(n), readPositive(e)]
  const length = modulus.toString(2).length
  const needed = `${rsaBitsMin} to ${rsaBitsMax} are needed`
  if (length < rsaBitsMin) refuseKey('rsa_small', `The RSA key has ${length} bits; ${needed}.`)
  if (length > rsaBitsMax) refuseKey('rsa_large', `The RSA key has ${length} bits; ${needed}.`)
  const shown = exponent.toString().slice(0, 20)
  if (exponent !== 65_537n)
    refuseKey('rsa_exponent', `The RSA key has the public exponent ${shown}; 65537 is needed.`)
  const factor = smallPrimes.find((prime) => modulus % prime === 0n)
  if (factor) refuseKey('rsa_weak', `The modulus of the RSA key is divisible by ${factor}.`)
  return createPublicKey({ key: spki, format: 'der', type: 'spki' })
}

function readPositive(element: Der): bigint {
  const body = integerBytes(element)
  if (body.readUInt8(0) >= 0x80) throw new DerError('a number is negative')
  return BigInt(`0x${body.toString('hex')}`)
}

/** The primes below 1000. */
const smallPrimes = Array.from({ length: 998 }, (_, i) => i + 2)
  .filter((n, _, all) => all.every((divisor) => divisor * divisor > n || n % divisor !== 0))
  .map(BigInt)

// The CA.

/** What the CA does not do; `message` says why, which value, and what to do. */
export class IssueRefused extends Error {}

type Authority = { certificate: UnverifiedCertificate; anchor: Anchor; key: KeyObject }

/** A CA that the gateway would take as such, in force now, with its private key. */
function openAuthority(given: { caCertificate: Buffer; caKey: KeyObject; nowMs: number }): Authority {
  const { caCertificate, caKey, nowMs } = given
  const anchor = readAnchor(caCertificate)
  const certificate = parseCertificate(caCertificate)
  if (caKey.type !== 'private' || !createPublicKey(caKey).equals(anchor.key)) {
    throw new IssueRefused(
      'The key is not that of the carrier CA. Fix: give the .key and .crt of one making.',
    )
  }
  const { notBeforeMs, notAfterMs } = certificate
  if (nowMs < notBeforeMs || nowMs >= notAfterMs) {
    const [from, to, now] = [notBeforeMs, notAfterMs, nowMs].map((ms) => new Date(ms).toISOString())
    throw new IssueRefused(
      `The carrier CA is good from ${from} to ${to}; it is ${now}. Fix: set the clock, or make a new CA.`,
    )
  }
  return { certificate, anchor, key: caKey }
}

function readAnchor(caCertificate: Buffer): Anchor {
  try {
    return loadAnchors([caCertificate])[0] as Anchor
  } catch (error) {
    throw new IssueRefused(
      `The certificate of the carrier CA is not accepted: ${faultOf(error).message}. ` +
        'Fix: give the CA (P-256, keyCertSign and cRLSign) that made the certificates of the carriers so far.',
      { cause: error },
    )
  }
}

/** What a reader found wrong: messages of the card side speak of card issuers and have it as their cause. */
function faultOf(error: unknown): DerError {
  const fault = error instanceof Error && error.cause instanceof DerError ? error.cause : error
  if (fault instanceof DerError) return fault
  throw error
}

const floorSecond = (ms: number) => Math.floor(ms / 1000) * 1000
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const signingKeyOf = (key: KeyObject) => key.toCryptoKey(algorithm, false, ['sign'])
const authorityIdentifier = (anchor: Anchor) =>
  new x509.AuthorityKeyIdentifierExtension(anchor.keyId.toString('hex'))

function checkLife(lifeDays: number): void {
  if (Number.isSafeInteger(lifeDays) && lifeDays >= 1 && lifeDays <= 3650) return
  throw new IssueRefused(`A life of ${lifeDays} days cannot be. Fix: give a whole number from 1 to 3650.`)
}

// Certificates.

/** `serial` is hex as node's X509Certificate.serialNumber prints it. */
export type CarrierCertificate = { der: Buffer; pem: string; serial: string; notAfterMs: number }

/**
 * Issues a client certificate for a carrier's key, which checkRequest has taken over.
 * @param given.spki SubjectPublicKeyInfo, DER
 * @param given.nowMs Unix ms
 * @param given.lifeDays cut to the life of the CA
 * @throws IssueRefused or KeyRefused
 */
export async function issueCarrierCertificate(given: {
  caCertificate: Buffer
  caKey: KeyObject
  carrier: string
  spki: Buffer
  nowMs: number
  lifeDays?: number
}): Promise<CarrierCertificate> {
  const { carrier, nowMs, lifeDays = 90 } = given
  if (!isCarrierId(carrier)) {
    throw new IssueRefused(`${JSON.stringify(carrier)} is no carrier. Fix: see "vouchsafe carrier list".`)
  }
  checkLife(lifeDays)
  const spki = Buffer.from(given.spki)
  importCarrierKey(spki)
  const authority = openAuthority(given)
  const ca = authority.certificate
  const serial = randomSerial()
  const made = await x509.X509CertificateGenerator.create({
    serialNumber: serial.toString('hex'),
    subject: subjectOf(carrier, ca),
    issuer: new x509.Name(ca.subject),
    // A little early: two machines never agree to the second.
    notBefore: new Date(Math.max(floorSecond(nowMs - hourMs), ca.notBeforeMs)),
    notAfter: new Date(Math.min(floorSecond(nowMs + lifeDays * dayMs), ca.notAfterMs)),
    publicKey: new x509.PublicKey(spki),
    signingKey: signingKeyOf(authority.key),
    signingAlgorithm: algorithm,
    extensions: await extensionsOf(carrier, spki, authority.anchor),
  })
  const der = Buffer.from(made.rawData)
  const { notAfterMs } = readBack(der, authority, { serial, spki })
  return { der, pem: printPem(der), serial: new X509Certificate(der).serialNumber, notAfterMs }
}

/** 16 bytes, positive and of full length: 126 random bits (RFC 5280 section 4.1.2.2). */
function randomSerial(): Buffer {
  const serial = randomBytes(16)
  serial.writeUInt8((serial.readUInt8(0) & 0x3f) | 0x40, 0)
  return serial
}

/** The CA's own organization, so that the certificates of a development CA say that they are. */
function subjectOf(carrier: string, ca: UnverifiedCertificate): x509.Name {
  const [organization = 'Vouchsafe'] = new x509.Name(ca.subject).getField('O')
  return new x509.Name([{ O: [{ utf8String: organization }] }, { CN: [{ utf8String: carrier }] }])
}

const extensionsOf = async (carrier: string, spki: Buffer, anchor: Anchor) => [
  new x509.BasicConstraintsExtension(false, undefined, true),
  new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
  new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
  new x509.SubjectAlternativeNameExtension([{ type: x509.URL, value: carrierUri(carrier) }]),
  authorityIdentifier(anchor),
  await x509.SubjectKeyIdentifierExtension.create(new x509.PublicKey(spki)),
]

/** What the library made is what was meant, and the carrier listener will take it. */
function readBack(der: Buffer, by: Authority, meant: { serial: Buffer; spki: Buffer }) {
  const certificate = parseCertificate(der)
  assert(isTrusted(certificate, [by.anchor], 1), 'a new certificate is not by its CA')
  assert(certificate.spki.equals(meant.spki), 'a new certificate has another key')
  assert(certificate.serial.equals(meant.serial), 'a new certificate has another serial')
  assert(certificate.notAfterMs <= by.certificate.notAfterMs, 'a new certificate outlives its CA')
  const seen = checkClientCertificate(der, [by.anchor])
  if (typeof seen !== 'string') return certificate
  throw new IssueRefused(`The gateway would refuse the certificate as ${seen}: ${causes[seen].says}`)
}

/** RFC 7468. */
function printPem(der: Buffer): string {
  const lines = der.toString('base64').replace(/.{64}(?=.)/g, '$&\n')
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`
}

// Revocation lists.

/**
 * Makes the list that follows `list`: number + 1, its entries as they are, and the new serials with the time of now.
 * A serial that is listed already keeps its entry. Without serials the list is only renewed.
 * @param given.list the list in force, DER; it must be by this CA
 * @param given.serials hex, as node prints them
 * @returns DER
 * @throws IssueRefused
 */
export async function addToRevocationList(given: {
  caCertificate: Buffer
  caKey: KeyObject
  list: Buffer
  serials: string[]
  nowMs: number
  lifeDays?: number
}): Promise<Buffer> {
  const { serials, nowMs, lifeDays = 30 } = given
  checkLife(lifeDays)
  const added = new Set(serials.map(readSerial))
  const authority = openAuthority(given)
  const present = readList(Buffer.from(given.list), authority.anchor)
  if (nowMs + limits.clockSkewS * 1000 < present.thisUpdateMs) {
    const fromText = new Date(present.thisUpdateMs).toISOString()
    throw new IssueRefused(`The list in force is of ${fromText}, and now is earlier. Fix: set the clock.`)
  }
  for (const serial of present.entries.keys()) added.delete(serial)
  // Never before the list in force: a gateway takes no list that is older than its own.
  const thisUpdate = printTime(Math.max(floorSecond(nowMs), present.thisUpdateMs))
  const nextUpdate = printTime(nowMs + lifeDays * dayMs)
  const entries = [...present.entries.values(), ...[...added].map((serial) => printEntry(serial, thisUpdate))]
  const der = signList(authority, [
    thisUpdate,
    nextUpdate,
    // An empty list is left out (RFC 5280 section 5.1.2.6).
    ...(entries.length > 0 ? [printDer(tags.sequence, ...entries)] : []),
    printDer(context(0), printDer(tags.sequence, ...listExtensions(authority, present.number + 1n))),
  ])
  const next = readList(der, authority.anchor)
  assert(next.number === present.number + 1n, 'a new list has another number')
  for (const serial of added) assert(next.entries.has(serial), 'a new list lacks a serial')
  for (const [serial, raw] of present.entries) {
    assert(next.entries.get(serial)?.equals(raw), 'a new list has lost or changed an entry')
  }
  return der
}

// Written by hand: the library cannot keep entries as they are, it gives each without extensions an empty list of them.

const ecdsaSha256 = Buffer.from('300a06082a8648ce3d040302', 'hex')

/** CertificateList (RFC 5280 section 5.1) of what follows the issuer. */
function signList({ certificate, key }: Authority, parts: Buffer[]): Buffer {
  const version2 = printInteger('1')
  const tbs = printDer(tags.sequence, version2, ecdsaSha256, certificate.subject, ...parts)
  const signature = printDer(tags.bitString, Buffer.of(0), sign('sha256', tbs, key))
  return printDer(tags.sequence, tbs, ecdsaSha256, signature)
}

function listExtensions({ anchor }: Authority, number: bigint): Buffer[] {
  const crlNumber = new x509.Extension('2.5.29.20', false, printInteger(number.toString(16)))
  return [authorityIdentifier(anchor), crlNumber].map((one) => Buffer.from(one.rawData))
}

/** An INTEGER above zero, from hex. */
const printInteger = (hex: string) => printDer(tags.integer, Buffer.from(readSerial(hex), 'hex'))
const printEntry = (serial: string, time: Buffer) => printDer(tags.sequence, printInteger(serial), time)

/** UTCTime until 2049, GeneralizedTime after (RFC 5280 section 5.1.2.4). */
function printTime(ms: number): Buffer {
  const text = new Date(ms).toISOString().replace(/[-T:]|\.\d+/g, '')
  if (text < '2050') return printDer(tags.utcTime, Buffer.from(text.slice(2)))
  return printDer(tags.generalizedTime, Buffer.from(text))
}

function printDer(tag: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  if (body.length < 0x80) return Buffer.concat([Buffer.of(tag, body.length), body])
  const size = Buffer.from(evenHex(body.length.toString(16)), 'hex')
  return Buffer.concat([Buffer.of(tag, 0x80 | size.length), size, body])
}

const evenHex = (digits: string) => (digits.length % 2 === 0 ? digits : `0${digits}`)

/** Body of the INTEGER, in hex, of a serial as node prints it. */
function readSerial(text: string): string {
  const digits = text.replace(/^0+/, '').toLowerCase()
  if (!/^[0-9a-f]{1,40}$/.test(digits)) {
    throw new IssueRefused(
      `The serial ${JSON.stringify(text.slice(0, 64))} is not 1 to 40 hex digits above zero. ` +
        'Fix: give it as "openssl x509 -noout -serial -in CERTIFICATE" prints it after the equal sign.',
    )
  }
  const even = evenHex(digits)
  return /^[89a-f]/.test(even) ? `00${even}` : even
}

/** A list of this CA; entries by their serial (body of its INTEGER, hex), as they stand there. */
type List = { thisUpdateMs: number; number: bigint; entries: Map<string, Buffer> }

function readList(der: Buffer, anchor: Anchor): List {
  try {
    const [tbs, , bits] = fixedChildren(readDer(der), tags.sequence, 3) as [Der, Der, Der]
    if (!verify('sha256', tbs.raw, anchor.key, wholeBits(bits))) throw new DerError('it is not by this CA')
    const { thisUpdateMs } = parseCrl(der, [anchor])
    // Checked: it is a complete list of this CA. What follows nextUpdate is entries, if any, and extensions.
    const more = childrenOf(tbs, tags.sequence).slice(5)
    const extensions = parseExtensions(onlyChild(more.at(-1) as Der, context(0)))
    const number = extensions.get(oids.crlNumber)
    if (!number) throw new DerError('it has no number')
    const entries = more.length === 2 ? childrenOf(more[0] as Der, tags.sequence) : []
    return { thisUpdateMs, number: readPositive(readDer(number.value)), entries: indexOf(entries) }
  } catch (error) {
    const why = faultOf(error).message
    const fix = 'Fix: give the list in force of this carrier CA, DER.'
    throw new IssueRefused(`The revocation list is not accepted: ${why}. ${fix}`, { cause: error })
  }
}

const indexOf = (entries: Der[]) => new Map(entries.map((entry) => [serialOf(entry), entry.raw]))
const serialOf = (entry: Der) => integerBytes(childrenOf(entry, tags.sequence)[0]).toString('hex')
