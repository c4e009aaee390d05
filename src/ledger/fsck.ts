// Reads a whole ledger again: every entry, its leaf, its private row, every tile, and the root of every
// checkpoint that is kept. It trusts nothing but the ledger's public key, and names the first entry that is
// wrong. Read only, in short reads of what no longer changes, so that it may run beside a gateway.
import type { DatabaseSync } from 'node:sqlite'
import { sha256 } from '../base/bytes.ts'
import { parseCheckpoint } from './checkpoint.ts'
import { deriveJti, type Entry, entryType, hashJti, parseEntry } from './entry.ts'
import { leafHash } from './hash.ts'
import { checkNote, parseNote, type Vkey } from './note.ts'
import { readRoot } from './range.ts'
import { prepareReader } from './reader.ts'
import { readFromTiles, tileWidth } from './tile.ts'
import { hashTile } from './tiles.ts'

/** A sentence for a person; `index` of the first entry that it is about, if it is about one. */
export type Fault = { index: number | undefined; what: string }

/** What a run of entries came to: the hash of each full tile of leaves in it, or its first fault. */
export type Run = { tileHashes: Buffer[]; firstMs: number; lastMs: number; fault: Fault | undefined }

const chunk = 4096
const hashBytes = 32

type Row = [idx: number | bigint, data: Uint8Array, leaf: Uint8Array, blob: Uint8Array | null]

const viewOf = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** What is wrong with one entry by itself, after one of time `lastMs`; '' if nothing is. */
function faultOf(row: Row, entry: Entry | undefined, lastMs: number): string {
  const [, data, leaf, blob] = row
  if (!leafHash(data).equals(leaf)) return 'its leaf is not the hash of its data'
  if (!entry) return 'its data is not that of an entry'
  if (entry.timeMs < lastMs) return `its time ${entry.timeMs} is before that of the entry before it`
  if (!blob) return 'its private row is missing'
  if (entry.privateHash && !entry.privateHash.equals(sha256(blob))) return 'its private row was altered'
  return ''
}

/**
 * Checks entries `begin` up to `end` by themselves; `begin` is a multiple of 256.
 * @param options.onProgress told of entries checked since the last call
 */
export function checkRun(
  db: DatabaseSync,
  range: { begin: number; end: number },
  onProgress: (entries: number) => void,
): Run {
  const rows = db.prepare(
    'select e.idx, e.data, e.leaf, p.blob from entries e left join private_rows p on p.idx = e.idx where e.idx >= ? order by e.idx limit ?',
  )
  rows.setReturnArrays(true)
  const tileHashes: Buffer[] = []
  const tile = Buffer.alloc(tileWidth * hashBytes)
  let firstMs: number | undefined
  let lastMs = 0
  const end = (fault: Fault | undefined): Run => ({ tileHashes, firstMs: firstMs ?? 0, lastMs, fault })
  for (let at = range.begin; at < range.end; ) {
    const found = rows.all(at, Math.min(chunk, range.end - at)) as unknown as Row[]
    for (const row of found) {
      const [index, data, leaf] = row
      if (Number(index) !== at) return end({ index: at, what: 'there is no such entry' })
      const entry = parseEntry(viewOf(data))
      const what = faultOf(row, entry, lastMs)
      if (what !== '' || !entry) return end({ index: at, what })
      lastMs = entry.timeMs
      firstMs ??= lastMs
      tile.set(leaf, (at % tileWidth) * hashBytes)
      if (++at % tileWidth === 0) tileHashes.push(hashTile(tile))
    }
    if (found.length === 0) return end({ index: at, what: 'there is no such entry' })
    onProgress(found.length)
  }
  return end(undefined)
}

/** Holds stored tiles of a level against hashes that were made anew, and goes up; the first that differs. */
export function checkTiles(
  db: DatabaseSync,
  tileHashes: readonly Buffer[],
  signed: number,
): Fault | undefined {
  const { readTile } = prepareReader(db)
  let hashes = tileHashes.slice(0, Math.floor(signed / tileWidth))
  for (let level = 1; hashes.length > 0; level++) {
    const above: Buffer[] = []
    for (let n = 0; n * tileWidth < hashes.length; n++) {
      const made = Buffer.concat(hashes.slice(n * tileWidth, (n + 1) * tileWidth))
      const stored = tryRead(() => readTile(level, n, made.length / hashBytes))
      if (!stored?.equals(made))
        return { index: firstOf(level, n, { made, stored }), what: `tile ${level}/${n} differs` }
      if (made.length === tileWidth * hashBytes) above.push(hashTile(made))
    }
    hashes = above
  }
  return undefined
}

/** The first entry under the first hash of a tile that differs. */
function firstOf(level: number, n: number, tiles: { made: Buffer; stored: Buffer | undefined }): number {
  let at = 0
  const { made, stored } = tiles
  while (stored && made.subarray(at, at + hashBytes).equals(stored.subarray(at, at + hashBytes)))
    at += hashBytes
  return (n * tileWidth + at / hashBytes) * tileWidth ** level
}

function tryRead(read: () => Buffer): Buffer | undefined {
  try {
    return read()
  } catch {
    return undefined // Not there, or shorter: it differs.
  }
}

/** What a kept note is called, for a person. */
export type Kept = { name: string; note: string; size: number }

/** Signature, size and root of each note; `entries` is how many there are. */
export function checkNotes(
  db: DatabaseSync,
  notes: readonly Kept[],
  given: { ledger: Vkey; witnesses: readonly Vkey[]; entries: number },
): Fault | undefined {
  const { readTile } = prepareReader(db)
  for (const { name, note, size } of notes) {
    const parsed = parseNote(note)
    const signed = parsed && checkNote(parsed, [given.ledger, ...given.witnesses])
    if (!parsed || !signed?.some(({ by }) => by === given.ledger)) {
      return { index: undefined, what: `${name} is not signed by ${given.ledger.name}` }
    }
    const checkpoint = parseCheckpoint(parsed.text)
    if (checkpoint?.size !== size)
      return { index: undefined, what: `${name} is of another size than it is kept as` }
    if (size > given.entries)
      return { index: given.entries, what: `${name} is of ${size} entries, which are not there` }
    const root = readRoot(size, readFromTiles(size, readTile))
    if (!root.equals(checkpoint.root))
      return { index: undefined, what: `${name} has another root than the tree` }
  }
  return undefined
}

/** Each used challenge names an entry of its own, and the token that follows from it. */
export function checkConsumed(db: DatabaseSync): Fault | undefined {
  const rows = db.prepare(
    'select c.digest, c.idx, e.data from consumed c left join entries e on e.idx = c.idx order by c.challenge',
  )
  for (const row of rows.iterate()) {
    const index = Number(row['idx'])
    const data = row['data'] as Uint8Array | null
    const entry = data ? parseEntry(viewOf(data)) : undefined
    if (entry?.type === entryType.session) continue
    const jti = hashJti(deriveJti(viewOf(row['digest'] as Uint8Array)))
    if (!entry?.jtiHash?.equals(jti))
      return { index, what: 'a used challenge names it, and it is not its answer' }
  }
  return undefined
}
