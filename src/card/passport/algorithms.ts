// Digests and signatures that passports may have, as a closed table (ICAO 9303-12 section 4.4; RFC 4055, RFC 5754,
// RFC 5758). The algorithm is the one beside the signature, and bound to the kind of key that checks it.
import { constants, hash, verify } from 'node:crypto'
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
  smallInteger,
  tags,
} from '../../base/der.ts'
import type { EcKey, PassportKey, RsaKey } from './keys.ts'

export type Digest = { name: 'sha256' | 'sha384' | 'sha512'; oid: string; bytes: number }

/** OIDs as the hex of their bodies. */
export const sha256: Digest = { name: 'sha256', oid: '608648016503040201', bytes: 32 }
export const sha384: Digest = { name: 'sha384', oid: '608648016503040202', bytes: 48 }
export const sha512: Digest = { name: 'sha512', oid: '608648016503040203', bytes: 64 }
const digests: readonly Digest[] = [sha256, sha384, sha512]

export const hashWith = ({ name }: Digest, bytes: Buffer): Buffer => hash(name, bytes, 'buffer')

export type Scheme =
  | { kind: 'pkcs1'; digest: Digest }
  | { kind: 'pss'; digest: Digest; saltBytes: number }
  | { kind: 'ecdsa'; digest: Digest }

const oids = { rsaEncryption: '2a864886f70d010101', pss: '2a864886f70d01010a', mgf1: '2a864886f70d010108' }

/** Signature algorithms that name their digest: rsaEncryption and PSS do not. */
const schemes: ReadonlyMap<string, Scheme> = new Map([
  ['2a864886f70d01010b', { kind: 'pkcs1', digest: sha256 }],
  ['2a864886f70d01010c', { kind: 'pkcs1', digest: sha384 }],
  ['2a864886f70d01010d', { kind: 'pkcs1', digest: sha512 }],
  ['2a8648ce3d040302', { kind: 'ecdsa', digest: sha256 }],
  ['2a8648ce3d040303', { kind: 'ecdsa', digest: sha384 }],
  ['2a8648ce3d040304', { kind: 'ecdsa', digest: sha512 }],
])

function must<T>(value: T | undefined | false): asserts value is T {
  if (!value) throw new DerError('not an algorithm of passports')
}

/** OID of an AlgorithmIdentifier whose parameters, if any, are NULL: both are in use for the same thing. */
function plainOid(element: Der | undefined): string {
  must(element)
  const [oid, parameters, ...rest] = childrenOf(element, tags.sequence)
  must(rest.length === 0 && (!parameters || parameters.tag === tags.null))
  return oidHex(oid)
}

/** Undefined for a digest that is not in use here. Throws DerError. */
export function findDigest(element: Der | undefined): Digest | undefined {
  const oid = plainOid(element)
  return digests.find((digest) => digest.oid === oid)
}

/** @throws DerError */
export function parseDigest(element: Der | undefined): Digest {
  const digest = findDigest(element)
  must(digest)
  return digest
}

/**
 * @param digest the one beside it in a SignerInfo, which must be the same; a certificate has none
 * @throws DerError
 */
export function parseScheme(element: Der | undefined, digest?: Digest): Scheme {
  must(element)
  const oid = oidHex(childrenOf(element, tags.sequence)[0])
  const scheme = oid === oids.pss ? parsePss(element) : schemeNamed(plainOid(element), digest)
  must(!digest || scheme.digest === digest)
  return scheme
}

function schemeNamed(oid: string, digest: Digest | undefined): Scheme {
  // As RFC 3370 section 3.2 has it: the key's algorithm stands in for the signature's.
  if (oid === oids.rsaEncryption && digest) return { kind: 'pkcs1', digest }
  const scheme = schemes.get(oid)
  must(scheme)
  return scheme
}

const defaultSaltBytes = 20

/**
 * RSASSA-PSS-params (RFC 4055 section 3.1): one digest for message and mask, and a salt that is no longer than it.
 * What is left out is SHA-1 by default, which is not accepted; the trailer has one value, its default.
 */
function parsePss(element: Der): Scheme {
  const [, parameters] = fixedChildren(element, tags.sequence, 2) as [Der, Der]
  const [hashed, masked, salt, ...rest] = childrenOf(parameters, tags.sequence)
  must(hashed)
  must(masked)
  must(rest.length === 0)
  const digest = parseDigest(onlyChild(hashed, context(0)))
  const [mask, maskDigest] = fixedChildren(onlyChild(masked, context(1)), tags.sequence, 2) as [Der, Der]
  must(oidHex(mask) === oids.mgf1 && parseDigest(maskDigest) === digest)
  const saltBytes = salt ? smallInteger(onlyChild(salt, context(2))) : defaultSaltBytes
  must(saltBytes <= digest.bytes)
  return { kind: 'pss', digest, saltBytes }
}

/** Whether the key made the signature; false where scheme and key are not of one kind. */
export function checkSigned(
  message: Buffer,
  signature: Buffer,
  given: { scheme: Scheme; key: PassportKey },
): boolean {
  const { scheme, key } = given
  if (key.type === 'rsa') return scheme.kind !== 'ecdsa' && checkRsa(message, signature, { scheme, key })
  const raw = scheme.kind === 'ecdsa' ? rawOf(signature, key.curve.bytes) : undefined
  return raw !== undefined && checkPlain(message, raw, { digest: scheme.digest, key })
}

const rsaBytes = (key: RsaKey) => Math.ceil(key.bits / 8)

function checkRsa(
  message: Buffer,
  signature: Buffer,
  { scheme, key }: { scheme: Exclude<Scheme, { kind: 'ecdsa' }>; key: RsaKey },
): boolean {
  if (signature.length !== rsaBytes(key)) return false
  const { RSA_PKCS1_PADDING, RSA_PKCS1_PSS_PADDING } = constants
  const padding =
    scheme.kind === 'pss'
      ? { padding: RSA_PKCS1_PSS_PADDING, saltLength: scheme.saltBytes }
      : { padding: RSA_PKCS1_PADDING }
  return verify(scheme.digest.name, message, { key: key.key, ...padding }, signature)
}

/** A signature r||s, each as long as the curve's order (BSI TR-03111 section 5.2.1). */
export function checkPlain(
  message: Buffer,
  signature: Buffer,
  { digest, key }: { digest: Digest; key: EcKey },
): boolean {
  if (signature.length !== 2 * key.curve.bytes) return false
  return verify(digest.name, message, { key: key.key, dsaEncoding: 'ieee-p1363' }, signature)
}

/** r||s of an Ecdsa-Sig-Value in DER and nothing else, or undefined. */
function rawOf(signature: Buffer, bytes: number): Buffer | undefined {
  try {
    const numbers = fixedChildren(readDer(signature), tags.sequence, 2).map((part) => integerBytes(part))
    const out = Buffer.alloc(2 * bytes)
    for (const [i, body] of numbers.entries()) {
      const digits = body[0] === 0 ? body.subarray(1) : body
      if (body.readUInt8(0) >= 0x80 || digits.length > bytes) return undefined
      digits.copy(out, (i + 1) * bytes - digits.length)
    }
    return out
  } catch (error) {
    if (error instanceof DerError) return undefined
    throw error
  }
}
