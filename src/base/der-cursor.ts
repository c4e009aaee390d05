// Reads DER forward, element by element, where the form is known: it makes no tree, only what is asked for. Each card
// is read so; what it leaves to be collected would cost more than the reading. `Der` is for what branches.
import {
  assertInteger,
  assertStrict,
  bodyStart,
  certificateTimeAt,
  type Der,
  DerError,
  generalizedTimeAt,
  readHead,
  tags,
  utcTimeAt,
} from './der.ts'

/**
 * A cursor over the one element that fills `bytes` and is DER all the way down, parts that nobody asks for included.
 * @throws DerError
 */
export function readForward(bytes: Buffer): DerCursor {
  assertStrict(bytes)
  return new DerCursor(bytes, 0, bytes.length)
}

/** A cursor that stands before an element of a strict reading. */
export function cursorAt(element: Der): DerCursor {
  const { raw } = element
  return new DerCursor(raw, 0, raw.length)
}

/** Stands before an element, or at the end. Each method takes the element that it stands before, and throws DerError. */
export class DerCursor {
  readonly #bytes: Buffer
  readonly #end: number
  #at: number
  /** Where the element before began; -1: there was none. */
  #before = -1

  /** The elements at `start` up to `end`, whose depth was bounded by the strict pass. */
  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes
    this.#at = start
    this.#end = end
  }

  /** Tag of the next element; -1 at the end. */
  get tag(): number {
    return this.#at < this.#end ? (this.#bytes[this.#at] as number) : -1
  }

  /** Nothing is left. */
  finish(): void {
    if (this.#at !== this.#end) throw new DerError('wrong number of elements')
  }

  /** Goes beyond the next element, which has this tag; its body is from `bodyStart` to where the cursor then stands. */
  #take(tag: number): void {
    if (this.tag !== tag) throw new DerError('another element was expected')
    const end = readHead(this.#bytes, this.#at, this.#end, 0)
    this.#before = this.#at
    this.#at = end
  }

  /** What is within. */
  into(tag: number): DerCursor {
    this.#take(tag)
    return new DerCursor(this.#bytes, bodyStart, this.#at)
  }

  /** What is within the only element of an element, as of an explicit tag. */
  intoOnly(outer: number, inner: number): DerCursor {
    const explicit = this.into(outer)
    const only = explicit.into(inner)
    explicit.finish()
    return only
  }

  /** What is within an element of a SET OF, which ascends by its bytes (X.690 section 11.6). */
  intoNextOfSet(tag: number): DerCursor {
    const last = this.#before
    const next = this.into(tag)
    const [bytes, at] = [this.#bytes, this.#before]
    if (last >= 0 && bytes.compare(bytes, at, this.#at, last, at) > 0) throw new DerError('set not in order')
    return next
  }

  /** With its head; a view. The cursor stays. */
  rawHere(tag: number): Buffer {
    if (this.tag !== tag) throw new DerError('another element was expected')
    return this.#bytes.subarray(this.#at, readHead(this.#bytes, this.#at, this.#end, 0))
  }

  /** With its head; a view. */
  raw(tag: number): Buffer {
    this.#take(tag)
    return this.#bytes.subarray(this.#before, this.#at)
  }

  /** Without its head; a view. */
  body(tag: number): Buffer {
    this.#take(tag)
    return this.#bytes.subarray(bodyStart, this.#at)
  }

  octets(): Buffer {
    return this.body(tags.octetString)
  }

  /** The body in latin1: to be kept and compared. */
  octetText(): string {
    this.#take(tags.octetString)
    return this.#bytes.toString('latin1', bodyStart, this.#at)
  }

  /** Body of an OID in hex: compared, never printed. */
  oid(): string {
    this.#take(tags.oid)
    return oidText(this.#bytes, bodyStart, this.#at)
  }

  /** Body of a minimal INTEGER. */
  integer(): Buffer {
    this.#take(tags.integer)
    assertInteger(this.#bytes, bodyStart, this.#at)
    return this.#bytes.subarray(bodyStart, this.#at)
  }

  /** A small INTEGER that is not negative. */
  smallInteger(): number {
    this.#take(tags.integer)
    assertInteger(this.#bytes, bodyStart, this.#at)
    const length = this.#at - bodyStart
    if (length > 4 || (this.#bytes[bodyStart] as number) >= 0x80) throw new DerError('integer out of range')
    return this.#bytes.readUIntBE(bodyStart, length)
  }

  /** A BOOLEAN that is TRUE, if there is one. */
  trueIfThere(): boolean {
    if (this.tag !== tags.boolean) return false
    this.#take(tags.boolean)
    if (this.#bytes[bodyStart] !== 0xff) throw new DerError('TRUE or absent')
    return true
  }

  /** Bits of a BIT STRING without unused ones; a view. */
  wholeBits(): Buffer {
    this.#take(tags.bitString)
    if (this.#bytes[bodyStart] !== 0) throw new DerError('bits left over')
    return this.#bytes.subarray(bodyStart + 1, this.#at)
  }

  /** UTCTime (RFC 5280 section 4.1.2.5.1), Unix ms. */
  utcTime(): number {
    this.#take(tags.utcTime)
    return utcTimeAt(this.#bytes, bodyStart, this.#at)
  }

  /** GeneralizedTime in a primitive of any tag, Unix ms. */
  generalizedTime(tag: number): number {
    this.#take(tag)
    return generalizedTimeAt(this.#bytes, bodyStart, this.#at)
  }

  /** Time as certificates must choose it: UTCTime up to 2049, GeneralizedTime after (RFC 5280 section 4.1.2.5). */
  certificateTime(): number {
    if (this.tag === tags.utcTime) return this.utcTime()
    this.#take(tags.generalizedTime)
    return certificateTimeAt(this.#bytes, bodyStart, this.#at)
  }
}

type Seen = { body: Uint8Array; hex: string }

/** OIDs seen last, by their last bytes: there are few, and a new string is dear as the key of a Map. */
const seenOids: (Seen | undefined)[] = new Array(64).fill(undefined)

function oidText(bytes: Buffer, from: number, to: number): string {
  // Of those that cards have no two share a slot.
  const slot = ((bytes[to - 1] as number) + 3 * (bytes[to - 2] as number) + 7 * (to - from)) % seenOids.length
  const seen = seenOids[slot]
  if (seen && isSame(seen.body, bytes, from, to)) return seen.hex
  const hex = bytes.toString('hex', from, to)
  seenOids[slot] = { body: new Uint8Array(bytes.subarray(from, to)), hex }
  return hex
}

function isSame(body: Uint8Array, bytes: Buffer, from: number, to: number): boolean {
  if (body.length !== to - from) return false
  for (let i = 0; i < body.length; i++) if (body[i] !== bytes[from + i]) return false
  return true
}
