// Prints DER from parts, for what the simulator issues: one function for each form. It checks nothing.
import { tags } from '../base/der.ts'

/** One element. */
export function element(tag: number | readonly number[], ...parts: Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([Buffer.from([tag].flat()), lengthOf(body.length), body])
}

function lengthOf(length: number): Buffer {
  if (length < 0x80) return Buffer.of(length)
  if (length < 0x100) return Buffer.of(0x81, length)
  return Buffer.of(0x82, length >> 8, length & 0xff)
}

export const sequence = (...parts: Uint8Array[]) => element(tags.sequence, ...parts)
/** In the order of DER (X.690 section 11.6). */
export const setOf = (...parts: Buffer[]) => element(tags.set, ...[...parts].sort(Buffer.compare))
export const octets = (bytes: Uint8Array) => element(tags.octetString, bytes)
export const bits = (bytes: Uint8Array, unused = 0) => element(tags.bitString, Buffer.of(unused), bytes)
export const nothing = element(tags.null)
export const yes = element(tags.boolean, Buffer.of(0xff))
export const printable = (text: string) => element(0x13, Buffer.from(text, 'latin1'))
export const explicit = (n: number, ...parts: Uint8Array[]) => element(0xa0 | n, ...parts)
export const implicit = (n: number, bytes: Uint8Array) => element(0x80 | n, bytes)

/** INTEGER of an unsigned magnitude. */
export function unsigned(magnitude: Buffer): Buffer {
  let start = 0
  while (start < magnitude.length - 1 && magnitude[start] === 0) start++
  const digits = magnitude.subarray(start)
  return element(tags.integer, digits.readUInt8(0) >= 0x80 ? Buffer.of(0) : Buffer.of(), digits)
}
export const integer = (value: number) => {
  const hex = value.toString(16)
  return unsigned(Buffer.from(hex.length % 2 ? `0${hex}` : hex, 'hex'))
}

/** OBJECT IDENTIFIER of its dotted form. */
export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  return element(tags.oid, Buffer.from([first * 40 + second, ...rest].flatMap(base128)))
}

function base128(value: number): number[] {
  const out = [value & 0x7f]
  for (let left = Math.floor(value / 128); left > 0; left = Math.floor(left / 128))
    out.unshift((left & 0x7f) | 0x80)
  return out
}

const timeText = (ms: number) => `${new Date(ms).toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}Z`

/** UTCTime until 2049, GeneralizedTime after (RFC 5280 section 4.1.2.5). */
export function time(ms: number): Buffer {
  const text = timeText(ms)
  const isShort = Number(text.slice(0, 4)) < 2050
  return element(isShort ? tags.utcTime : tags.generalizedTime, Buffer.from(isShort ? text.slice(2) : text))
}

/** GeneralizedTime's text, for tags that stand in for its own. */
export const generalized = (ms: number) => Buffer.from(timeText(ms))
