// Reads a whole ledger again: every entry, its leaf, its private row, every tile, and the root of every
// checkpoint that is kept. It trusts nothing but the ledger's public key, and names the first entry that is
// wrong. Read only, in short reads of what no longer changes, so that it may run beside a gateway.
import type { DatabaseSync } from 'node:sqlite'
import { present } from '../base/assert.ts'
import { sha256 } from '../base/bytes.ts'
import { frameOf, joinedBy, parseFrames } from './bulk.ts'
import { parseCheckpoint } from './checkpoint.ts'
import { deriveJti, type Entry, entryType, hashJti, jtiHashAt, parseEntry, typeAt } from './entry.ts'
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

/** Rows read at once: they and what is made of them stay in the processor's cache. */
const chunk = 256
const hashBytes = 32
const empty = Buffer.alloc(0)
const cachePragma = 'pragma cache_size = -65536' // KiB: entries and what refers to them lie far apart.

type Row = { data: Buffer; leaf: Buffer; blob: Buffer | undefined }

/** What is wrong with one entry by itself, after one of time `lastMs`; '' if nothing is. */
function faultOf({ data, leaf, blob }: Row, entry: Entry | undefined, lastMs: number): string {
  if (!leafHash(data).equals(leaf)) return 'its leaf is not the hash of its data'
  if (!entry) return 'its data is not that of an entry'
  if (entry.timeMs < lastMs) return `its time ${entry.timeMs} is before that of the entry before it`
  if (!blob) return 'its private row is missing'
  if (entry.privateHash && !entry.privateHash.equals(sha256(blob))) return 'its private row was altered'
  return ''
}

/** Entries `begin` up to `end`, those that are there, in order. */
function prepareRows(db: DatabaseSync) {
  const columns = ['e.data', 'e.leaf', 'p.blob']
  const rows = db.prepare(
    `select ${joinedBy('frame', 'idx')} as frames from (select e.idx, ${frameOf(columns)} as frame
     from entries e left join private_rows p on p.idx = e.idx where e.idx >= ? and e.idx < ?)`,
  )
  return (begin: number, end: number): Row[] => {
    const frames = rows.get(begin, end)?.['frames'] as Uint8Array | null
    const found = parseFrames(frames ?? empty, columns.length)
    return found.map(([data = empty, leaf = empty, blob]) => ({ data, leaf, blob }))
  }
}

/**
 * Checks entries `begin` up to `end` by themselves; `begin` is a multiple of 256.
 * @param onProgress told of entries checked since the last call
 */
export function checkRun(
  db: DatabaseSync,
  range: { begin: number; end: number },
  onProgress: (entries: number) => void,
): Run {
  db.exec(cachePragma)
  const readRows = prepareRows(db)
  const tileHashes: Buffer[] = []
  const tile = Buffer.alloc(tileWidth * hashBytes)
  let firstMs: number | undefined
  let lastMs = 0
  const end = (fault: Fault | undefined): Run => ({ tileHashes, firstMs: firstMs ?? 0, lastMs, fault })
  for (let at = range.begin; at < range.end; ) {
    const to = Math.min(at + chunk, range.end)
    const whole = readRows(at, to)
    // Where one is missing it is found one by one.
    const rows = whole.length === to - at ? whole : readRows(at, at + 1)
    if (rows.length === 0) return end({ index: at, what: 'there is no such entry' })
    for (const row of rows) {
      const entry = parseEntry(row.data)
      const what = faultOf(row, entry, lastMs)
      if (what !== '' || !entry) return end({ index: at, what })
      lastMs = entry.timeMs
      firstMs ??= lastMs
      tile.set(row.leaf, (at % tileWidth) * hashBytes)
      if (++at % tileWidth === 0) tileHashes.push(hashTile(tile))
    }
    onProgress(rows.length)
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

/**
 * Each used challenge names an entry of its own, and the token that follows from it.
 * @param onProgress told of challenges checked since the last call
 */
export function checkConsumed(db: DatabaseSync, onProgress: (challenges: number) => void): Fault | undefined {
  db.exec(cachePragma)
  const columns = [
    'c.idx',
    'c.digest',
    `substr(e.data, ${typeAt}, 1)`,
    `substr(e.data, ${jtiHashAt}, ${hashBytes})`,
  ]
  const rows = db.prepare(
    `select cast(group_concat(frame, '') as blob) as frames, max(challenge) as last from (
       select c.challenge, ${frameOf(columns)} as frame from consumed c left join entries e on e.idx = c.idx
       where c.challenge > ? order by c.challenge limit ${chunk})`,
  )
  for (let after: Uint8Array = empty; ; ) {
    const { frames, last } = present(rows.get(after), 'an aggregate')
    if (frames === null) return undefined
    const found = parseFrames(frames as Uint8Array, columns.length)
    for (const [index, digest = empty, type, jtiHash] of found) {
      if (type?.[0] === entryType.session) continue
      if (jtiHash && hashJti(deriveJti(digest)).equals(jtiHash)) continue
      return { index: Number(index), what: 'a used challenge names it, and it is not its answer' }
    }
    onProgress(found.length)
    after = last as Uint8Array
  }
}
