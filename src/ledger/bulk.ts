// Rows in bulk: many rows as one blob. A row that comes to JavaScript by itself costs more than the hashes over it,
// because each of its blobs becomes an ArrayBuffer of its own; joined by SQLite they cost a third.
import { assert } from '../base/assert.ts'

const lengthBytes = 4

/** SQL of one row as a frame: for each column its length and one more as u32 (0: null), then the values. */
export const frameOf = (columns: readonly string[]) => {
  const lengths = columns.map((column) => `ifnull(octet_length(${column}) + 1, 0)`)
  const values = columns.map((column) => `ifnull(${column}, '')`)
  return `unhex(printf('${'%08x'.repeat(columns.length)}', ${lengths.join(', ')})) || ${values.join(' || ')}`
}

/** SQL of an aggregate that joins values, in the order of `by`, as one blob; null of no rows. */
export const joinedBy = (value: string, by: string) =>
  `cast(group_concat(${value}, '' order by ${by}) as blob)`

/**
 * Rows of joined frames of `columns` columns each; the values are views into `bytes`, numbers in decimal.
 * @throws Error for bytes that are not whole frames
 */
export function parseFrames(bytes: Uint8Array, columns: number): (Buffer | undefined)[][] {
  const joined = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const rows: (Buffer | undefined)[][] = []
  for (let head = 0; head < joined.length; ) {
    let at = head + columns * lengthBytes
    const row: (Buffer | undefined)[] = []
    for (let column = 0; column < columns; column++) {
      const length = joined.readUInt32BE(head + column * lengthBytes) - 1
      row.push(length < 0 ? undefined : joined.subarray(at, at + length))
      at += Math.max(length, 0)
    }
    assert(at <= joined.length, 'a frame is cut off')
    rows.push(row)
    head = at
  }
  return rows
}
