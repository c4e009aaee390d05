// The signature suites of cards and of who issues them: 0x01 ECDSA on P-256 with SHA-256, 0x02 SM2 with SM3
// (PROTOCOL section 6). Whatever is signed is signed in one suite throughout.
import { hash, verify } from 'node:crypto'
import { sha256 } from '../base/bytes.ts'
import { childrenOf, type Der, fixedChildren, oidHex, readDer, tags, wholeBits } from '../base/der.ts'
import { checkP256, importP256Spki } from '../base/p256.ts'
import { checkSm2, importSm2Spki, sm3 } from '../base/sm2.ts'

/** A public key of a suite. */
export type SuiteKey = {
  /** A DER signature of a certificate, list or SOD, over the message. */
  checkDer(message: Uint8Array, signature: Buffer): boolean
  /** A chip's signature, 64 bytes r||s. */
  checkRaw(message: Uint8Array, signature: Buffer): boolean
}

export type Suite = {
  id: 1 | 2
  name: 'P-256' | 'SM2'
  /** OIDs as the hex of their bodies. */
  digestOid: string
  signatureOid: string
  digestBytes: 32
  hash(...parts: Uint8Array[]): Buffer
  /** The hash as a string of that many characters below U+0100: to be kept and compared. */
  hashText(bytes: Uint8Array): string
  /** Only the one accepted form of a key on the suite's curve. */
  importKey(spki: Buffer): SuiteKey | undefined
}

const integerBytesMax = 33
const rawBytes = 64
const half = rawBytes / 2

const shortLengthMax = 0x7f

/**
 * Ecdsa-Sig-Value or SM2Signature in DER and nothing else; OpenSSL alone would settle the range but not every form.
 * Looked at byte by byte: each card has three.
 */
function isDerSignature(signature: Buffer): boolean {
  const { length } = signature
  if (length > shortLengthMax || signature[0] !== tags.sequence || signature[1] !== length - 2) return false
  const second = endOfPositive(signature, 2)
  return second > 0 && endOfPositive(signature, second) === length
}

/** Where the minimal INTEGER at `at` ends, which is not negative and not too long; 0: there is none. */
function endOfPositive(bytes: Buffer, at: number): number {
  const length = bytes[at + 1] ?? 0
  if (bytes[at] !== tags.integer || length === 0 || length > integerBytesMax) return 0
  const first = bytes[at + 2] ?? 0xff
  const isPadded = first === 0 && length > 1 && (bytes[at + 3] ?? 0) < 0x80
  const end = at + 2 + length
  return first >= 0x80 || isPadded || end > bytes.length ? 0 : end
}

/** r||s as SEQUENCE of two INTEGERs: node:crypto reads SM2 signatures in no other form. */
export function derOfRaw(signature: Buffer): Buffer {
  const parts = [signature.subarray(0, half), signature.subarray(half)].map(printInteger)
  const body = Buffer.concat(parts)
  return Buffer.concat([Buffer.of(tags.sequence, body.length), body])
}

function printInteger(magnitude: Buffer): Buffer {
  let start = 0
  while (start < magnitude.length - 1 && magnitude[start] === 0) start++
  const digits = magnitude.subarray(start)
  const pad = digits.readUInt8(0) >= 0x80 ? [0] : []
  return Buffer.concat([Buffer.of(tags.integer, digits.length + pad.length, ...pad), digits])
}

export const p256: Suite = {
  id: 1,
  name: 'P-256',
  digestOid: '608648016503040201', // 2.16.840.1.101.3.4.2.1
  signatureOid: '2a8648ce3d040302', // ecdsa-with-SHA256
  digestBytes: 32,
  hash: sha256,
  hashText: (bytes) => hash('sha256', bytes, 'latin1'),
  importKey(spki) {
    const key = importP256Spki(spki)
    if (!key) return undefined
    return {
      checkDer: (message, signature) =>
        isDerSignature(signature) && verify('sha256', message, key, signature),
      checkRaw: (message, signature) => checkP256(key, message, signature),
    }
  },
}

export const sm2: Suite = {
  id: 2,
  name: 'SM2',
  digestOid: '2a811ccf55018311', // 1.2.156.10197.1.401
  signatureOid: '2a811ccf55018375', // 1.2.156.10197.1.501
  digestBytes: 32,
  hash: sm3,
  hashText: (bytes) => hash('sm3', bytes, 'latin1'),
  importKey(spki) {
    const key = importSm2Spki(spki)
    if (!key) return undefined
    return {
      checkDer: (message, signature) => isDerSignature(signature) && checkSm2(key, message, signature),
      checkRaw: (message, signature) =>
        signature.length === rawBytes && checkSm2(key, message, derOfRaw(signature)),
    }
  },
}

const all: readonly Suite[] = [p256, sm2]

export const suiteById = (id: number): Suite | undefined => all.find((suite) => suite.id === id)

/** Whether the key signed a certificate or list, `{tbs, algorithm, signature}`, in the suite of its curve. Throws DerError. */
export function isSignedBy(der: Buffer, spki: Buffer): boolean {
  const [tbs, algorithm, bits] = fixedChildren(readDer(der), tags.sequence, 3) as [Der, Der, Der]
  const oid = oidHex(childrenOf(algorithm, tags.sequence)[0])
  const suite = all.find(({ signatureOid }) => signatureOid === oid)
  return suite?.importKey(spki)?.checkDer(tbs.raw, wholeBits(bits)) === true
}
