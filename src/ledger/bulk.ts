// Rows in bulk: many rows as one blob. A row that comes to JavaScript by itself costs more than the hashes over it,
// because each of its blobs becomes an ArrayBuffer of its own; joined by SQLite they cost a third.
import { assert } from '../base/assert.ts'

/** What a frame holds of a row, as SQL: columns of bytes, then columns of whole numbers. */
export type Columns = { blobs: readonly string[]; integers?: readonly string[] }

/** A row: bytes are views into what was joined. Undefined: null, or stored as anything else than that. */
export type Framed = { blobs: (Buffer | undefined)[]; integers: (number | undefined)[] }

const lengthBytes = 4
const integerBytes = 8

/**
 * SQL of one row as a frame: for each blob its length and one more as u32, each number as 8 bytes, then the blobs.
 * A blob that is stored as something else has length 0, a number all bits set, which no number of ours has: joined to
 * others they would lose their type, and whoever reads that column by itself would get a text where bytes belong.
 */
export function frameOf({ blobs, integers = [] }: Columns): string {
  const isBlob = (column: string) => `typeof(${column}) = 'blob'`
  const isInteger = (column: string) => `typeof(${column}) = 'integer'`
  const form = '%08x'.repeat(blobs.length) + '%016x'.repeat(integers.length)
  const frame = (lengths: readonly string[], numbers: readonly string[], values: readonly string[]) =>
    `unhex(printf('${form}', ${[...lengths, ...numbers].join(', ')})) || ${values.join(' || ')}`
  const length = (column: string) => `octet_length(${column}) + 1`
  const whole = frame(blobs.map(length), integers, blobs)
  const partial = frame(
    blobs.map((column) => `iif(${isBlob(column)}, ${length(column)}, 0)`),
    integers.map((column) => `iif(${isInteger(column)}, ${column}, -1)`),
    blobs.map((column) => `iif(${isBlob(column)}, ${column}, '')`),
  )
  // Nearly every row is as it should be, and costs one look at each type.
  return `iif(${[...blobs.map(isBlob), ...integers.map(isInteger)].join(' and ')}, ${whole}, ${partial})`
}

/** SQL of an aggregate that joins values, in the order of `by`, as one blob; null of no rows. */
export const joinedBy = (value: string, by: string) =>
  `cast(group_concat(${value}, '' order by ${by}) as blob)`

/**
 * Rows of joined frames of these columns.
 * @throws Error for bytes that are not whole frames
 */
export function parseFrames(
  bytes: Uint8Array,
  { blobs: { length: count }, integers = [] }: Columns,
): Framed[] {
  const joined = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const rows: Framed[] = []
  for (let head = 0; head < joined.length; ) {
    const numbers = head + count * lengthBytes
    let at = numbers + integers.length * integerBytes
    assert(at <= joined.length, 'a frame is cut off')
    const row: Framed = { blobs: [], integers: [] }
    for (let i = 0; i < count; i++) {
      const length = joined.readUInt32BE(head + i * lengthBytes) - 1
      row.blobs.push(length < 0 ? undefined : joined.subarray(at, at + length))
      at += Math.max(length, 0)
    }
    for (let i = 0; i < integers.length; i++)
      row.integers.push(readInteger(joined, numbers + i * integerBytes))
    assert(at <= joined.length, 'a frame is cut off')
    rows.push(row)
    head = at
  }
  return rows
}

/** A number of at most 48 bits: an index, a time in ms; undefined for what is none of ours. */
const readInteger = (bytes: Buffer, at: number) =>
  bytes.readUInt16BE(at) === 0 ? bytes.readUIntBE(at + 2, 6) : undefined
