// A strict DER reader (X.690): definite minimal lengths, one-byte tags, one form of every value, sets in order,
// bounded depth, no trailing bytes. It reads views of the received bytes and never encodes anything again.
import { hasDay } from './calendar.ts'
import { limits } from './limits.ts'

/** Bytes that are not DER, or not of the form asked for. Holds no input. */
export class DerError extends Error {}

/** Where the body of the element begins whose head was read last: a second result of `readHead`. */
export let bodyStart = 0

/**
 * Reads the head at `start` of an element that must end by `end`; returns where it ends.
 * @throws DerError
 */
export function readHead(bytes: Buffer, start: number, end: number, depth: number): number {
  if (depth > limits.derDepthMax) throw new DerError('too deep')
  if (start + 2 > end) throw new DerError('cut short')
  if (((bytes[start] as number) & 0x1f) === 0x1f) throw new DerError('tag of several bytes')
  let length = bytes[start + 1] as number
  bodyStart = start + 2
  if (length >= 0x80) {
    const count = length & 0x7f
    if (count === 0) throw new DerError('indefinite length')
    if (count > 3 || bodyStart + count > end) throw new DerError('length too long')
    length = bytes.readUIntBE(bodyStart, count)
    if (length < 0x80 || length < 1 << (8 * (count - 1))) throw new DerError('length not minimal')
    bodyStart += count
  }
  if (bodyStart + length > end) throw new DerError('cut short')
  return bodyStart + length
}

/** One element of a strict reading. It only knows where it lies; the views are made when they are asked for. */
export class Der {
  readonly tag: number
  readonly #bytes: Buffer
  readonly #start: number
  readonly #bodyStart: number
  readonly #end: number

  /** The element at `start`, which must end by `end`. Its depth was bounded by the strict pass. Throws DerError. */
  constructor(bytes: Buffer, start: number, end: number) {
    this.#end = readHead(bytes, start, end, 0)
    this.#bodyStart = bodyStart
    this.tag = bytes[start] as number
    this.#bytes = bytes
    this.#start = start
  }

  /** With its head; a view. */
  get raw(): Buffer {
    return this.#bytes.subarray(this.#start, this.#end)
  }

  /** Without its head; a view. */
  get body(): Buffer {
    return this.#bytes.subarray(this.#bodyStart, this.#end)
  }

  /** The body in hex. */
  get hex(): string {
    return this.#bytes.toString('hex', this.#bodyStart, this.#end)
  }

  /** The elements within, read one after the other. Throws DerError if there are more than `countMax`. */
  split(countMax = Number.POSITIVE_INFINITY): Der[] {
    // Counted first: an array that grows takes twice the room, and what is too much is never made.
    let count = 0
    for (let at = this.#bodyStart; at < this.#end; at = readHead(this.#bytes, at, this.#end, 0)) {
      if (++count > countMax) throw new DerError('too many elements')
    }
    const children = new Array<Der>(count)
    let at = this.#bodyStart
    for (let i = 0; i < count; i++) {
      const child = new Der(this.#bytes, at, this.#end)
      children[i] = child
      at = child.#end
    }
    return children
  }

  /** Order of the bytes with their heads, as of a SET OF. */
  compare(other: Der): number {
    return this.#bytes.compare(other.#bytes, other.#start, other.#end, this.#start, this.#end)
  }
}

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

/**
 * Reads one element that fills `bytes` and is DER all the way down, parts that nobody asks for included.
 * @throws DerError
 */
export function readDer(bytes: Buffer): Der {
  assertStrict(bytes)
  return new Der(bytes, 0, bytes.length)
}

/** One element fills `bytes` and is DER all the way down. Throws DerError. */
export function assertStrict(bytes: Buffer): void {
  if (assertElement(bytes, 0, bytes.length, 0) !== bytes.length) throw new DerError('trailing bytes')
}

const constructedBit = 0x20
const classBits = 0xc0

/** The element at `start` is DER; returns where it ends. Recursion is bounded by `limits.derDepthMax`. */
function assertElement(bytes: Buffer, start: number, end: number, depth: number): number {
  const ownEnd = readHead(bytes, start, end, depth)
  const from = bodyStart
  const tag = bytes[start] as number
  const universal = (tag & classBits) === 0
  const constructed = (tag & constructedBit) !== 0
  if (universal && constructed !== (tag === tags.sequence || tag === tags.set)) {
    throw new DerError('constructed where primitive is due, or the reverse')
  }
  if (!constructed) {
    if (universal) assertPrimitive(bytes, tag, from, ownEnd)
    return ownEnd
  }
  let last = -1
  for (let at = from; at < ownEnd; ) {
    const next = assertElement(bytes, at, ownEnd, depth + 1)
    // Every SET of X.509 and CMS is a SET OF (X.690 section 11.6).
    if (tag === tags.set && last >= 0 && bytes.compare(bytes, at, next, last, at) > 0) {
      throw new DerError('set not in order')
    }
    last = at
    at = next
  }
  return ownEnd
}

/** Elements of a SET OF ascend by their bytes (X.690 section 11.6). Throws DerError. */
export function assertOrder(before: Der, after: Der): void {
  if (before.compare(after) > 0) throw new DerError('set not in order')
}

/** The one form of each universal value that DER leaves (X.690 sections 8 and 11). */
function assertPrimitive(bytes: Buffer, tag: number, from: number, end: number): void {
  const first = bytes[from] as number
  const length = end - from
  if (tag === tags.integer) assertInteger(bytes, from, end)
  else if (tag === tags.oid) assertOid(bytes, from, end)
  else if (tag === tags.bitString) assertBits(bytes, from, end)
  else if (tag === tags.boolean) {
    if (length !== 1 || (first !== 0 && first !== 0xff)) throw new DerError('boolean malformed')
  } else if (tag === tags.null) {
    if (length !== 0) throw new DerError('null malformed')
  } else if (tag === 0 || tag === 0x10 || tag === 0x11) throw new DerError('no such primitive')
}

/** Sub-identifiers are whole and begin with no 80. */
function assertOid(bytes: Buffer, from: number, end: number): void {
  let starts = true
  for (let at = from; at < end; at++) {
    const byte = bytes[at] as number
    if (starts && byte === 0x80) throw new DerError('object identifier not minimal')
    starts = byte < 0x80
  }
  if (from === end || !starts) throw new DerError('object identifier malformed')
}

/** At most 7 unused bits, all zero, and none of nothing. */
function assertBits(bytes: Buffer, from: number, end: number): void {
  const unused = from < end ? (bytes[from] as number) : 8
  const last = from + 1 < end ? (bytes[end - 1] as number) : 0
  if (unused > 7 || (from + 1 === end && unused !== 0) || (last & ((1 << unused) - 1)) !== 0) {
    throw new DerError('bit string malformed')
  }
}

/** Minimal, and not of nothing. Throws DerError. */
export function assertInteger(bytes: Buffer, from: number, end: number): void {
  if (from === end) throw new DerError('empty integer')
  if (from + 1 === end) return
  const a = bytes[from] as number
  const b = bytes[from + 1] as number
  if ((a === 0 && b < 0x80) || (a === 0xff && b >= 0x80)) throw new DerError('integer not minimal')
}

/** The elements within one, after a check of its tag. */
export function childrenOf(element: Der, tag: number, countMax?: number): readonly Der[] {
  assertTag(element, tag)
  return element.split(countMax)
}

/** Exactly `count` elements within one. */
export function fixedChildren(element: Der, tag: number, count: number): readonly Der[] {
  const children = childrenOf(element, tag, count)
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
  assertInteger(body, 0, body.length)
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
  return element.hex
}

export function octets(element: Der | undefined): Buffer {
  assertTag(element, tags.octetString)
  return element.body
}

/** Bits of a BIT STRING without unused ones. */
export function wholeBits(element: Der | undefined): Buffer {
  assertTag(element, tags.bitString)
  const { body } = element
  if (body[0] !== 0) throw new DerError('bits left over')
  return body.subarray(1)
}

/** Two digits of a time. */
function twoDigits(text: Buffer, at: number): number {
  const high = (text[at] ?? 0) - 0x30
  const low = (text[at + 1] ?? 0) - 0x30
  if (high < 0 || high > 9 || low < 0 || low > 9) throw new DerError('time malformed')
  return high * 10 + low
}

/** Unix ms of `MMDDHHMMSSZ` from `at` to `end`; throws for what no calendar has. */
function momentOf(text: Buffer, at: number, end: number, year: number): number {
  if (end !== at + 11 || text[at + 10] !== 0x5a) throw new DerError('time malformed')
  const month = twoDigits(text, at)
  const day = twoDigits(text, at + 2)
  const hour = twoDigits(text, at + 4)
  const minute = twoDigits(text, at + 6)
  const second = twoDigits(text, at + 8)
  // Date.UTC takes years before 100 for 19xx.
  if (year < 100 || !hasDay(year, month, day) || hour > 23 || minute > 59 || second > 59) {
    throw new DerError('no such time')
  }
  return Date.UTC(year, month - 1, day, hour, minute, second)
}

/** The bytes from `at` to `end` as UTCTime (RFC 5280 section 4.1.2.5.1), Unix ms. Throws DerError. */
export function utcTimeAt(text: Buffer, at: number, end: number): number {
  const year = twoDigits(text, at)
  return momentOf(text, at + 2, end, year < 50 ? 2000 + year : 1900 + year)
}

/** The same as GeneralizedTime. */
export const generalizedTimeAt = (text: Buffer, at: number, end: number) =>
  momentOf(text, at + 4, end, twoDigits(text, at) * 100 + twoDigits(text, at + 2))

const firstGeneralizedMs = Date.UTC(2050, 0, 1)

/** The same as GeneralizedTime where certificates have one: not before 2050 (RFC 5280 section 4.1.2.5). */
export function certificateTimeAt(text: Buffer, at: number, end: number): number {
  const ms = generalizedTimeAt(text, at, end)
  if (ms < firstGeneralizedMs) throw new DerError('GeneralizedTime where UTCTime is due')
  return ms
}

/** UTCTime, Unix ms. */
export function utcTimeMs(element: Der | undefined): number {
  assertTag(element, tags.utcTime)
  return utcTimeAt(element.body, 0, element.body.length)
}

/** Time as certificates must choose it: UTCTime up to 2049, GeneralizedTime after (RFC 5280 section 4.1.2.5). */
export function certificateTimeMs(element: Der | undefined): number {
  if (element?.tag === tags.utcTime) return utcTimeMs(element)
  assertTag(element, tags.generalizedTime)
  return certificateTimeAt(element.body, 0, element.body.length)
}
