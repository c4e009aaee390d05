// EF.SOD of a passport: CMS SignedData over an LDSSecurityObject (ICAO 9303-10 section 4.6.2, RFC 5652). Strict DER as
// for cards, and as liberal as real passports need beyond it. No signature is checked here.
import {
  assertOrder,
  certificateTimeMs,
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
} from '../../base/der.ts'
import { oids as extensionOids, type UnverifiedCertificate } from '../../pki/certificate.ts'
import { type Digest, findDigest, parseDigest, parseScheme, type Scheme } from './algorithms.ts'
import { parsePassportCertificate } from './trust.ts'

const fileTag = 0x77
const certificatesMax = 4

/** OIDs as the hex of their bodies. */
const oids = {
  signedData: '2a864886f70d010702', // 1.2.840.113549.1.7.2
  ldsSecurityObject: '678108010101', // 2.23.136.1.1.1
  contentType: '2a864886f70d010903',
  messageDigest: '2a864886f70d010904',
  signingTime: '2a864886f70d010905',
} as const

export type UnverifiedEfSod = {
  signer: UnverifiedCertificate
  /** The LDS security object, as hashed by messageDigest. */
  content: Buffer
  /** Of the files. */
  fileDigest: Digest
  /** LDS hashes by data group. */
  hashes: ReadonlyMap<number, Buffer>
  /** Of the content; the scheme's as well. */
  digest: Digest
  scheme: Scheme
  /** signedAttrs with their tag [0]. */
  attributes: Buffer
  signature: Buffer
}

function must(condition: boolean): asserts condition {
  if (!condition) throw new DerError('not of the profile')
}

/** Checks the profile of what `readDer` found to be DER. Throws DerError. */
export function parseEfSod(file: Der): UnverifiedEfSod {
  const [type, explicit] = fixedChildren(onlyChild(file, fileTag), tags.sequence, 2) as [Der, Der]
  must(oidHex(type) === oids.signedData)
  const parts = childrenOf(onlyChild(explicit, context(0)), tags.sequence)
  must(parts.length === 5) // The signer's certificate is there, and no revocation lists.
  const [version, digests, encapsulated, certificates, signers] = parts as [Der, Der, Der, Der, Der]
  must(smallInteger(version) === 3)
  const content = parseEncapsulated(encapsulated)
  // Two SignerInfos, one of them good, would leave open which of them speaks for the passport.
  const info = parseSignerInfo(onlyChild(signers, tags.set))
  must(childrenOf(digests, tags.set).some((element) => findDigest(element) === info.digest))
  const list = childrenOf(certificates, context(0))
  must(list.length <= certificatesMax)
  const matching = list.map(({ raw }) => parsePassportCertificate(raw)).filter(info.isSigner)
  must(matching.length === 1)
  const [signer] = matching as [UnverifiedCertificate]
  const { digest, scheme, attributes, signature } = info
  return { signer, content, ...parseLds(content), digest, scheme, attributes, signature }
}

function parseEncapsulated(element: Der): Buffer {
  const [type, explicit] = fixedChildren(element, tags.sequence, 2) as [Der, Der]
  must(oidHex(type) === oids.ldsSecurityObject)
  return octets(onlyChild(explicit, context(0)))
}

function parseSignerInfo(element: Der) {
  const parts = childrenOf(element, tags.sequence)
  must(parts.length === 6) // signedAttrs there, unsignedAttrs not.
  const [version, sid, digestId, attributes, algorithm, signature] = parts as [Der, Der, Der, Der, Der, Der]
  must(attributes.tag === context(0))
  const digest = parseDigest(digestId)
  return {
    isSigner: signerNamed(smallInteger(version), sid),
    digest,
    scheme: parseScheme(algorithm, digest),
    attributes: attributes.raw,
    signature: octets(signature),
  }
}

const subjectKeyTag = 0x80 // [0] IMPLICIT OCTET STRING (RFC 5652 section 5.3).

/** Version 1 names the signer by issuer and serial, version 3 by its key identifier. */
function signerNamed(version: number, sid: Der): (certificate: UnverifiedCertificate) => boolean {
  if (version === 1) {
    const [issuer, serial] = fixedChildren(sid, tags.sequence, 2) as [Der, Der]
    const serialBytes = integerBytes(serial)
    return (one) => one.issuer.equals(issuer.raw) && one.serial.equals(serialBytes)
  }
  must(version === 3 && sid.tag === subjectKeyTag)
  return ({ extensions }) => {
    const id = extensions.get(extensionOids.subjectKeyId)
    return id !== undefined && octets(readDer(id.value)).equals(sid.body)
  }
}

/** LDSSecurityObject of version 0, or 1 with the versions of LDS and Unicode. */
function parseLds(content: Buffer): Pick<UnverifiedEfSod, 'fileDigest' | 'hashes'> {
  const parts = childrenOf(readDer(content), tags.sequence)
  const [version, algorithm, list, versions] = parts as [Der, Der, Der, Der | undefined]
  const number = smallInteger(version)
  must(number <= 1 && parts.length === 3 + number)
  if (versions) must(fixedChildren(versions, tags.sequence, 2).every(({ tag }) => tag === printableString))
  const fileDigest = parseDigest(algorithm)
  const hashes = new Map<number, Buffer>()
  for (const item of childrenOf(list, tags.sequence)) {
    const [group, hash] = fixedChildren(item, tags.sequence, 2) as [Der, Der]
    const of = smallInteger(group)
    must(of >= 1 && of <= 16 && !hashes.has(of) && octets(hash).length === fileDigest.bytes)
    hashes.set(of, hash.body)
  }
  must(hashes.has(1))
  return { fileDigest, hashes }
}
const printableString = 0x13

export type SignedAttributes = { contentType: string; messageDigest: Buffer; signedMs: number | undefined }

/** contentType and messageDigest, and signingTime if it is there; others are signed and mean nothing here. Throws DerError. */
export function parseAttributes(attributes: Buffer): SignedAttributes {
  const found = new Map<string, Der>()
  let last: Der | undefined
  // Under [0] the strict reader cannot know that this is a set.
  for (const item of childrenOf(readDer(attributes), context(0))) {
    if (last) assertOrder(last, item)
    last = item
    const [type, values] = fixedChildren(item, tags.sequence, 2) as [Der, Der]
    const oid = oidHex(type)
    if (found.has(oid)) throw new DerError('attribute given twice')
    found.set(oid, values)
  }
  const firstOf = (oid: string) => {
    const values = found.get(oid)
    return values && onlyChild(values, tags.set)
  }
  const time = firstOf(oids.signingTime)
  return {
    contentType: oidHex(firstOf(oids.contentType)),
    messageDigest: octets(firstOf(oids.messageDigest)),
    signedMs: time && certificateTimeMs(time),
  }
}

export const ldsContentType = oids.ldsSecurityObject
