// Tiles: eight levels of the tree as one resource, their paths, and entry bundles (c2sp.org/tlog-tiles).
// Pure: it knows which bytes lie where, not who stores them.
import { assert } from '../base/assert.ts'
import { ownCopies, u16 } from '../base/bytes.ts'
import type { RecentMap } from '../base/recent.ts'
import { parseDecimal } from '../base/text.ts'
import { nodeHash } from './hash.ts'
import type { Node, ReadHashes } from './range.ts'

/** `width` hashes of tile `n` of tile level `level`, each over 256^level leaves; 256 of them are a full tile. */
export type Tile = { level: number; n: number; width: number }
/** `width` entries of bundle `n`: those whose leaf hashes are in tile `n` of level 0. */
export type Bundle = { n: number; width: number }
/** The bytes of a tile: `width` hashes of 32 bytes. */
export type ReadTile = (level: number, n: number, width: number) => Buffer

export const tileWidth = 256
const tileHeight = 8
const hashBytes = 32
const levelMax = 63
const entryBytesMax = 0xffff

/** 1234067 as `x001/x234/067`. */
function printIndex(n: number): string {
  const groups = [String(n % 1000).padStart(3, '0')]
  for (let rest = Math.floor(n / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    groups.unshift(`x${String(rest % 1000).padStart(3, '0')}`)
  }
  return groups.join('/')
}

/** Index and optional width at the end of a path; the first group, if not the last, is not zero. */
const placePattern = /^((?:x(?!000)\d{3}\/(?:x\d{3}\/)*)?\d{3})(?:\.p\/([1-9]\d{0,2}))?$/
const pathCharsMax = 64

function parsePlace(text: string): Bundle | undefined {
  const match = text.length <= pathCharsMax ? placePattern.exec(text) : null
  if (!match) return undefined
  const n = Number((match[1] as string).replace(/[x/]/g, ''))
  const width = match[2] === undefined ? tileWidth : Number(match[2])
  if (match[2] !== undefined && width >= tileWidth) return undefined
  return Number.isSafeInteger(n) ? { n, width } : undefined
}

function printPlace({ n, width }: Bundle): string {
  assert(Number.isSafeInteger(n) && n >= 0, 'a tile index is not one')
  assert(Number.isInteger(width) && width >= 1 && width <= tileWidth, 'a tile width is not one')
  return width === tileWidth ? printIndex(n) : `${printIndex(n)}.p/${width}`
}

/** `<L>/<N>[.p/<W>]`, the path below `tile/`. */
export const printTilePath = (tile: Tile) => `${tile.level}/${printPlace(tile)}`

/** Parses what `printTilePath` prints; undefined for any other text. */
export function parseTilePath(text: string): Tile | undefined {
  const slash = text.indexOf('/')
  const level = slash < 0 ? undefined : parseDecimal(text.slice(0, slash))
  const place = parsePlace(text.slice(slash + 1))
  return place && level !== undefined && level <= levelMax ? { level, ...place } : undefined
}

const bundlePrefix = 'entries/'

/** `entries/<N>[.p/<W>]`, the path below `tile/`. */
export const printBundlePath = (bundle: Bundle) => bundlePrefix + printPlace(bundle)

/** Parses what `printBundlePath` prints; undefined for any other text. */
export const parseBundlePath = (text: string): Bundle | undefined =>
  text.startsWith(bundlePrefix) ? parsePlace(text.slice(bundlePrefix.length)) : undefined

/** How many hashes tile level `level` has in a tree of `size` leaves. */
const hashesAt = (level: number, size: number) => Math.floor(size / tileWidth ** level)

/** Whether all hashes of the tile are in a tree of `size` leaves: partial tiles of earlier trees are. */
export const hasTile = ({ level, n, width }: Tile, size: number) =>
  n * tileWidth + width <= hashesAt(level, size)

/** As `hasTile`, for the entries of a bundle. */
export const hasBundle = (bundle: Bundle, size: number) => hasTile({ level: 0, ...bundle }, size)

/**
 * The tiles that a tree of `size` leaves has and one of `since` leaves has not, the partial one of each level
 * last. Bundles are those of level 0.
 */
export function* tilesOf(size: number, since = 0): Generator<Tile> {
  for (let level = 0; hashesAt(level, size) > 0; level++) {
    const count = hashesAt(level, size)
    const before = hashesAt(level, since)
    if (count === before) continue
    for (let n = Math.floor(before / tileWidth); n * tileWidth < count; n++) {
      yield { level, n, width: Math.min(tileWidth, count - n * tileWidth) }
    }
  }
}

/** Where a node of the tree lies: the hashes `at` up to `at + count` of tile `n` of `level` join to it. */
export type TilePlace = { level: number; n: number; at: number; count: number }

export function placeOf({ level, index }: Node): TilePlace {
  const count = 2 ** (level % tileHeight)
  const nodesInTile = tileWidth / count
  return {
    level: Math.floor(level / tileHeight),
    n: Math.floor(index / nodesInTile),
    at: (index % nodesInTile) * count,
    count,
  }
}

/** The hash of a node from the hashes of its tile. */
export function hashInTile(tile: Buffer, { at, count }: Pick<TilePlace, 'at' | 'count'>): Buffer {
  if (count === 1) {
    assert((at + 1) * hashBytes <= tile.length, 'a node is beyond its tile')
    return tile.subarray(at * hashBytes, (at + 1) * hashBytes)
  }
  const half = count / 2
  const left = hashInTile(tile, { at, count: half })
  return nodeHash(left, hashInTile(tile, { at: at + half, count: half }))
}

/**
 * Prints a tile: its hashes one after the other.
 * @throws Error for none, more than 256 or one that is no hash
 */
export function printTile(hashes: readonly Uint8Array[]): Buffer {
  assert(hashes.length >= 1 && hashes.length <= tileWidth, 'a tile has 1 to 256 hashes')
  for (const hash of hashes) assert(hash.length === hashBytes, 'a tile holds hashes')
  return Buffer.concat(hashes)
}

/** Hashes of nodes by level and index. A node is the same in every tree that has it, so none is ever wrong. */
export type KnownNodes = RecentMap<Buffer>

/**
 * A hash reader for a tree of `size` leaves that reads each tile at most once per call.
 * @param known what is remembered between calls: most proofs pass the same nodes near the root and at the edge
 */
export function readFromTiles(size: number, readTile: ReadTile, known?: KnownNodes): ReadHashes {
  return (nodes) => {
    const tiles = new Map<string, Buffer>()
    return nodes.map((node) => {
      const place = placeOf(node)
      const width = Math.min(tileWidth, hashesAt(place.level, size) - place.n * tileWidth)
      assert(place.at + place.count <= width, 'a node is not in the tree')
      const name = `${node.level}/${node.index}`
      const standing = known?.get(name)
      if (standing) return standing
      const key = `${place.level}:${place.n}`
      const tile = tiles.get(key) ?? readTile(place.level, place.n, width)
      assert(tile.length === width * hashBytes, 'a tile has not its width')
      tiles.set(key, tile)
      const hash = hashInTile(tile, place)
      known?.set(name, ownCopies(hash)[0]) // A view would keep its tile.
      return hash
    })
  }
}

/**
 * Prints entries one after the other, each with its length as u16.
 * @throws Error for an entry beyond 65535 bytes, none or more than 256
 */
export function printBundle(entries: readonly Uint8Array[]): Buffer {
  assert(entries.length >= 1 && entries.length <= tileWidth, 'a bundle has 1 to 256 entries')
  return Buffer.concat(
    entries.flatMap((entry) => {
      assert(entry.length <= entryBytesMax, 'an entry is longer than a bundle can say')
      return [u16(entry.length), entry]
    }),
  )
}

/** Parses a bundle of exactly `width` entries; views into `bytes`, undefined for anything else. */
export function parseBundle(bytes: Buffer, width: number): Buffer[] | undefined {
  const entries: Buffer[] = []
  let at = 0
  while (at < bytes.length) {
    if (at + 2 > bytes.length || entries.length === width) return undefined
    const end = at + 2 + bytes.readUInt16BE(at)
    if (end > bytes.length) return undefined
    entries.push(bytes.subarray(at + 2, end))
    at = end
  }
  return entries.length === width ? entries : undefined
}
