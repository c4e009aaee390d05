// P-256 public keys as we accept them, and our r||s signatures (PROTOCOL section 1; FIPS 186-5, RFC 5480).
import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto'

/** SubjectPublicKeyInfo of an uncompressed P-256 point, up to the 04 of the point (RFC 5480). */
export const p256SpkiPrefix = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex')
export const p256SpkiBytes = 91
export const p256SignatureBytes = 64

/** Imports a key only in the one accepted form: 91 bytes with the exact prefix and a point on the curve. */
export function importP256Spki(spki: Buffer): KeyObject | undefined {
  if (spki.length !== p256SpkiBytes || !spki.subarray(0, p256SpkiPrefix.length).equals(p256SpkiPrefix)) {
    return undefined
  }
  try {
    return createPublicKey({ key: spki, format: 'der', type: 'spki' })
  } catch {
    return undefined // The point is not on the curve: a key that does not exist.
  }
}

/** Prints the 91-byte SPKI of a P-256 key (public, or the public half of a private one). */
export function printP256Spki(key: KeyObject): Buffer {
  const half = key.type === 'private' ? createPublicKey(key) : key
  return half.export({ format: 'der', type: 'spki' })
}

/** Signs with ECDSA-SHA256; 64 bytes r||s. */
export const signP256 = (key: KeyObject, message: Uint8Array) =>
  sign('sha256', message, { key, dsaEncoding: 'ieee-p1363' })

/** Checks a 64-byte r||s; node:crypto refuses r or s outside 1..n-1. */
export const checkP256 = (key: KeyObject, message: Uint8Array, signature: Buffer) =>
  signature.length === p256SignatureBytes &&
  verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature)
