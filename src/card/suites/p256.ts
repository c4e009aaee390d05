// Card suite 0x01: ECDSA on P-256 with SHA-256 (PROTOCOL section 6).
import { type KeyObject, verify } from 'node:crypto'
import { sha256 } from '../../base/bytes.ts'
import { childrenOf, DerError, integerBytes, readDer, tags } from '../../base/der.ts'
import { checkP256, importP256Spki } from '../../base/p256.ts'

export type CardSuite = {
  id: number
  /** OIDs as the hex of their bodies. */
  digestOid: string
  signatureOid: string
  digestBytes: number
  hash(...parts: Uint8Array[]): Buffer
  importKey(spki: Buffer): KeyObject | undefined
  /** A DER signature of a certificate or SOD, over the message. */
  checkDer(key: KeyObject, message: Uint8Array, signature: Buffer): boolean
  /** A chip's signature, 64 bytes r||s. */
  checkRaw(key: KeyObject, message: Uint8Array, signature: Buffer): boolean
}

const integerBytesMax = 33

/** Ecdsa-Sig-Value in DER and nothing else; OpenSSL alone would settle the range but not every form. */
function isDerSignature(signature: Buffer): boolean {
  try {
    const parts = childrenOf(readDer(signature), tags.sequence).map(integerBytes)
    return (
      parts.length === 2 && parts.every((part) => part.length <= integerBytesMax && part.readUInt8(0) < 0x80)
    )
  } catch (error) {
    if (error instanceof DerError) return false
    throw error
  }
}

export const p256: CardSuite = {
  id: 1,
  digestOid: '608648016503040201', // 2.16.840.1.101.3.4.2.1
  signatureOid: '2a8648ce3d040302', // ecdsa-with-SHA256
  digestBytes: 32,
  hash: sha256,
  importKey: importP256Spki,
  checkDer: (key, message, signature) =>
    isDerSignature(signature) && verify('sha256', message, key, signature),
  checkRaw: checkP256,
}
