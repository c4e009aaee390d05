// The document security object: CMS SignedData over an ICAO LDSSecurityObject, in the strict profile of
// PROTOCOL section 6 (RFC 5652, ICAO 9303-10). Parsed from the received bytes; no signature is checked here.
import {
  assertOrder,
  childrenOf,
  context,
  type Der,
  DerError,
  fixedChildren,
  integerBytes,
  octets,
  oidHex,
  onlyChild,
  readDer,
  smallInteger,
  tags,
  utcTimeMs,
} from '../base/der.ts'
import { algorithmOid, parseCertificateIn, type UnverifiedCertificate } from '../pki/certificate.ts'
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
  /** LDS hashes by data group. */
  hashes: ReadonlyMap<number, Buffer>
  /** signedAttrs with their tag [0]. */
  attributes: Buffer
  /** Present only if each is there once, in its form. */
  attributeValues: { contentType: string; messageDigest: Buffer; signedMs: number } | undefined
  signature: Buffer
}

function must(condition: boolean): asserts condition {
  if (!condition) throw new DerError('not of the profile')
}

/** Checks the profile of what `readDer` found to be DER. Throws DerError. */
export function parseSod(der: Der, suite: Suite): UnverifiedSod {
  const [type, explicit, ...rest] = childrenOf(der, tags.sequence)
  must(rest.length === 0 && explicit !== undefined && oidHex(type) === oids.signedData)
  const parts = childrenOf(onlyChild(explicit, context(0)), tags.sequence)
  must(parts.length === 5) // No CRLs, nothing optional left out.
  const [version, digests, encapsulated, certificates, signers] = parts as [Der, Der, Der, Der, Der]
  must(smallInteger(version) === 3)
  const digestList = childrenOf(digests, tags.set)
  must(digestList.length === 1 && algorithmOid(digestList[0]) === suite.digestOid)
  const content = parseEncapsulated(encapsulated)
  must(certificates.tag === context(0))
  const certificateList = childrenOf(certificates, context(0))
  must(certificateList.length === 1)
  const signer = parseCertificateIn(certificateList[0] as Der)
  const signerList = childrenOf(signers, tags.set)
  must(signerList.length === 1)
  const info = parseSignerInfo(signerList[0] as Der, signer, suite)
  return { signer, content, hashes: parseLds(content, suite), ...info }
}

function parseEncapsulated(element: Der): Buffer {
  const [type, explicit, ...rest] = childrenOf(element, tags.sequence)
  must(rest.length === 0 && explicit !== undefined && oidHex(type) === oids.ldsSecurityObject)
  return octets(onlyChild(explicit, context(0)))
}

function parseSignerInfo(element: Der, signer: UnverifiedCertificate, suite: Suite) {
  const parts = childrenOf(element, tags.sequence)
  must(parts.length === 6) // signedAttrs there, unsignedAttrs not.
  const [version, sid, digest, attributes, algorithm, signature] = parts as [Der, Der, Der, Der, Der, Der]
  must(smallInteger(version) === 1 && sid.tag === tags.sequence && attributes.tag === context(0))
  const [issuer, serial] = fixedChildren(sid, tags.sequence, 2) as [Der, Der]
  must(issuer.raw.equals(signer.issuer) && integerBytes(serial).equals(signer.serial))
  must(algorithmOid(digest) === suite.digestOid && algorithmOid(algorithm) === suite.signatureOid)
  return {
    attributes: attributes.raw,
    attributeValues: parseAttributes(attributes),
    signature: octets(signature),
  }
}

/** Exactly contentType, messageDigest and signingTime, each in its form; undefined otherwise. */
function parseAttributes(element: Der): UnverifiedSod['attributeValues'] {
  try {
    const found = attributesByType(element)
    if (found.size !== 3) return undefined
    return {
      contentType: oidHex(found.get(oids.contentType)),
      messageDigest: octets(found.get(oids.messageDigest)),
      signedMs: utcTimeMs(found.get(oids.signingTime)),
    }
  } catch (error) {
    if (error instanceof DerError) return undefined // Row 9 refuses by it, after the signer's row.
    throw error
  }
}

/** Each once, with one value, in the order of DER: under [0] the reader cannot know that this is a set. */
function attributesByType(element: Der): Map<string, Der> {
  const found = new Map<string, Der>()
  let last: Der | undefined
  for (const item of childrenOf(element, context(0))) {
    if (last) assertOrder(last, item)
    last = item
    const [type, values] = fixedChildren(item, tags.sequence, 2) as [Der, Der]
    const oid = oidHex(type)
    if (found.has(oid)) throw new DerError('attribute given twice')
    found.set(oid, onlyChild(values, tags.set))
  }
  return found
}

export const ldsContentType = oids.ldsSecurityObject

/** LDSSecurityObject version 0: hashes ascending, unique, of the suite's size. */
function parseLds(content: Buffer, suite: Suite): Map<number, Buffer> {
  const [version, algorithm, list] = fixedChildren(readDer(content), tags.sequence, 3) as [Der, Der, Der]
  must(smallInteger(version) === 0 && algorithmOid(algorithm) === suite.digestOid)
  const hashes = new Map<number, Buffer>()
  let last = 0
  for (const item of childrenOf(list, tags.sequence)) {
    const [group, hash] = fixedChildren(item, tags.sequence, 2) as [Der, Der]
    const number = smallInteger(group)
    must(number > last && number <= 16)
    must(octets(hash).length === suite.digestBytes)
    last = number
    hashes.set(number, hash.body)
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
