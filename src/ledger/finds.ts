// How an entry is found by its token id, a person or a card without an index in random order, which would cost
// every commit pages all over the file: full blocks of entries are split once by the first bits of the key, so
// that a search reads one small row of each block (docs/LEDGER.md). Rebuilt from the entries if it is lost.
import type { DatabaseSync } from 'node:sqlite'
import { u64 } from '../base/bytes.ts'
import { jtiHashAt, typeAt } from './entry.ts'

/** What a search is by; the numbers are at rest. */
export const findKind = { jti: 1, subject: 2, card: 3 } as const
export type FindKind = keyof typeof findKind

/** Small blocks soon, large blocks in their place later: 16 small ones make a large one. */
const spans = [
  { span: 1, blockSize: 4096, parts: 16 },
  { span: 2, blockSize: 65_536, parts: 256 },
] as const

/** Of a key, 8 bytes; then the place in its block as u16. */
const prefixBytes = 8
const rowBytes = prefixBytes + 2

const partOf = (key: Uint8Array, parts: number) => ((key[0] as number) * parts) >> 8

const firstPlace = spans[0].blockSize
const smallInLarge = spans[1].blockSize / firstPlace

type Lists = Record<FindKind, Buffer[][]>
const newLists = (): Lists => ({ jti: [], subject: [], card: [] })
const kinds = Object.keys(findKind) as FindKind[]

/** The first bytes of each key of a run of entries, in order; null for a token where an entry has none. */
function prepareKeys(db: DatabaseSync) {
  const rows = db.prepare(
    `select case when substr(e.data, ${typeAt}, 1) = x'01' then substr(e.data, ${jtiHashAt}, ${prefixBytes}) end,
       substr(p.subject_tag, 1, ${prefixBytes}), substr(p.card_tag, 1, ${prefixBytes})
     from entries e join private_rows p on p.idx = e.idx where e.idx >= ? and e.idx < ? order by e.idx`,
  )
  rows.setReturnArrays(true)
  type Row = [jti: Uint8Array | null, subject: Uint8Array, card: Uint8Array]
  return (begin: number, end: number) => rows.all(begin, end) as unknown as Row[]
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
    `select distinct kind, part, block / ${smallInLarge} as large from finds where kind > 0 and span = 1
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
    put(kind: FindKind, at: { span: number; part: number; block: number }, rows: readonly Buffer[]): void {
      if (rows.length > 0) insert.run(findKind[kind], at.span, at.part, at.block, Buffer.concat(rows))
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
  let lists = newLists()
  let at = blocks.filed()
  let joins = blocks.listJoins()

  function take(end: number): void {
    for (const row of keys(at, end)) {
      for (const [i, kind] of kinds.entries()) {
        const key = row[i]
        if (key) addRow(lists[kind], key, { place: at % firstPlace, parts: spans[0].parts })
      }
      at++
    }
  }

  function transact(work: () => void): void {
    db.exec('begin immediate')
    try {
      work()
      db.exec('commit')
    } catch (error) {
      if (db.isTransaction) db.exec('rollback')
      throw error
    }
  }

  /** Writes the small block that ends here. */
  function write(): void {
    const block = at / firstPlace - 1
    try {
      transact(() => {
        // Another process may have come first: then its rows stand, and they are the same.
        if (blocks.filed() >= at) return
        for (const kind of kinds) {
          for (const [part, rows] of lists[kind].entries())
            blocks.put(kind, { span: 1, part, block }, rows ?? [])
        }
        blocks.setFiled(at)
      })
    } catch (error) {
      at -= firstPlace // Tried again from the start of the block.
      throw error
    } finally {
      lists = newLists()
    }
    if (at % spans[1].blockSize === 0) joins = blocks.listJoins()
  }

  /** Goes on for at most `count` entries below `size`; true if something is left. Throws what SQLite throws. */
  return function file(size: number, count: number): boolean {
    const [join] = joins
    if (join) {
      transact(() => joinPart(blocks, join))
      joins.shift()
      return true
    }
    const end = Math.min(size, at + count, (Math.floor(at / firstPlace) + 1) * firstPlace)
    if (end > at) {
      take(end)
      if (at % firstPlace === 0) write()
    }
    return at < size || joins.length > 0
  }
}

function addRow(parts: Buffer[][], key: Uint8Array, given: { place: number; parts: number }): void {
  const row = Buffer.allocUnsafe(rowBytes)
  row.set(key)
  row.writeUInt16BE(given.place, prefixBytes)
  const part = partOf(key, given.parts)
  const list = parts[part]
  if (list) list.push(row)
  else parts[part] = [row]
}

/** Puts one part of small blocks into their large one: only the parts are finer and the places larger. */
function joinPart(blocks: ReturnType<typeof prepareBlocks>, { kind, part, block }: Join): void {
  const [small, large] = spans
  const parts: Buffer[][] = []
  for (let i = 0; i < smallInLarge; i++) {
    const rows = blocks.take(kind, part, block * smallInLarge + i)
    for (let at = 0; at < rows.length; at += rowBytes) {
      const place = i * small.blockSize + rows.readUInt16BE(at + prefixBytes)
      addRow(parts, rows.subarray(at, at + prefixBytes), { place, parts: large.parts })
    }
  }
  // Nothing, if another process came first: its rows stand.
  for (const [at, rows] of parts.entries()) blocks.put(kind, { span: 2, part: at, block }, rows ?? [])
}

/** Candidates are matched by 8 bytes; whoever reads the entry compares the whole key. */
export function prepareFinding(db: DatabaseSync) {
  const rowsOf = db.prepare('select block, rows from finds where kind = ? and span = ? and part = ?')
  const keys = prepareKeys(db)
  const blocks = prepareBlocks(db)

  /** Indices below `size` of entries that may have the key, lowest first. */
  return function find(kind: FindKind, key: Buffer, size: number): number[] {
    const found: number[] = []
    const prefix = key.subarray(0, prefixBytes)
    for (const { span, blockSize, parts } of spans) {
      for (const { block, rows } of rowsOf.iterate(findKind[kind], span, partOf(key, parts))) {
        for (const place of placesOf(rows as Uint8Array, prefix))
          found.push(Number(block) * blockSize + place)
      }
    }
    let index = blocks.filed()
    const column = kinds.indexOf(kind)
    for (const row of keys(index, size)) {
      if (row[column] && prefix.equals(row[column])) found.push(index)
      index++
    }
    return found.sort((a, b) => a - b)
  }
}

function* placesOf(rows: Uint8Array, prefix: Buffer): Generator<number> {
  for (let at = 0; at < rows.length; at += rowBytes) {
    if (rows[at] !== prefix[0] || prefix.compare(rows, at, at + prefixBytes) !== 0) continue
    yield ((rows[at + prefixBytes] as number) << 8) | (rows[at + prefixBytes + 1] as number)
  }
}
