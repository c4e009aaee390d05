// Bytes in and out of text and integers. Big-endian throughout; base64url is canonical (PROTOCOL section 1).
import { createHmac, hash, type KeyObject, randomBytes, randomFillSync, timingSafeEqual } from 'node:crypto'

const base64urlAlphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
/** Of a text by its length modulo 4: those without spare bits; a single character has no byte (RFC 4648 section 3.5). */
const lastCharacters = [base64urlAlphabet, undefined, 'AQgw', 'AEIMQUYcgkosw048']

/**
 * Decodes canonical base64url; undefined if a character, the length or a spare bit is wrong. Node's decoder skips what
 * it does not know, so that the length tells, but reads `+` and `/` too, and other characters by their low byte alone.
 */
export function parseBase64url(text: string, bytes?: number): Buffer | undefined {
  if (!(lastCharacters[text.length % 4] ?? '').includes(text.at(-1) ?? '')) return undefined
  if (text.includes('+') || text.includes('/') || Buffer.byteLength(text) !== text.length) return undefined
  const decoded = Buffer.from(text, 'base64url')
  const due = bytes ?? Math.floor((text.length * 3) / 4)
  return decoded.length === due && base64urlLength(due) === text.length ? decoded : undefined
}

export const printBase64url = (bytes: Uint8Array) =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url')

/** Length in characters of the base64url form of `bytes` bytes. */
export const base64urlLength = (bytes: number) => Math.ceil((bytes * 4) / 3)

export function u8(value: number): Buffer {
  return Buffer.of(value)
}

export function u16(value: number): Buffer {
  const out = Buffer.allocUnsafe(2)
  out.writeUInt16BE(value)
  return out
}

export function u32(value: number): Buffer {
  const out = Buffer.allocUnsafe(4)
  out.writeUInt32BE(value)
  return out
}

/** A safe integer (ms, index, position) as u64. */
export function u64(value: number): Buffer {
  const out = Buffer.allocUnsafe(8)
  out.writeBigUInt64BE(BigInt(value))
  return out
}

/** Reads a u64 that must be a safe integer; RangeError otherwise. */
export function readU64(bytes: Buffer, offset = 0): number {
  const value = bytes.readBigUInt64BE(offset)
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new RangeError('u64 beyond a safe integer')
  return Number(value)
}

/**
 * Copies in memory of their own, for what is kept long: a small Buffer keeps the 64 KiB that Node cut it from, and
 * what else was cut from it.
 */
export function ownCopies<const Parts extends readonly Uint8Array[]>(
  ...parts: Parts
): { [K in keyof Parts]: Buffer } {
  const together = Buffer.allocUnsafeSlow(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  return parts.map((part) => {
    together.set(part, at)
    at += part.length
    return together.subarray(at - part.length, at)
  }) as { [K in keyof Parts]: Buffer }
}

/** SHA-256 of the parts, one after the other; 32 bytes. */
export function sha256(...parts: Uint8Array[]): Buffer {
  const whole = parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts)
  // By way of a string: a Buffer that Node makes outside JavaScript costs twice as much as the hash itself.
  return Buffer.from(hash('sha256', whole, 'latin1'), 'latin1')
}

/** HMAC-SHA-256 (RFC 2104) of the parts, one after the other; 32 bytes. */
export function hmacSha256(key: KeyObject | Uint8Array, ...parts: (Uint8Array | string)[]): Buffer {
  const mac = createHmac('sha256', key)
  for (const part of parts) mac.update(part)
  return Buffer.from(mac.digest('latin1'), 'latin1') // As above.
}

/** Compares without telling where the difference lies; false when the lengths differ. */
export const sameBytes = (a: Uint8Array, b: Uint8Array) => a.length === b.length && timingSafeEqual(a, b)

const pool = Buffer.alloc(4096)
let poolAt = pool.length

/**
 * Random bytes of the system's generator, fetched 4 KiB at a time: a call for 16 bytes costs as much as one for
 * thousands. What was given is not kept.
 */
export function takeRandom(bytes: number): Buffer {
  if (bytes > pool.length) return randomBytes(bytes)
  if (poolAt + bytes > pool.length) {
    randomFillSync(pool)
    poolAt = 0
  }
  const taken = Buffer.from(pool.subarray(poolAt, poolAt + bytes))
  pool.fill(0, poolAt, poolAt + bytes)
  poolAt += bytes
  return taken
}

/** 16 random bytes: an id, a blind or a transaction. */
export const randomId = () => takeRandom(16)
