// How an entry is found by its token id, a person or a card without an index in random order, which would cost
// every commit pages all over the file: full blocks of entries are sorted once and split by the first bits of
// the key, so that a search reads one small row of each block (docs/LEDGER.md). Pure but for a handle.
import type { DatabaseSync } from 'node:sqlite'
import { parseEntry } from './entry.ts'

/** What a search is by; the numbers are at rest. */
export const findKind = { jti: 1, subject: 2, card: 3 } as const
export type FindKind = keyof typeof findKind

/** Small blocks soon, large blocks in their place later: 16 small ones make a large one. */
const spans = [
  { span: 1, blockSize: 4096, parts: 16 },
  { span: 2, blockSize: 65_536, parts: 256 },
] as const
type Span = (typeof spans)[number]

/** Of a key, 8 bytes; then the place in its block as u16. */
const prefixBytes = 8
const rowBytes = prefixBytes + 2

const partOf = (key: Uint8Array, parts: number) => ((key[0] as number) * parts) >> 8

type Keys = { jti: Buffer | undefined; subject: Buffer; card: Buffer }

/** Reads keys of a run of entries, in order. */
function prepareKeys(db: DatabaseSync) {
  const rows = db.prepare(
    'select e.data, p.subject_tag, p.card_tag from entries e join private_rows p on p.idx = e.idx where e.idx >= ? and e.idx < ? order by e.idx',
  )
  return function* read(begin: number, end: number): Generator<Keys> {
    for (const row of rows.iterate(begin, end)) {
      yield {
        jti: parseEntry(Buffer.from(row['data'] as Uint8Array))?.jtiHash,
        subject: Buffer.from(row['subject_tag'] as Uint8Array),
        card: Buffer.from(row['card_tag'] as Uint8Array),
      }
    }
  }
}

/** Sorts the keys of one block into its parts: per kind and part the rows, one after the other. */
function sortBlock(keys: Iterable<Keys>, parts: number) {
  const rows: Record<FindKind, Buffer[][]> = { jti: [], subject: [], card: [] }
  let place = 0
  for (const found of keys) {
    for (const kind of Object.keys(findKind) as FindKind[]) {
      const key = found[kind]
      if (!key) continue
      const row = Buffer.allocUnsafe(rowBytes)
      key.copy(row, 0, 0, prefixBytes)
      row.writeUInt16BE(place, prefixBytes)
      const part = partOf(key, parts)
      const list = rows[kind][part]
      if (list) list.push(row)
      else rows[kind][part] = [row]
    }
    place++
  }
  return rows
}

/** Whether blocks of the spans end within (before, size]: then `fileBlocks` has something to do. */
export const blocksDue = (before: number, size: number) =>
  spans.some(({ blockSize }) => Math.floor(size / blockSize) > Math.floor(before / blockSize))

/** Files away the blocks that are full at `size` and were not at `before`; within the caller's transaction. */
export function prepareFiling(db: DatabaseSync) {
  const keys = prepareKeys(db)
  const insert = db.prepare('insert into finds (kind, span, part, block, rows) values (?, ?, ?, ?, ?)')
  const remove = db.prepare('delete from finds where kind = ? and span = 1 and part = ? and block = ?')

  function fileBlock({ span, blockSize, parts }: Span, block: number): void {
    const rows = sortBlock(keys(block * blockSize, (block + 1) * blockSize), parts)
    for (const [kind, byPart] of Object.entries(rows) as [FindKind, Buffer[][]][]) {
      for (const [part, list] of byPart.entries()) {
        if (list) insert.run(findKind[kind], span, part, block, Buffer.concat(list))
      }
    }
  }

  /** The small blocks that a large one replaces. */
  function removeSmall(block: number): void {
    const small = spans[0]
    const each = spans[1].blockSize / small.blockSize
    for (const kind of Object.values(findKind)) {
      for (let part = 0; part < small.parts; part++) {
        for (let at = block * each; at < (block + 1) * each; at++) remove.run(kind, part, at)
      }
    }
  }

  return function fileBlocks(before: number, size: number): void {
    for (const span of spans) {
      const end = Math.floor(size / span.blockSize)
      for (let block = Math.floor(before / span.blockSize); block < end; block++) {
        fileBlock(span, block)
        if (span.span === 2) removeSmall(block)
      }
    }
  }
}

/** Candidates are matched by 8 bytes; whoever reads the entry compares the whole key. */
export function prepareFinding(db: DatabaseSync) {
  const rowsOf = db.prepare('select block, rows from finds where kind = ? and span = ? and part = ?')
  const keys = prepareKeys(db)

  /**
   * Indices of entries that may have the key, lowest first.
   * @param sizes `integrated`: what the last checkpoint covers; `entries`: how many there are
   */
  return function find(
    kind: FindKind,
    key: Buffer,
    sizes: { integrated: number; entries: number },
  ): number[] {
    const found: number[] = []
    const prefix = key.subarray(0, prefixBytes)
    for (const { span, blockSize, parts } of spans) {
      for (const { block, rows } of rowsOf.iterate(findKind[kind], span, partOf(key, parts))) {
        const bytes = rows as Uint8Array
        for (let at = 0; at < bytes.length; at += rowBytes) {
          if (bytes[at] !== prefix[0] || prefix.compare(bytes, at, at + prefixBytes) !== 0) continue
          const place = ((bytes[at + 8] as number) << 8) | (bytes[at + 9] as number)
          found.push(Number(block) * blockSize + place)
        }
      }
    }
    let index = Math.floor(sizes.integrated / spans[0].blockSize) * spans[0].blockSize
    for (const row of keys(index, sizes.entries)) {
      if (row[kind]?.subarray(0, prefixBytes).equals(prefix)) found.push(index)
      index++
    }
    return found.sort((a, b) => a - b)
  }
}
