// How an entry is found by its token id, a person or a card without an index in random order, which would cost
// every commit pages all over the file: full blocks of entries are split once by the first bits of the key, so
// that a search reads one small row of each block (docs/LEDGER.md). Rebuilt from the entries if it is lost.
import type { DatabaseSync } from 'node:sqlite'
import { assert } from '../base/assert.ts'
import { u64 } from '../base/bytes.ts'
import { joinedBy } from './bulk.ts'
import { entryType, jtiHashAt, typeAt } from './entry.ts'

/** What a search is by; the numbers are at rest. */
export const findKind = { jti: 1, subject: 2, card: 3 } as const
export type FindKind = keyof typeof findKind

/** Small blocks soon, large blocks in their place later: 16 small ones make a large one. */
export const spans = [
  { span: 1, blockSize: 4096, parts: 16 },
  { span: 2, blockSize: 65_536, parts: 256 },
] as const

/** Of a key, 8 bytes; then the place in its block as u16. */
export const prefixBytes = 8
export const rowBytes = prefixBytes + 2

export const partOf = (firstByte: number, parts: number) => (firstByte * parts) >> 8

const firstPlace = spans[0].blockSize
const smallInLarge = spans[1].blockSize / firstPlace

export const kinds = Object.keys(findKind) as FindKind[]

/** An entry's keys as they are read: its type, then the first bytes of each key in the order of `kinds`. */
const keysBytes = 1 + kinds.length * prefixBytes
const keyAt = (kind: FindKind) => 1 + (findKind[kind] - 1) * prefixBytes
/** Only a verification has a token. */
const hasKey = (keys: Buffer, at: number, kind: FindKind) => kind !== 'jti' || keys[at] === entryType.verify

/** The keys of a run of entries, in order, as one blob: a row by itself costs three times as much (bulk.ts). */
function prepareKeys(db: DatabaseSync) {
  const type = `substr(e.data, ${typeAt}, 1)`
  const jti = `iif(${type} = x'01', substr(e.data, ${jtiHashAt}, ${prefixBytes}), zeroblob(${prefixBytes}))`
  const tags = ['subject_tag', 'card_tag'].map((tag) => `substr(p.${tag}, 1, ${prefixBytes})`)
  const rows = db.prepare(
    `select ${joinedBy('keys', 'idx')} as keys from (select e.idx, ${[type, jti, ...tags].join(' || ')} as keys
     from entries e join private_rows p on p.idx = e.idx where e.idx >= ? and e.idx < ?)`,
  )
  return (begin: number, end: number): Buffer => {
    const keys = rows.get(begin, end)?.['keys'] as Uint8Array | null
    const read = keys ? Buffer.from(keys.buffer, keys.byteOffset, keys.byteLength) : Buffer.alloc(0)
    // Never less than was asked for: every key after a gap would be another entry's.
    assert(read.length === Math.max(0, end - begin) * keysBytes, 'an entry or its private row is missing')
    return read
  }
}

/** One part of the small blocks that are in a large one: joined in a transaction of its own. */
type Join = { kind: FindKind; part: number; block: number }

/** Reads and writes rows of blocks; how far they go is row 0 of kind 0. */
function prepareBlocks(db: DatabaseSync) {
  const insert = db.prepare(
    'insert or replace into finds (kind, span, part, block, rows) values (?, ?, ?, ?, ?)',
  )
  const read = db.prepare('select rows from finds where kind = ? and span = ? and part = ? and block = ?')
  const remove = db.prepare('delete from finds where kind = ? and span = 1 and part = ? and block = ?')
  const small = db.prepare(
    `select distinct kind, part, block / ${smallInLarge} as large from finds where kind in (1, 2, 3) and span = 1
     and block < ? order by large, kind, part`,
  )
  return {
    /** Entries below this are filed. */
    filed(): number {
      const row = read.get(0, 0, 0, 0)
      return row ? Number(Buffer.from(row['rows'] as Uint8Array).readBigUInt64BE()) : 0
    },
    /** Parts of large blocks whose entries are all filed, and that are still small ones. */
    listJoins(): Join[] {
      const whole = Math.floor(this.filed() / spans[1].blockSize) * smallInLarge
      return small.all(whole).map(({ kind, part, large }) => ({
        kind: kinds[Number(kind) - 1] as FindKind,
        part: Number(part),
        block: Number(large),
      }))
    },
    setFiled: (entries: number) => insert.run(0, 0, 0, 0, u64(entries)),
    put(kind: FindKind, at: { span: number; part: number; block: number }, { bytes, length }: Part): void {
      if (length > 0) insert.run(findKind[kind], at.span, at.part, at.block, bytes.subarray(0, length))
    },
    /** Takes a small block's part away. */
    take(kind: FindKind, part: number, block: number): Buffer {
      const row = read.get(findKind[kind], 1, part, block)
      remove.run(findKind[kind], part, block)
      return row ? Buffer.from(row['rows'] as Uint8Array) : Buffer.alloc(0)
    },
  }
}

/**
 * Files blocks little by little, so that no commit waits for it: a step reads a few entries, and every 4,096th
 * writes what was read; or it joins one part of small blocks. What a process that died had read is read again by
 * the next, and what it had not joined is found again.
 */
export function prepareFiling(db: DatabaseSync) {
  const keys = prepareKeys(db)
  const blocks = prepareBlocks(db)
  /** Of the block that is not written yet, up to `at`. */
  let held: Buffer[] = []
  let at = blocks.filed()
  let joins = blocks.listJoins()

  /** Writes the small block that ends here. */
  function write(): void {
    try {
      transact(db, () => writeBlock(blocks, Buffer.concat(held), at))
    } catch (error) {
      at -= firstPlace // Tried again from the start of the block.
      throw error
    } finally {
      held = []
    }
    if (at % spans[1].blockSize === 0) joins = blocks.listJoins()
  }

  /** Reads at most `count` entries below `size`, and writes a block where one ends. Throws what SQLite throws. */
  function read(size: number, count: number): void {
    if (at % firstPlace === 0) at = Math.max(at, blocks.filed()) // Another process may be ahead.
    const end = Math.min(size, at + count, (Math.floor(at / firstPlace) + 1) * firstPlace)
    if (end <= at) return
    held.push(keys(at, end))
    at = end
    if (at % firstPlace === 0) write()
  }

  return {
    read,
    /** How many entries below `size` are not read yet. */
    behind: (size: number) => size - at,
    /**
     * A step when there is time: joins one part, else reads as `read` does.
     * @returns true if something is left
     */
    step(size: number, count: number): boolean {
      const [join] = joins
      if (join) {
        transact(db, () => joinPart(blocks, join))
        joins.shift()
      } else read(size, count)
      return at < size || joins.length > 0
    },
  }
}

function transact(db: DatabaseSync, work: () => void): void {
  db.exec('begin immediate')
  try {
    work()
    db.exec('commit')
  } catch (error) {
    if (db.isTransaction) db.exec('rollback')
    throw error
  }
}

/** Puts the keys of the entries before `end` into the small block that ends there. */
function writeBlock(blocks: ReturnType<typeof prepareBlocks>, keys: Buffer, end: number): void {
  // Another process may have come first: then its rows stand, and they are the same.
  if (blocks.filed() >= end) return
  const block = end / firstPlace - 1
  for (const kind of kinds) {
    const parts = newParts(spans[0].parts)
    for (let place = 0; place < firstPlace; place++) {
      const at = place * keysBytes
      if (hasKey(keys, at, kind)) addRow(parts, keys, { from: at + keyAt(kind), place })
    }
    for (const [part, rows] of parts.entries()) blocks.put(kind, { span: 1, part, block }, rows)
  }
  blocks.setFiled(end)
}

type Part = { bytes: Buffer; length: number }
const newParts = (count: number): Part[] =>
  Array.from({ length: count }, () => ({ bytes: Buffer.alloc(0), length: 0 }))

/** Adds the key at `from` of `keys`, with its place, to the part that it belongs to. */
function addRow(parts: Part[], keys: Buffer, { from, place }: { from: number; place: number }): void {
  const part = parts[partOf(keys[from] as number, parts.length)] as Part
  if (part.length === part.bytes.length) {
    const larger = Buffer.allocUnsafe(Math.max(64 * rowBytes, 2 * part.bytes.length))
    part.bytes.copy(larger)
    part.bytes = larger
  }
  keys.copy(part.bytes, part.length, from, from + prefixBytes)
  part.bytes.writeUInt16BE(place, part.length + prefixBytes)
  part.length += rowBytes
}

/** Puts one part of small blocks into their large one: only the parts are finer and the places larger. */
function joinPart(blocks: ReturnType<typeof prepareBlocks>, { kind, part, block }: Join): void {
  const [small, large] = spans
  const parts = newParts(large.parts)
  for (let i = 0; i < smallInLarge; i++) {
    const rows = blocks.take(kind, part, block * smallInLarge + i)
    for (let from = 0; from < rows.length; from += rowBytes) {
      const place = i * small.blockSize + rows.readUInt16BE(from + prefixBytes)
      addRow(parts, rows, { from, place })
    }
  }
  // Nothing, if another process came first: its rows stand.
  for (const [at, rows] of parts.entries()) blocks.put(kind, { span: 2, part: at, block }, rows)
}

/** Candidates are matched by 8 bytes; whoever reads the entry compares the whole key. */
export function prepareFinding(db: DatabaseSync) {
  const rowsOf = db.prepare(
    'select block, rows from finds where kind = ? and span = ? and part = ? and block >= ?',
  )
  const keys = prepareKeys(db)
  const blocks = prepareBlocks(db)

  /** Indices from `from` to below `size` of entries that may have the key, lowest first. */
  return function find(kind: FindKind, key: Buffer, size: number, from = 0): number[] {
    const found = new Set<number>()
    const prefix = key.subarray(0, prefixBytes)
    // Before the blocks, and small ones before large ones: what is filed or joined meanwhile is found twice, and
    // not between two places.
    const filed = blocks.filed()
    for (const { span, blockSize, parts } of spans) {
      const first = Math.floor(from / blockSize)
      const part = partOf(prefix[0] as number, parts)
      for (const { block, rows } of rowsOf.iterate(findKind[kind], span, part, first)) {
        for (const place of placesOf(rows as Uint8Array, prefix)) found.add(Number(block) * blockSize + place)
      }
    }
    const begin = Math.max(filed, from)
    const unfiled = keys(begin, Math.max(begin, size))
    for (let at = 0; at < unfiled.length; at += keysBytes) {
      const keyFrom = at + keyAt(kind)
      if (unfiled[keyFrom] !== prefix[0] || !hasKey(unfiled, at, kind)) continue
      if (prefix.compare(unfiled, keyFrom, keyFrom + prefixBytes) === 0) found.add(begin + at / keysBytes)
    }
    return [...found].filter((at) => at >= from && at < size).sort((a, b) => a - b)
  }
}

function* placesOf(rows: Uint8Array, prefix: Buffer): Generator<number> {
  for (let at = 0; at < rows.length; at += rowBytes) {
    if (rows[at] !== prefix[0] || prefix.compare(rows, at, at + prefixBytes) !== 0) continue
    yield ((rows[at + prefixBytes] as number) << 8) | (rows[at + prefixBytes + 1] as number)
  }
}
