// T2L, the one structure of our own messages: tag u8 | length u16 BE | value (PROTOCOL section 1).
// Tags strictly ascend, so every message has exactly one form.
import type { Brand } from './brand.ts'

/** Bytes with their domain: `ctx 00 T2L{...}`. What we sign, hash, MAC and bind as AAD or info. */
export type Bound = Brand<Buffer, 'Bound'>

export type Field = readonly [tag: number, value: Uint8Array]

/** Prints fields whose tags the caller gives, in ascending order. */
export function printFields(fields: readonly Field[]): Buffer {
  let size = 0
  for (const [, value] of fields) size += 3 + value.length
  const out = Buffer.allocUnsafe(size)
  let at = 0
  let last = -1
  for (const [tag, value] of fields) {
    if (tag <= last || tag > 255) throw new RangeError('T2L tags must ascend and fit in one byte')
    if (value.length > 0xffff) throw new RangeError('T2L value longer than 65535 bytes')
    last = tag
    out[at] = tag
    out.writeUInt16BE(value.length, at + 1)
    out.set(value, at + 3)
    at += 3 + value.length
  }
  return out
}

/** `prefix`, then values as fields 01, 02, ...: in one pass, for most of what is printed is printed here. */
function printAfter(prefix: Uint8Array, values: readonly (Uint8Array | string)[]): Buffer {
  let size = prefix.length
  for (const value of values) {
    const length = typeof value === 'string' ? Buffer.byteLength(value) : value.length
    if (length > 0xffff) throw new RangeError('T2L value longer than 65535 bytes')
    size += 3 + length
  }
  if (values.length > 255) throw new RangeError('T2L tags must ascend and fit in one byte')
  const out = Buffer.allocUnsafe(size)
  out.set(prefix)
  let at = prefix.length
  let tag = 0
  for (const value of values) {
    const isText = typeof value === 'string'
    if (!isText) out.set(value, at + 3)
    const length = isText ? out.write(value, at + 3) : value.length
    out[at] = ++tag
    out[at + 1] = length >> 8
    out[at + 2] = length & 0xff
    at += 3 + length
  }
  return out
}

const nothing = new Uint8Array()
/** As many as there are purposes in the code: none comes from outside. */
const prefixes = new Map<string, Uint8Array>()

function prefixOf(purpose: string): Uint8Array {
  const known = prefixes.get(purpose)
  if (known) return known
  const prefix = new TextEncoder().encode(`vouchsafe/${purpose}/v1\0`)
  prefixes.set(purpose, prefix)
  return prefix
}

/** Prints values as fields 01, 02, ... Strings are ASCII or UTF-8 as the message says. */
export const printT2l = (...values: (Uint8Array | string)[]): Buffer => printAfter(nothing, values)

/**
 * Parses a T2L message that must hold exactly `tags`, each once and in order.
 * @returns views into `bytes`, one per tag; undefined for anything else.
 */
export function parseT2l(bytes: Buffer, tags: readonly number[]): Buffer[] | undefined {
  const values: Buffer[] = []
  let at = 0
  for (const tag of tags) {
    if (at + 3 > bytes.length || bytes[at] !== tag) return undefined
    const end = at + 3 + bytes.readUInt16BE(at + 1)
    if (end > bytes.length) return undefined
    values.push(bytes.subarray(at + 3, end))
    at = end
  }
  return at === bytes.length ? values : undefined
}

/** `"vouchsafe/<purpose>/v1" 00 T2L{01 ..., 02 ...}`: written `purpose{...}` in PROTOCOL. */
export const bind = (purpose: string, ...values: (Uint8Array | string)[]): Bound =>
  printAfter(prefixOf(purpose), values) as Bound

/** As `bind`, with tags given by the caller (for messages that may lack fields). */
export const bindFields = (purpose: string, fields: readonly Field[]): Bound =>
  Buffer.concat([prefixOf(purpose), printFields(fields)]) as Bound
