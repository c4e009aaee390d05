// The document security object: CMS SignedData over an ICAO LDSSecurityObject, in the strict profile of
// PROTOCOL section 6 (RFC 5652, ICAO 9303-10). Parsed from the received bytes; no signature is checked here.
import { context, DerError, tags } from '../base/der.ts'
import { type DerCursor, readForward } from '../base/der-cursor.ts'
import { algorithmOid, parseCertificateAt, type UnverifiedCertificate } from '../pki/certificate.ts'
import type { Suite } from '../pki/suites.ts'

/** OIDs as the hex of their bodies. */
const oids = {
  signedData: '2a864886f70d010702', // 1.2.840.113549.1.7.2
  ldsSecurityObject: '678108010101', // 2.23.136.1.1.1
  contentType: '2a864886f70d010903',
  messageDigest: '2a864886f70d010904',
  signingTime: '2a864886f70d010905',
} as const

export type UnverifiedSod = {
  signer: UnverifiedCertificate
  /** The LDS security object, as hashed by messageDigest. */
  content: Buffer
  /** LDS hashes by data group, as `Suite.hashText` prints them. */
  hashes: ReadonlyMap<number, string>
  /** signedAttrs with their tag [0]. */
  attributes: Buffer
  /** Present only if each is there once, in its form. */
  attributeValues: { contentType: string; messageDigest: Buffer; signedMs: number } | undefined
  signature: Buffer
}

function must(condition: boolean): asserts condition {
  if (!condition) throw new DerError('not of the profile')
}

/** Checks the profile of what `readForward` found to be DER, which the cursor stands before. Throws DerError. */
export function parseSod(cursor: DerCursor, suite: Suite): UnverifiedSod {
  const message = cursor.into(tags.sequence)
  must(message.oid() === oids.signedData)
  const parts = message.intoOnly(context(0), tags.sequence)
  message.finish()
  must(parts.smallInteger() === 3)
  const digests = parts.into(tags.set)
  must(algorithmOid(digests) === suite.digestOid)
  digests.finish()
  const content = parseEncapsulated(parts)
  const certificates = parts.into(context(0))
  const signer = parseCertificateAt(certificates)
  certificates.finish()
  const info = parseSignerInfo(parts.intoOnly(tags.set, tags.sequence), signer, suite)
  parts.finish() // No CRLs, nothing optional left out.
  return { signer, content, hashes: parseLds(content, suite), ...info }
}

function parseEncapsulated(parts: DerCursor): Buffer {
  const encapsulated = parts.into(tags.sequence)
  must(encapsulated.oid() === oids.ldsSecurityObject)
  const explicit = encapsulated.into(context(0))
  encapsulated.finish()
  const content = explicit.octets()
  explicit.finish()
  return content
}

function parseSignerInfo(info: DerCursor, signer: UnverifiedCertificate, suite: Suite) {
  must(info.smallInteger() === 1)
  const sid = info.into(tags.sequence)
  must(sid.raw(tags.sequence).equals(signer.issuer) && sid.integer().equals(signer.serial))
  sid.finish()
  must(algorithmOid(info) === suite.digestOid)
  const attributes = info.rawHere(context(0)) // There, and unsignedAttrs not.
  const attributeValues = parseAttributes(info.into(context(0)))
  must(algorithmOid(info) === suite.signatureOid)
  const signature = info.octets()
  info.finish()
  return { attributes, attributeValues, signature }
}

/** Exactly contentType, messageDigest and signingTime, each in its form; undefined otherwise. */
function parseAttributes(attributes: DerCursor): UnverifiedSod['attributeValues'] {
  try {
    return readAttributes(attributes)
  } catch (error) {
    if (error instanceof DerError) return undefined // Row 9 refuses by it, after the signer's row.
    throw error
  }
}

/** Each once, with one value, in the order of DER: under [0] the strict pass cannot know that this is a set. */
function readAttributes(attributes: DerCursor): UnverifiedSod['attributeValues'] {
  let contentType: string | undefined
  let messageDigest: Buffer | undefined
  let signedMs: number | undefined
  while (attributes.tag >= 0) {
    const attribute = attributes.intoNextOfSet(tags.sequence)
    const type = attribute.oid()
    const values = attribute.into(tags.set)
    attribute.finish()
    if (type === oids.contentType && contentType === undefined) contentType = values.oid()
    else if (type === oids.messageDigest && messageDigest === undefined) messageDigest = values.octets()
    else if (type === oids.signingTime && signedMs === undefined) signedMs = values.utcTime()
    else return undefined // Given twice, or none of the three.
    values.finish()
  }
  if (contentType === undefined || messageDigest === undefined || signedMs === undefined) return undefined
  return { contentType, messageDigest, signedMs }
}

export const ldsContentType = oids.ldsSecurityObject

/** LDSSecurityObject version 0: hashes ascending, unique, of the suite's size. */
function parseLds(content: Buffer, suite: Suite): Map<number, string> {
  const lds = readForward(content).into(tags.sequence)
  must(lds.smallInteger() === 0 && algorithmOid(lds) === suite.digestOid)
  const list = lds.into(tags.sequence)
  lds.finish()
  const hashes = new Map<number, string>()
  let last = 0
  while (list.tag >= 0) {
    const item = list.into(tags.sequence)
    const number = item.smallInteger()
    const hash = item.octetText()
    item.finish()
    must(number > last && number <= 16 && hash.length === suite.digestBytes)
    last = number
    hashes.set(number, hash)
  }
  must(hashes.has(1) && hashes.has(14) && hashes.has(15))
  return hashes
}

/** signedAttrs as they were signed: the SET tag in place of [0] (RFC 5652 section 5.4). */
export function signedBytesOf(attributes: Buffer): Buffer {
  const bytes = Buffer.from(attributes)
  bytes[0] = tags.set
  return bytes
}
