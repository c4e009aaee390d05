// What we seal at rest and on the wire: nonce12 random || AES-256-GCM ciphertext || tag16 (PROTOCOL section 1).
import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto'
import { takeRandom } from './bytes.ts'

export const nonceBytes = 12
export const tagBytes = 16
export const sealOverhead = nonceBytes + tagBytes

/** A KeyObject where the key is used again; bytes cost less where it is used once. */
export type SealKey = KeyObject | Uint8Array

/** Seals `plain` under a 256-bit key, bound to `aad`. */
export function seal(key: SealKey, plain: Uint8Array, aad: Uint8Array): Buffer {
  const nonce = takeRandom(nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  cipher.setAAD(aad)
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

/** Opens what `seal` made; undefined if it is short, altered, or under another key or AAD. */
export function open(key: SealKey, sealed: Uint8Array, aad: Uint8Array): Buffer | undefined {
  if (sealed.length < sealOverhead) return undefined
  const end = sealed.length - tagBytes
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, nonceBytes), {
    authTagLength: tagBytes,
  })
  decipher.setAAD(aad)
  decipher.setAuthTag(sealed.subarray(end))
  try {
    return Buffer.concat([decipher.update(sealed.subarray(nonceBytes, end)), decipher.final()])
  } catch {
    return undefined // The tag did not match: the one outcome that this error can mean.
  }
}
