// Tiles at rest. Tile level 0 is `entries.leaf`; above it a row a tile, growing until it is full. A tile is a
// prefix of every later one, so a row serves every width up to its own (c2sp.org/tlog-tiles).
import type { DatabaseSync } from 'node:sqlite'
import { assert } from '../base/assert.ts'
import { joinedBy } from './bulk.ts'
import { hashInTile, tileWidth } from './tile.ts'

const hashBytes = 32

/** The hash of a full tile: the node that it is on the level above. */
export const hashTile = (tile: Buffer) => hashInTile(tile, { at: 0, count: tileWidth })

/** Reads and extends tiles over one handle; `extend` means something only inside a transaction. */
export function prepareTiles(db: DatabaseSync) {
  const leaves = db.prepare(
    `select ${joinedBy('leaf', 'idx')} as leaves from entries where idx >= ? and idx < ?`,
  )
  const stored = db.prepare('select hashes from tiles where level = ? and n = ?')
  const store = db.prepare(
    'insert into tiles (level, n, hashes) values (?, ?, ?) on conflict (level, n) do update set hashes = excluded.hashes',
  )

  function readLeaves(n: number, width: number): Buffer {
    const joined = leaves.get(n * tileWidth, n * tileWidth + width)?.['leaves'] as Uint8Array | null
    const tile = Buffer.from(joined ?? [])
    assert(tile.length === width * hashBytes, 'a tile of leaves is not there')
    return tile
  }

  function readStored(level: number, n: number): Buffer {
    const row = stored.get(level, n)
    return row ? Buffer.from(row['hashes'] as Uint8Array) : Buffer.alloc(0)
  }

  /** The first `width` hashes of a tile. @throws Error beyond what was integrated */
  function read(level: number, n: number, width: number): Buffer {
    if (level === 0) return readLeaves(n, width)
    const hashes = readStored(level, n)
    assert(hashes.length >= width * hashBytes, 'a tile is not there')
    return hashes.subarray(0, width * hashBytes)
  }

  /** Puts hashes at the end of a level, the first of them being number `from`; tiles that it fills go up one. */
  function put(level: number, from: number, hashes: readonly Buffer[]): void {
    const full: Buffer[] = []
    let at = from
    for (let i = 0; i < hashes.length; ) {
      const n = Math.floor(at / tileWidth)
      const room = tileWidth - (at % tileWidth)
      const some = hashes.slice(i, i + room)
      const before = readStored(level, n).subarray(0, (at % tileWidth) * hashBytes)
      const tile = Buffer.concat([before, ...some])
      assert(tile.length === ((at % tileWidth) + some.length) * hashBytes, 'a tile has a gap')
      store.run(level, n, tile)
      if (tile.length === tileWidth * hashBytes) full.push(hashTile(tile))
      at += some.length
      i += some.length
    }
    if (full.length > 0) put(level + 1, Math.floor(from / tileWidth), full)
  }

  return {
    read,
    /** Makes what tiles above level 0 gain when a tree of `before` leaves becomes one of `size`. */
    extend(before: number, size: number): void {
      const from = Math.floor(before / tileWidth)
      const full: Buffer[] = []
      for (let n = from; n < Math.floor(size / tileWidth); n++) full.push(hashTile(readLeaves(n, tileWidth)))
      if (full.length > 0) put(1, from, full)
    },
  }
}
