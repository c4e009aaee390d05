// Whether a certificate is one that a carrier may come with: stricter than OpenSSL, which let its chain pass
// (RFC 5280; PROTOCOL sections 2, 3). Time and revocation are the caller's question, with every request.
import { createPublicKey, verify, X509Certificate } from 'node:crypto'
import { childrenOf, DerError, oidHex, readDer, tags } from '../base/der.ts'
import { importP256Spki } from '../base/p256.ts'
import type { Anchors } from './anchors.ts'
import type { CertificateCause } from './causes.ts'
import { isCa, keyUsageHex, oids, parseCertificate, type UnverifiedCertificate } from './certificate.ts'

export type ClientCertificate = {
  carrier: string
  /** Body of the INTEGER. */
  serial: Buffer
  notBeforeMs: number
  notAfterMs: number
}

const certificateBytesMax = 16 * 1024
const rsaBitsMin = 3072
const rsaExponentMin = 65_537n

const subjectAltName = '551d11'
const clientAuth = '2b06010505070302' // 1.3.6.1.5.5.7.3.2
const uriTag = 0x86 // [6] IMPLICIT IA5String (RFC 5280 section 4.2.1.6).
const carrierUri = /^urn:vouchsafe:carrier:([a-z0-9-]{2,32})$/
// First byte of the bits of keyUsage (RFC 5280 section 4.2.1.3).
const digitalSignature = 0x80
const keyCertSign = 0x04

/** ecdsa-with-SHA256, -SHA384 and -SHA512: the carrier CA's key is P-256. */
const hashes: Record<string, string> = {
  [oids.ecdsaSha256]: 'sha256',
  '2a8648ce3d040303': 'sha384',
  '2a8648ce3d040304': 'sha512',
}

const known = new Set<string>([oids.basicConstraints, oids.keyUsage, oids.extKeyUsage, subjectAltName])

/**
 * @param der the certificate as the socket has it
 * @param issuers the carrier CA, or several in overlap; with none nobody is let in
 * @returns who it is for, or why it is refused
 */
export function checkClientCertificate(der: Buffer, issuers: Anchors): ClientCertificate | CertificateCause {
  if (der.length > certificateBytesMax) return 'malformed'
  try {
    const certificate = parseCertificate(der)
    return (
      refuseUse(certificate) ??
      refuseKey(certificate) ??
      refuseIssuer(certificate, issuers) ??
      refuseNamesake(der) ??
      read(certificate)
    )
  } catch (error) {
    if (error instanceof DerError) return 'malformed'
    throw error
  }
}

/** What it is for. Throws DerError. */
function refuseUse(certificate: UnverifiedCertificate): CertificateCause | undefined {
  const { serial, extensions } = certificate
  // A list holds positive serials of at most 20 bytes (RFC 5280 section 4.1.2.2): no other could be revoked.
  if (serial.length > 20 || serial.readUInt8(0) >= 0x80 || serial.every((byte) => byte === 0))
    return 'malformed'
  const usage = extensions.has(oids.keyUsage) ? usageBits(certificate) : digitalSignature
  if (isCa(certificate) || (usage & keyCertSign) !== 0) return 'is_ca'
  if ((usage & digitalSignature) === 0) return 'wrong_key_usage'
  const uses = extensions.get(oids.extKeyUsage)
  const forClients =
    uses && childrenOf(readDer(uses.value), tags.sequence).some((use) => oidHex(use) === clientAuth)
  if (!forClients) return 'not_for_clients'
  for (const [oid, { critical }] of extensions) if (critical && !known.has(oid)) return 'unknown_extension'
  return undefined
}

function usageBits(certificate: UnverifiedCertificate): number {
  const hex = keyUsageHex(certificate)
  if (hex === undefined) throw new DerError('keyUsage malformed')
  return Buffer.from(hex, 'hex')[1] ?? 0
}

function refuseKey({ spki }: UnverifiedCertificate): CertificateCause | undefined {
  return importP256Spki(spki) || isStrongRsa(spki) ? undefined : 'weak_key'
}

function isStrongRsa(spki: Buffer): boolean {
  try {
    const key = createPublicKey({ key: spki, format: 'der', type: 'spki' })
    const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {}
    return key.asymmetricKeyType === 'rsa' && modulusLength >= rsaBitsMin && publicExponent >= rsaExponentMin
  } catch {
    return false // A key that OpenSSL cannot read is no key.
  }
}

/** Issued by the carrier CA itself: OpenSSL would take a chain, and a CA that the client brought with it. */
function refuseIssuer(certificate: UnverifiedCertificate, issuers: Anchors): CertificateCause | undefined {
  const hash = hashes[certificate.algorithm]
  if (!hash) return 'weak_signature'
  const named = issuers.filter((issuer) => issuer.subject.equals(certificate.issuer))
  if (named.length === 0) return 'wrong_ca'
  const { tbs, signature } = certificate
  const signed = named.some(({ spki }) => {
    const key = importP256Spki(spki) // Carriers may be signed over more than SHA-256, so not in a suite.
    return key !== undefined && verify(hash, tbs, key, signature)
  })
  return signed ? undefined : 'bad_signature'
}

/** Named like its issuer, as OpenSSL compares: two encodings of one name are the same (RFC 5280 section 7.1). */
function refuseNamesake(der: Buffer): CertificateCause | undefined {
  const { subject, issuer } = new X509Certificate(der)
  return foldName(subject) === foldName(issuer) ? 'name_collision' : undefined
}
const foldName = (name = '') => name.toLowerCase().replace(/[^\S\n]+/g, ' ')

/** From here on the carrier CA vouches for it. Throws DerError. */
function read({
  extensions,
  serial,
  notBeforeMs,
  notAfterMs,
}: UnverifiedCertificate): ClientCertificate | CertificateCause {
  const extension = extensions.get(subjectAltName)
  const names = extension ? childrenOf(readDer(extension.value), tags.sequence) : []
  if (names.length > 1) return 'several_names'
  const [name] = names
  const carrier = name?.tag === uriTag ? carrierUri.exec(name.body.toString('latin1'))?.[1] : undefined
  if (carrier === undefined) return 'wrong_name'
  return { carrier, serial: Buffer.from(serial), notBeforeMs, notAfterMs }
}

/** Hex as openssl and node print a serial. */
export const printSerial = (serial: Buffer) =>
  (serial.length > 1 && serial[0] === 0 ? serial.subarray(1) : serial).toString('hex').toUpperCase()
