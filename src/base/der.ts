// A strict DER reader (X.690): definite minimal lengths, one-byte tags, one form of every value, sets in order,
// bounded depth, no trailing bytes. It reads views of the received bytes and never encodes anything again.
import { limits } from './limits.ts'

/** Bytes that are not DER, or not of the form asked for. Holds no input. */
export class DerError extends Error {}

/** One element: `raw` with its head, `body` without. Both are views. */
export type Der = { tag: number; raw: Buffer; body: Buffer; depth: number }

export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const

/** Context-specific constructed tag, such as `[0] EXPLICIT`. */
export const context = (n: number) => 0xa0 | n

function readAt(bytes: Buffer, at: number, depth: number): Der {
  if (depth > limits.derDepthMax) throw new DerError('too deep')
  if (at + 2 > bytes.length) throw new DerError('cut short')
  const tag = bytes.readUInt8(at)
  if ((tag & 0x1f) === 0x1f) throw new DerError('tag of several bytes')
  let length = bytes.readUInt8(at + 1)
  let start = at + 2
  if (length >= 0x80) {
    const count = length & 0x7f
    if (count === 0) throw new DerError('indefinite length')
    if (count > 3 || start + count > bytes.length) throw new DerError('length too long')
    length = bytes.readUIntBE(start, count)
    if (length < 0x80 || length < 2 ** (8 * (count - 1))) throw new DerError('length not minimal')
    start += count
  }
  const end = start + length
  if (end > bytes.length) throw new DerError('cut short')
  return { tag, raw: bytes.subarray(at, end), body: bytes.subarray(start, end), depth }
}

/**
 * Reads one element that fills `bytes` and is DER all the way down, parts that nobody asks for included.
 * @throws DerError
 */
export function readDer(bytes: Buffer): Der {
  const element = readAt(bytes, 0, 0)
  if (element.raw.length !== bytes.length) throw new DerError('trailing bytes')
  assertStrict(element)
  return element
}

const constructedBit = 0x20
const classBits = 0xc0

/** Recursion is bounded by `limits.derDepthMax`. */
function assertStrict(element: Der): void {
  const { tag } = element
  const universal = (tag & classBits) === 0
  const constructed = (tag & constructedBit) !== 0
  if (universal && constructed !== (tag === tags.sequence || tag === tags.set)) {
    throw new DerError('constructed where primitive is due, or the reverse')
  }
  if (!constructed) {
    if (universal) assertPrimitive(element)
    return
  }
  let last: Der | undefined
  for (const child of split(element)) {
    assertStrict(child)
    // Every SET of X.509 and CMS is a SET OF (X.690 section 11.6).
    if (tag === tags.set && last) assertOrder(last, child)
    last = child
  }
}

/** Elements of a SET OF ascend by their bytes (X.690 section 11.6). Throws DerError. */
export function assertOrder(before: Der, after: Der): void {
  if (Buffer.compare(before.raw, after.raw) > 0) throw new DerError('set not in order')
}

/** The one form of each universal value that DER leaves (X.690 sections 8 and 11). */
function assertPrimitive(element: Der): void {
  const { tag, body } = element
  if (tag === 0 || tag === 0x10 || tag === 0x11) throw new DerError('no such primitive')
  if (tag === tags.integer) integerBytes(element)
  if (tag === tags.boolean && (body.length !== 1 || (body[0] !== 0 && body[0] !== 0xff))) {
    throw new DerError('boolean malformed')
  }
  if (tag === tags.null && body.length !== 0) throw new DerError('null malformed')
  if (tag === tags.oid) assertOid(body)
  if (tag === tags.bitString) assertBits(body)
}

/** Sub-identifiers are whole and begin with no 80. */
function assertOid(body: Buffer): void {
  let starts = true
  for (const byte of body) {
    if (starts && byte === 0x80) throw new DerError('object identifier not minimal')
    starts = byte < 0x80
  }
  if (body.length === 0 || !starts) throw new DerError('object identifier malformed')
}

/** At most 7 unused bits, all zero, and none of nothing. */
function assertBits(body: Buffer): void {
  const unused = body[0] ?? 8
  const last = body.length > 1 ? body.readUInt8(body.length - 1) : 0
  if (unused > 7 || (body.length === 1 && unused !== 0) || (last & ((1 << unused) - 1)) !== 0) {
    throw new DerError('bit string malformed')
  }
}

/** The elements within one, after a check of its tag. */
export function childrenOf(element: Der, tag: number): Der[] {
  assertTag(element, tag)
  return split(element)
}

function split(element: Der): Der[] {
  const children: Der[] = []
  for (let at = 0; at < element.body.length; ) {
    const child = readAt(element.body, at, element.depth + 1)
    children.push(child)
    at += child.raw.length
  }
  return children
}

/** Exactly `count` elements within one. */
export function fixedChildren(element: Der, tag: number, count: number): Der[] {
  const children = childrenOf(element, tag)
  if (children.length !== count) throw new DerError('wrong number of elements')
  return children
}

/** The one element within an explicit tag. */
export const onlyChild = (element: Der, tag: number) => fixedChildren(element, tag, 1)[0] as Der

export function assertTag(element: Der | undefined, tag: number): asserts element is Der {
  if (element?.tag !== tag) throw new DerError('another element was expected')
}

/** Body of a minimal INTEGER. */
export function integerBytes(element: Der | undefined): Buffer {
  assertTag(element, tags.integer)
  const { body } = element
  const [a, b] = body
  if (a === undefined) throw new DerError('empty integer')
  if (b !== undefined && ((a === 0 && b < 0x80) || (a === 0xff && b >= 0x80))) {
    throw new DerError('integer not minimal')
  }
  return body
}

/** An INTEGER of any size that is not negative. */
export function positiveInteger(element: Der | undefined): bigint {
  const body = integerBytes(element)
  if (body.readUInt8(0) >= 0x80) throw new DerError('a number is negative')
  return BigInt(`0x${body.toString('hex')}`)
}

/** A small INTEGER that is not negative. */
export function smallInteger(element: Der | undefined): number {
  const body = integerBytes(element)
  if (body.length > 4 || body.readUInt8(0) >= 0x80) throw new DerError('integer out of range')
  return body.readUIntBE(0, body.length)
}

/** Body of an OID in hex: compared, never printed. */
export function oidHex(element: Der | undefined): string {
  assertTag(element, tags.oid)
  return element.body.toString('hex')
}

export function octets(element: Der | undefined): Buffer {
  assertTag(element, tags.octetString)
  return element.body
}

/** Bits of a BIT STRING without unused ones. */
export function wholeBits(element: Der | undefined): Buffer {
  assertTag(element, tags.bitString)
  if (element.body[0] !== 0) throw new DerError('bits left over')
  return element.body.subarray(1)
}

const utcPattern = /^(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/
const generalizedPattern = /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/

/** Unix ms of six digit groups; throws for what no calendar has. */
function momentOf(match: RegExpExecArray | null, year: (digits: number) => number): number {
  if (!match) throw new DerError('time malformed')
  const [y, month, day, hour, minute, second] = match.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  const ms = Date.UTC(year(y), month - 1, day, hour, minute, second)
  const date = new Date(ms)
  // Months and days that spill over change the date; years before 100 would be taken for 19xx.
  const sameDay = date.getUTCMonth() === month - 1 && date.getUTCDate() === day
  const same = sameDay && date.getUTCHours() === hour && date.getUTCFullYear() === year(y)
  if (!same || minute > 59 || second > 59) throw new DerError('no such time')
  return ms
}

/** UTCTime (RFC 5280 section 4.1.2.5.1), Unix ms. */
export function utcTimeMs(element: Der | undefined): number {
  assertTag(element, tags.utcTime)
  return momentOf(utcPattern.exec(element.body.toString('latin1')), (y) => (y < 50 ? 2000 + y : 1900 + y))
}

/** GeneralizedTime in a primitive of any tag, Unix ms. */
export const generalizedTimeMs = (body: Buffer) =>
  momentOf(generalizedPattern.exec(body.toString('latin1')), (y) => y)

const firstGeneralizedMs = Date.UTC(2050, 0, 1)

/** Time as certificates must choose it: UTCTime up to 2049, GeneralizedTime after (RFC 5280 section 4.1.2.5). */
export function certificateTimeMs(element: Der | undefined): number {
  if (element?.tag === tags.utcTime) return utcTimeMs(element)
  assertTag(element, tags.generalizedTime)
  const ms = generalizedTimeMs(element.body)
  if (ms < firstGeneralizedMs) throw new DerError('GeneralizedTime where UTCTime is due')
  return ms
}
