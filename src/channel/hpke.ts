// HPKE base mode, export only: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM (RFC 9180 sections 4, 5).
// node:crypto does the KEM; the key schedule for one 32-byte export is written out here.
import { createSecretKey, decapsulate, encapsulate, type KeyObject } from 'node:crypto'
import { hmacSha256, sha256, u8 } from '../base/bytes.ts'
import { bind } from '../base/t2l.ts'

const suite = Buffer.concat([Buffer.from('HPKE'), Buffer.of(0, 0x10, 0, 1, 0, 2)]) // RFC 9180 section 5.1
const version = Buffer.from('HPKE-v1')
const none = Buffer.alloc(0)
const zeros = Buffer.alloc(32)
const exportBytes = 32

const extract = (salt: Uint8Array, label: string, ikm: Uint8Array) =>
  hmacSha256(salt, version, suite, label, ikm)

/** LabeledExpand for L = 32, which is one block of HKDF-SHA256. */
const expand = (prk: Uint8Array, label: string, info: Uint8Array) =>
  hmacSha256(prk, Buffer.of(0, exportBytes), version, suite, label, info, u8(1))

const pskIdHash = extract(zeros, 'psk_id_hash', none)

/** Key schedule and export for a shared secret of the KEM (RFC 9180 sections 5.1, 5.3); 32 bytes. */
export function exportSecret(shared: Uint8Array, info: Uint8Array, context: Uint8Array): Buffer {
  const scheduleContext = Buffer.concat([u8(0), pskIdHash, extract(zeros, 'info_hash', info)])
  const secret = extract(shared, 'secret', none)
  return expand(expand(secret, 'exp', scheduleContext), 'sec', context)
}

const exporterContext = Buffer.from('vouchsafe/reading/v1')
const infoOf = (recipient: Buffer) => bind('hpke', recipient)

/** The id of a recipient key: SHA-256(SPKI)[0..8). */
export const recipientIdOf = (spki: Buffer) => sha256(spki).subarray(0, 8)

/** Whether `enc` has the one accepted form; decapsulate alone would take hybrid points too. */
export const isUncompressedPoint = (enc: Buffer) => enc.length === 65 && enc[0] === 4

/** Reader side: a fresh session key for the gateway's recipient key, and what to send. */
export function encapsulateSession(recipientKey: KeyObject, recipient: Buffer) {
  const { sharedKey, ciphertext } = encapsulate(recipientKey)
  const secret = exportSecret(sharedKey, infoOf(recipient), exporterContext)
  return { enc: Buffer.from(ciphertext), key: createSecretKey(secret) }
}

/** Gateway side: the session key that the reader made, or undefined if `enc` is not a point to accept. */
export function decapsulateSession(recipientKey: KeyObject, recipient: Buffer, enc: Buffer) {
  if (!isUncompressedPoint(enc)) return undefined
  try {
    const shared = decapsulate(recipientKey, enc)
    return createSecretKey(exportSecret(shared, infoOf(recipient), exporterContext))
  } catch {
    return undefined // Not a point on the curve: the one thing that decapsulate refuses here.
  }
}
