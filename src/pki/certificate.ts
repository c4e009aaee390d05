// X.509 certificates as this gateway's card side reads them (RFC 5280): parsed strictly, nothing believed yet.
import { context, DerError, tags } from '../base/der.ts'
import { type DerCursor, readForward } from '../base/der-cursor.ts'

export type Extension = { critical: boolean; value: Buffer }

export type UnverifiedCertificate = {
  raw: Buffer
  /** The signed bytes. */
  tbs: Buffer
  serial: Buffer
  /** Name with its head, compared as bytes. */
  issuer: Buffer
  subject: Buffer
  notBeforeMs: number
  notAfterMs: number
  spki: Buffer
  /** What `ReadAlgorithm` made of the signature's algorithm; the same inside and outside. */
  algorithm: string
  signature: Buffer
  extensions: ReadonlyMap<string, Extension>
}

/** OIDs as the hex of their bodies. */
export const oids = {
  ecdsaSha256: '2a8648ce3d040302', // 1.2.840.10045.4.3.2
  basicConstraints: '551d13',
  keyUsage: '551d0f',
  extKeyUsage: '551d25',
  privateKeyUsagePeriod: '551d10',
  subjectKeyId: '551d0e',
  authorityKeyId: '551d23',
  crlNumber: '551d14',
} as const

/** Reads an AlgorithmIdentifier: text that is equal for those that are to count as one. */
export type ReadAlgorithm = (cursor: DerCursor) => string

/** OID, hex, of an AlgorithmIdentifier whose parameters must be absent. Throws DerError. */
export function algorithmOid(cursor: DerCursor): string {
  const algorithm = cursor.into(tags.sequence)
  const oid = algorithm.oid()
  algorithm.finish()
  return oid
}

/** Throws DerError. */
export function parseExtensions(cursor: DerCursor): Map<string, Extension> {
  const extensions = new Map<string, Extension>()
  const list = cursor.into(tags.sequence)
  while (list.tag >= 0) {
    const item = list.into(tags.sequence)
    const oid = item.oid()
    const critical = item.trueIfThere()
    if (extensions.has(oid)) throw new DerError('extension given twice')
    extensions.set(oid, { critical, value: item.octets() })
    item.finish()
  }
  return extensions
}

/**
 * Parses a version 3 certificate.
 * @param readAlgorithm by default the strict form of cards
 * @throws DerError
 */
export const parseCertificate = (der: Buffer, readAlgorithm?: ReadAlgorithm): UnverifiedCertificate =>
  parseCertificateAt(readForward(der), readAlgorithm)

/** Parses the one that the cursor stands before. Throws DerError. */
export function parseCertificateAt(
  cursor: DerCursor,
  readAlgorithm: ReadAlgorithm = algorithmOid,
): UnverifiedCertificate {
  const raw = cursor.rawHere(tags.sequence)
  const certificate = cursor.into(tags.sequence)
  const tbs = certificate.rawHere(tags.sequence)
  const parts = certificate.into(tags.sequence)
  const version = parts.into(context(0))
  if (version.smallInteger() !== 2) throw new DerError('not version 3')
  version.finish()
  const serial = parts.integer()
  const algorithm = readAlgorithm(parts)
  const issuer = parts.raw(tags.sequence)
  const validity = parts.into(tags.sequence)
  const notBeforeMs = validity.certificateTime()
  const notAfterMs = validity.certificateTime()
  validity.finish()
  const subject = parts.raw(tags.sequence)
  const spki = parts.raw(tags.sequence)
  const explicit = parts.into(context(3))
  const extensions = parseExtensions(explicit)
  explicit.finish()
  parts.finish()
  if (readAlgorithm(certificate) !== algorithm) throw new DerError('two signature algorithms')
  const signature = certificate.wholeBits()
  certificate.finish()
  return {
    raw,
    tbs,
    serial,
    issuer,
    subject,
    notBeforeMs,
    notAfterMs,
    spki,
    algorithm,
    signature,
    extensions,
  }
}

/** Whether the certificate may sign certificates; undefined without basicConstraints. Throws DerError. */
export function isCa(certificate: UnverifiedCertificate): boolean | undefined {
  const extension = certificate.extensions.get(oids.basicConstraints)
  if (!extension) return undefined
  const constraints = readForward(extension.value).into(tags.sequence)
  return constraints.tag === tags.boolean && constraints.body(tags.boolean)[0] === 0xff
}

/** Hex of the keyUsage BIT STRING's body: unused bits, then bits (RFC 5280 section 4.2.1.3). Throws DerError. */
export function keyUsageHex(certificate: UnverifiedCertificate): string | undefined {
  const extension = certificate.extensions.get(oids.keyUsage)
  const usage = extension && readForward(extension.value)
  return usage?.tag === tags.bitString ? usage.body(tags.bitString).toString('hex') : undefined
}

const [notBeforeTag, notAfterTag] = [0x80, 0x81]

/** When the private key may sign (RFC 3280 section 4.2.1.4), Unix ms; both ends must be there. Throws DerError. */
export function usagePeriodMs(certificate: UnverifiedCertificate) {
  const extension = certificate.extensions.get(oids.privateKeyUsagePeriod)
  if (!extension) return undefined
  const period = readForward(extension.value).into(tags.sequence)
  if (period.tag !== notBeforeTag) return undefined
  const fromMs = period.generalizedTime(notBeforeTag)
  if (period.tag !== notAfterTag) return undefined
  const toMs = period.generalizedTime(notAfterTag)
  return period.tag < 0 ? { fromMs, toMs } : undefined
}
