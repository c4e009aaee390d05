// The certificate of a carrier, and the lists that revoke it (PROTOCOL sections 2 and 3; RFC 5280).
// It knows no file, no clock and no registry; what it has made it reads back and checks before it gives it out.
import 'reflect-metadata'
import { createPublicKey, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto'
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
  onlyChild,
  positiveInteger,
  readDer,
  tags,
  wholeBits,
} from '../base/der.ts'
import { cursorAt } from '../base/der-cursor.ts'
import { limits } from '../base/limits.ts'
import { printPem } from '../base/pem.ts'
import { type Anchor, loadAnchors } from './anchors.ts'
import { carrierUri, importCarrierKey, isCarrierId } from './carrier-key.ts'
import { causes } from './causes.ts'
import { oids, parseCertificate, parseExtensions, type UnverifiedCertificate } from './certificate.ts'
import { findIssuer } from './chain.ts'
import { checkClientCertificate } from './client-certificate.ts'
import { parseCrl } from './revocation.ts'
import { p256 } from './suites.ts'

// The CA.

/** What the CA does not do; `message` says why, which value, and what to do. */
export class IssueRefused extends Error {}

type Authority = { certificate: UnverifiedCertificate; anchor: Anchor; key: KeyObject }

/** A CA that the gateway would take as such, in force now, with its private key. */
function openAuthority(given: { caCertificate: Buffer; caKey: KeyObject; nowMs: number }): Authority {
  const { caCertificate, caKey, nowMs } = given
  const anchor = readAnchor(caCertificate)
  const certificate = parseCertificate(caCertificate)
  if (caKey.type !== 'private' || !spkiOf(caKey).equals(anchor.spki)) {
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

const spkiOf = (key: KeyObject) => createPublicKey(key).export({ format: 'der', type: 'spki' })

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
  return { der, pem: printPem('CERTIFICATE', der), serial: new X509Certificate(der).serialNumber, notAfterMs }
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
  assert(findIssuer(certificate, [by.anchor], p256) !== undefined, 'a new certificate is not by its CA')
  assert(certificate.spki.equals(meant.spki), 'a new certificate has another key')
  assert(certificate.serial.equals(meant.serial), 'a new certificate has another serial')
  assert(certificate.notAfterMs <= by.certificate.notAfterMs, 'a new certificate outlives its CA')
  const seen = checkClientCertificate(der, [by.anchor])
  if (typeof seen !== 'string') return certificate
  throw new IssueRefused(`The gateway would refuse the certificate as ${seen}: ${causes[seen].says}`)
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
    if (!anchor.key.checkDer(tbs.raw, wholeBits(bits))) throw new DerError('it is not by this CA')
    const { thisUpdateMs } = parseCrl(der, [anchor])
    // Checked: it is a complete list of this CA. What follows nextUpdate is entries, if any, and extensions.
    const more = childrenOf(tbs, tags.sequence).slice(5)
    const extensions = parseExtensions(cursorAt(onlyChild(more.at(-1) as Der, context(0))))
    const number = extensions.get(oids.crlNumber)
    if (!number) throw new DerError('it has no number')
    const entries = more.length === 2 ? childrenOf(more[0] as Der, tags.sequence) : []
    return { thisUpdateMs, number: positiveInteger(readDer(number.value)), entries: indexOf(entries) }
  } catch (error) {
    const why = faultOf(error).message
    const fix = 'Fix: give the list in force of this carrier CA, DER.'
    throw new IssueRefused(`The revocation list is not accepted: ${why}. ${fix}`, { cause: error })
  }
}

const indexOf = (entries: readonly Der[]) => new Map(entries.map((entry) => [serialOf(entry), entry.raw]))
const serialOf = (entry: Der) => integerBytes(childrenOf(entry, tags.sequence)[0]).toString('hex')
