// For fsck.ts: the tree over the entries that were checked. Its roots are made of the hashes that the run itself made,
// and everything that is kept of it is held against them: tiles, the row of the checkpoint, its notes, the head file,
// and notes that others hold.
import type { DatabaseSync } from 'node:sqlite'
import { present } from '../base/assert.ts'
import { type Checkpoint, openCheckpoint } from './checkpoint.ts'
import type { Fault } from './fsck.ts'
import { readHead } from './head.ts'
import type { Vkey } from './note.ts'
import { emptyRoot, readRoot } from './range.ts'
import { readFromTiles, tileWidth } from './tile.ts'
import { hashTile, prepareTiles } from './tiles.ts'

const hashBytes = 32

/** The row of the checkpoint as it is stored, whatever its types. */
type Row = Record<'size' | 'root' | 'note' | 'published_size' | 'published', unknown>

/** What there was at the start, all of one moment but for the head file, which was read before. */
export type Standing = { head: string | undefined; row: Row | undefined; isTiled: boolean; entries: number }

/** First the head file: what it names was committed before it was written. */
export function readStanding(db: DatabaseSync, headFile: string): Standing {
  const head = readHead(headFile)
  const found = db.prepare(
    `select (select max(idx) from entries) as last, exists (select 1 from tiles) as tiled, c.*
     from (select 1) left join checkpoints c on c.id = 1`,
  )
  const { last, tiled, id, ...row } = present(found.get(), 'a row of one moment')
  const isMade = id !== null
  return {
    head,
    row: isMade ? (row as Row) : undefined,
    isTiled: tiled === 1,
    entries: Number(last ?? -1) + 1,
  }
}

/** A checkpoint that is kept, and where: words for a person. */
export type Kept = { name: string } & Pick<Checkpoint, 'size' | 'root'>

/** What the notes come to: the largest size that is proved, or the first fault. */
export type Proved = { size: number; published: number; fault: Fault | undefined }

const fault = (what: string, index?: number): Fault => ({ index, what })

/** Holds one note of the row against its size; undefined is none, as before the first checkpoint. */
function openKept(
  name: string,
  kept: { size: unknown; note: unknown },
  ledger: Vkey,
): Kept | Fault | undefined {
  const { size, note } = kept
  if (size === 0 && note === '') return undefined
  const opened = typeof note === 'string' ? openCheckpoint(note, ledger) : undefined
  if (!opened) return fault(`${name} is not signed by ${ledger.name}`)
  if (opened.size !== size) return fault(`${name} is of another size than it is kept as`)
  return { name, ...opened }
}

/** The checkpoints of the row, with what must be so between them. */
function openRow(row: Row, ledger: Vkey): Kept[] | Fault {
  const signed = openKept('the signed checkpoint', { size: row.size, note: row.note }, ledger)
  if (signed && 'what' in signed) return signed
  const shown = { size: row.published_size, note: row.published }
  const published = openKept('the published checkpoint', shown, ledger)
  if (published && 'what' in published) return published
  const root = signed?.root ?? emptyRoot
  if (!(row.root instanceof Uint8Array) || !root.equals(row.root))
    return fault('the root that is kept beside the signed checkpoint is not the one that was signed')
  if ((published?.size ?? 0) > (signed?.size ?? 0))
    return fault('the published checkpoint is newer than the signed one')
  return [signed, published].filter((kept) => kept !== undefined)
}

/** What must be there if anything was signed. */
function findGone({ head, row, isTiled, entries }: Standing, others: readonly Kept[]): Fault | undefined {
  const signed = row?.size ?? 0
  if (!row && entries > 0)
    return fault('the row of the checkpoint is gone, which a gateway makes before its first entry')
  if (signed === 0 && isTiled) return fault('there are tiles of a checkpoint, and the checkpoint is gone')
  if (signed !== 0 && head === undefined)
    return fault('the head file beside the ledger is missing, which is written before each checkpoint')
  const other = signed === 0 && head === undefined ? others.find(({ size }) => size > 0) : undefined
  return other && fault(`nothing is signed here, and ${other.name} was`)
}

/**
 * Holds all that is signed against the entries.
 * @param tileHashes of each full tile of the first `entries`
 * @param others checkpoints of the ledger that others hold
 */
export function checkStanding(
  db: DatabaseSync,
  standing: Standing,
  given: { ledger: Vkey; tileHashes: readonly Buffer[]; others: readonly Kept[] },
): Proved {
  const { ledger, tileHashes, others } = given
  const { head, row, entries } = standing
  const none = (fault: Fault | undefined): Proved => ({ size: 0, published: 0, fault })
  const gone = findGone(standing, others)
  if (gone) return none(gone)
  const own = row ? openRow(row, ledger) : []
  if ('what' in own) return none(own)
  const opened = head === undefined ? undefined : openCheckpoint(head, ledger)
  if (head !== undefined && !opened) return none(fault(`the head file is not signed by ${ledger.name}`))
  const kept = [...own, ...(opened ? [{ name: 'the head file', ...opened }] : []), ...others]
  const rootOf = prepareRoots(db, tileHashes)
  for (const { name, size, root } of kept) {
    if (size > entries) return none(fault(`${name} is of ${size} entries, which are not there`, entries))
    if (!rootOf(size).equals(root)) return none(fault(`${name} has another root than the tree`))
  }
  const size = Math.max(0, ...kept.map((each) => each.size))
  return { size, published: Number(row?.published_size ?? 0), fault: undefined }
}

/** Roots over the first entries, of the hashes of their full tiles; leaves of the last tile are read again. */
function prepareRoots(db: DatabaseSync, tileHashes: readonly Buffer[]): (size: number) => Buffer {
  const levels = [[], tileHashes]
  for (let below = tileHashes; below.length >= tileWidth; ) {
    const full = Array.from({ length: Math.floor(below.length / tileWidth) }, (_, n) =>
      hashTile(Buffer.concat(below.slice(n * tileWidth, (n + 1) * tileWidth))),
    )
    levels.push(full)
    below = full
  }
  const leaves = prepareTiles(db)
  const read = (level: number, n: number, width: number) =>
    level === 0
      ? leaves.read(0, n, width)
      : Buffer.concat(present(levels[level], 'a level').slice(n * tileWidth, n * tileWidth + width))
  return (size) => readRoot(size, readFromTiles(size, read))
}

/** Holds stored tiles of a level against hashes that were made anew, and goes up; the first that differs. */
export function checkTiles(
  db: DatabaseSync,
  tileHashes: readonly Buffer[],
  signed: number,
): Fault | undefined {
  const stored = prepareTiles(db)
  let hashes = tileHashes.slice(0, Math.floor(signed / tileWidth))
  for (let level = 1; hashes.length > 0; level++) {
    const above: Buffer[] = []
    for (let n = 0; n * tileWidth < hashes.length; n++) {
      const made = Buffer.concat(hashes.slice(n * tileWidth, (n + 1) * tileWidth))
      const kept = tryRead(() => stored.read(level, n, made.length / hashBytes))
      if (!kept?.equals(made))
        return { index: firstOf(level, n, { made, kept }), what: `tile ${level}/${n} differs` }
      if (made.length === tileWidth * hashBytes) above.push(hashTile(made))
    }
    hashes = above
  }
  return undefined
}

/** The first entry under the first hash of a tile that differs. */
function firstOf(level: number, n: number, tiles: { made: Buffer; kept: Buffer | undefined }): number {
  let at = 0
  const { made, kept } = tiles
  while (kept && made.subarray(at, at + hashBytes).equals(kept.subarray(at, at + hashBytes))) at += hashBytes
  return (n * tileWidth + at / hashBytes) * tileWidth ** level
}

function tryRead(read: () => Buffer): Buffer | undefined {
  try {
    return read()
  } catch {
    return undefined // Not there, or shorter: it differs.
  }
}
