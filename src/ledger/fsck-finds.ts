// For fsck.ts: holds the search blocks against the entries, so that each filed entry is found by its keys and by no
// others. A step reads all blocks of 65,536 entries at one moment, since a gateway may be joining them meanwhile.
import type { DatabaseSync } from 'node:sqlite'
import { present } from '../base/assert.ts'
import { readU64 } from '../base/bytes.ts'
import { findKind, kinds, partOf, prefixBytes, rowBytes, spans } from './finds.ts'
import type { Fault } from './fsck.ts'

const [small, large] = spans
const regionSize = large.blockSize
const filedBytes = 8
const words = { jti: 'token id', subject: 'person tag', card: 'card tag' } as const

/** Reads how far the blocks go; undefined where that is not stored as it should be. */
function prepareFiled(db: DatabaseSync) {
  const filed = db.prepare('select rows from finds where kind = 0 and span = 0 and part = 0 and block = 0')
  return (): number | undefined => {
    const row = filed.get()
    if (!row) return 0
    const bytes = row['rows']
    if (!(bytes instanceof Uint8Array) || bytes.length !== filedBytes || bytes[0] !== 0) return undefined
    return readU64(Buffer.from(bytes))
  }
}

/** All at one moment: blocks are written and joined in transactions of their own. */
function atOnce<T>(db: DatabaseSync, read: () => T): T {
  db.exec('begin')
  try {
    return read()
  } finally {
    db.exec('commit')
  }
}

/** Rows of one kind in a region: `rows` one after the other, and for each place which of them is its own, or -1. */
type Filed = { rows: Buffer; places: Int32Array }

type Block = { span: number; blockSize: number; parts: number; block: number }

/** Reads the rows of one kind; a fault if they name a place that is not filed, is in another part, or has one. */
function prepareLoading(db: DatabaseSync) {
  const rowsOf = db.prepare('select rows from finds where kind = ? and span = ? and part = ? and block = ?')

  return function load(
    kind: number,
    region: { begin: number; end: number },
    filed: Filed,
  ): Fault | undefined {
    const parts: Uint8Array[] = []
    let count = 0
    filed.places.fill(-1)

    function take({ span, blockSize, block, parts: partsOfBlock }: Block, part: number): Fault | undefined {
      const found = rowsOf.get(kind, span, part, block)
      if (!found) return undefined
      const rows = found['rows']
      const first = block * blockSize
      if (!(rows instanceof Uint8Array) || rows.length % rowBytes !== 0)
        return { index: first, what: 'its search block does not hold rows' }
      for (let at = 0; at < rows.length; at += rowBytes) {
        const place = ((rows[at + prefixBytes] as number) << 8) | (rows[at + prefixBytes + 1] as number)
        const index = first + place
        if (place >= blockSize || index >= region.end)
          return { index, what: 'a search block names a place beyond its end' }
        if (partOf(rows[at] as number, partsOfBlock) !== part)
          return { index, what: 'a search block has it in another part than its key says' }
        if (filed.places[index - region.begin] !== -1)
          return { index, what: 'the search blocks have it twice' }
        filed.places[index - region.begin] = count++
      }
      parts.push(rows)
      return undefined
    }

    for (const { span, blockSize, parts: partsOfBlock } of spans) {
      for (let block = region.begin / blockSize; block * blockSize < region.end; block++) {
        for (let part = 0; part < partsOfBlock; part++) {
          const fault = take({ span, blockSize, parts: partsOfBlock, block }, part)
          if (fault) return fault
        }
      }
    }
    filed.rows = Buffer.concat(parts)
    return undefined
  }
}

/** Whether the row at `at` begins as the key does; a call of Buffer.compare would cost more than all of this. */
function isPrefix(rows: Buffer, at: number, key: Buffer): boolean {
  for (let i = 0; i < prefixBytes; i++) if (rows[at + i] !== key[i]) return false
  return true
}

/** Checks entries one after the other: `keys` are whole, in the order of `kinds`; undefined where it has none. */
export function prepareFiledCheck(db: DatabaseSync) {
  const readFiled = prepareFiled(db)
  const load = prepareLoading(db)
  const filed = kinds.map((): Filed => ({ rows: Buffer.alloc(0), places: new Int32Array(regionSize) }))
  let region = { begin: -1, end: -1 }

  function loadRegion(begin: number): Fault | undefined {
    return atOnce(db, () => {
      // Where it cannot be read, checkBlocks says so.
      region = { begin, end: Math.min(begin + regionSize, readFiled() ?? 0) }
      for (const [i, kind] of kinds.entries()) {
        const fault = load(findKind[kind], region, present(filed[i], 'what is filed'))
        if (fault) return fault
      }
      return undefined
    })
  }

  return (index: number, keys: readonly (Buffer | undefined)[]): Fault | undefined => {
    const begin = index - (index % regionSize)
    const fault = begin === region.begin ? undefined : loadRegion(begin)
    if (fault || index >= region.end) return fault
    for (let i = 0; i < kinds.length; i++) {
      const { rows, places } = filed[i] as Filed
      const [key, row] = [keys[i], places[index - begin] as number]
      const word = words[kinds[i] as keyof typeof words]
      if (row < 0 && key) return { index, what: `the search blocks leave it out by its ${word}` }
      if (row >= 0 && !key) return { index, what: `the search blocks have it by a ${word}, and it has none` }
      if (key && !isPrefix(rows, row * rowBytes, key))
        return { index, what: `the search blocks have it by another ${word}` }
    }
    return undefined
  }
}

/** The blocks go no further than they say, that no further than the entries, and there is nothing else in the table. */
export function checkBlocks(db: DatabaseSync): Fault | undefined {
  const readFiled = prepareFiled(db)
  const last = db.prepare('select max(idx) as idx from entries')
  const inBlock = (each: (typeof spans)[number]) =>
    `span = ${each.span} and part between 0 and ${each.parts - 1} and (block + 1) * ${each.blockSize} <= :filed`
  const stray = db.prepare(
    `select kind from finds where not (kind = 0 and span = 0 and part = 0 and block = 0) and not (kind in (1, 2, 3)
     and typeof(block) = 'integer' and block >= 0 and (${inBlock(small)} or ${inBlock(large)})) limit 1`,
  )
  return atOnce(db, () => {
    const entries = Number(last.get()?.['idx'] ?? -1) + 1
    const filed = readFiled()
    const fault = (what: string): Fault => ({ index: undefined, what })
    if (filed === undefined || filed % small.blockSize !== 0)
      return fault('how far the search blocks go is not stored as a number of whole blocks')
    if (filed > entries) return fault(`the search blocks go to ${filed}, and there are ${entries} entries`)
    return stray.get({ filed }) ? fault('there are search blocks of what is not filed') : undefined
  })
}
