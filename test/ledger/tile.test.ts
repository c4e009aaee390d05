// Tiles: the figures of c2sp.org/tlog-tiles, every proof again from tiles alone, then everything that is no path
// and no bundle.
import fc from 'fast-check'
import t from 'tap'
import { RecentMap } from '../../src/base/recent.ts'
import { checkInclusion, readConsistency, readInclusion } from '../../src/ledger/proof.ts'
import { readRoot } from '../../src/ledger/range.ts'
import {
  hasBundle,
  hashInTile,
  hasTile,
  type KnownNodes,
  parseBundle,
  parseBundlePath,
  parseTilePath,
  placeOf,
  printBundle,
  printBundlePath,
  printTile,
  printTilePath,
  type ReadTile,
  readFromTiles,
  type Tile,
  tilesOf,
} from '../../src/ledger/tile.ts'
import { leavesOf, ReferenceTree } from '../helpers/reference-tree.ts'

const size = 70_000
const tree = new ReferenceTree(leavesOf(size))
/** A tile by its definition: MTH(D[(n * 256 + i) * 256**l : (n * 256 + i + 1) * 256**l]). */
const readTile: ReadTile = (level, n, width) => {
  const span = 256 ** level
  const first = n * 256
  return printTile(
    Array.from({ length: width }, (_, i) => tree.hash((first + i) * span, (first + i + 1) * span)),
  )
}

t.test('paths are those of the specification', (t) => {
  const paths: [Tile, string][] = [
    [{ level: 0, n: 1_234_067, width: 256 }, '0/x001/x234/067'],
    [{ level: 0, n: 0, width: 256 }, '0/000'],
    [{ level: 1, n: 7, width: 17 }, '1/007.p/17'],
    [{ level: 63, n: 1000, width: 1 }, '63/x001/000.p/1'],
    [{ level: 2, n: 999, width: 255 }, '2/999.p/255'],
    [{ level: 0, n: 1_000_000, width: 256 }, '0/x001/x000/000'],
    [{ level: 0, n: 2 ** 53 - 1, width: 256 }, '0/x009/x007/x199/x254/x740/991'],
  ]
  for (const [tile, path] of paths) {
    t.equal(printTilePath(tile), path)
    t.same(parseTilePath(path), tile)
    const { level: _, ...bundle } = tile
    const bundlePath = path.replace(/^\d+/, 'entries')
    t.equal(printBundlePath(bundle), bundlePath)
    t.same(parseBundlePath(bundlePath), bundle)
  }
  t.end()
})

const tileOf = fc.record({
  level: fc.nat(63),
  n: fc.oneof(fc.nat(1100), fc.maxSafeNat()),
  width: fc.integer({ min: 1, max: 256 }),
})

t.test('every path is read back, and what is read back is printed alike', (t) => {
  const isTile = (tile: Tile) => JSON.stringify(parseTilePath(printTilePath(tile))) === JSON.stringify(tile)
  fc.assert(fc.property(tileOf, isTile))
  const characters = [...'0123456789x/.p-entris ']
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...characters), maxLength: 24 }), (text) => {
      const [tile, bundle] = [parseTilePath(text), parseBundlePath(text)]
      return (!tile || printTilePath(tile) === text) && (!bundle || printBundlePath(bundle) === text)
    }),
    { numRuns: 5000 },
  )
  t.pass('the same')
  t.end()
})

t.test('every truncation and every changed bit of a path is refused or is another path', (t) => {
  for (const path of ['12/x001/x234/067.p/112', '0/005', 'entries/x001/234.p/9']) {
    const bytes = Buffer.from(path)
    const altered = Array.from({ length: bytes.length * 8 }, (_, bit) => {
      const out = Buffer.from(bytes)
      out[bit >> 3] = out.readUInt8(bit >> 3) ^ (1 << (bit & 7))
      return out.toString('latin1')
    })
    const cut = Array.from({ length: bytes.length }, (_, end) => path.slice(0, end))
    for (const text of [...altered, ...cut]) {
      const [tile, bundle] = [parseTilePath(text), parseBundlePath(text)]
      if (tile && printTilePath(tile) !== text) t.fail(`${text} is read as a tile`)
      if (bundle && printBundlePath(bundle) !== text) t.fail(`${text} is read as a bundle`)
    }
  }
  t.pass('refused')
  t.end()
})

t.test('paths of any other form are refused', (t) => {
  const places = [
    ['', '0', '00', '0000', '-01', '+01', ' 000', '000 ', '000\n', '000/', '/000', '0x0', 'x000', 'x001'],
    ['x000/000', 'x000/x001/000', '001/000', 'x001/x000', 'X001/000', 'x1/000', 'x001//000', 'x001/0000'],
    ['x001/x234/x067', '٠٠٠', '00a', '1e3', '000.p', '000.p/', '000.p/0', '000.p/00', '000.p/01'],
    ['000.p/256', '000.p/257', '000.p/999', '000.p/1000', '000.p/-1', '000.p/1.p/1', '000.p/1/', '000p/1'],
    ['x009/x007/x199/x254/x740/992', 'x009/x007/x199/x254/x740/993', 'x999/x999/x999/x999/x999/x999/999'],
    [`${'x001/'.repeat(100_000)}000`, '../000', '%30%30%30', '000?', '000.P/1', '000.p/1 '],
  ].flat()
  for (const place of places) {
    if (parseTilePath(`0/${place}`)) t.fail(`tile ${place}`)
    if (parseBundlePath(`entries/${place}`)) t.fail(`bundle ${place}`)
  }
  for (const level of ['', '-1', '00', '01', '64', '99', '0x1', ' 0', 'entries', 'data', '١', '1.0']) {
    if (parseTilePath(`${level}/000`)) t.fail(`level ${level}`)
  }
  for (const path of ['', '0', '/', '/000', '000', 'tile/0/000', 'Entries/000', 'entries', 'entries000']) {
    if (parseTilePath(path) || parseBundlePath(path)) t.fail(path)
  }
  t.pass(`${places.length} places`)
  for (const bad of [-1, 0.5, 2 ** 53, Number.NaN])
    t.throws(() => printTilePath({ level: 0, n: bad, width: 1 }))
  for (const bad of [0, 257, 1.5]) t.throws(() => printBundlePath({ n: 0, width: bad }))
  t.end()
})

t.test('a tree of 70,000 has the tiles that the specification counts', (t) => {
  const tiles = [...tilesOf(size)]
  const counted = (level: number) => tiles.filter((tile) => tile.level === level)
  t.equal(counted(0).filter(({ width }) => width === 256).length, 273)
  t.same(counted(0).at(-1), { level: 0, n: 273, width: 112 })
  t.same(counted(1), [
    { level: 1, n: 0, width: 256 },
    { level: 1, n: 1, width: 17 },
  ])
  t.same(counted(2), [{ level: 2, n: 0, width: 1 }])
  t.equal(tiles.length, 273 + 1 + 2 + 1)
  t.same(
    [...tilesOf(256)],
    [
      { level: 0, n: 0, width: 256 },
      { level: 1, n: 0, width: 1 },
    ],
  )
  t.same([...tilesOf(0)], [])
  t.same([...tilesOf(2 ** 53 - 1, 2 ** 53 - 2)], [{ level: 0, n: 2 ** 45 - 1, width: 255 }])
  t.end()
})

t.test('the tiles of a growing tree are those that it had and those that are new', (t) => {
  fc.assert(
    fc.property(fc.nat(size), fc.nat(size), (a, b) => {
      const [since, now] = a < b ? [a, b] : [b, a]
      const had = new Set([...tilesOf(since)].map(printTilePath))
      const has = [...tilesOf(now)].map(printTilePath)
      const fresh = [...tilesOf(now, since)].map(printTilePath)
      return JSON.stringify(has.filter((path) => !had.has(path))) === JSON.stringify(fresh)
    }),
    { numRuns: 50 },
  )
  t.pass('the same')
  t.end()
})

t.test('a tree has each of its tiles, the partial ones of smaller trees, and none beyond', (t) => {
  for (const tile of tilesOf(size)) {
    if (!hasTile(tile, size) || !hasTile({ ...tile, width: 1 }, size)) t.fail(printTilePath(tile))
    if (tile.width < 256 && hasTile({ ...tile, width: tile.width + 1 }, size)) t.fail(`beyond ${tile.level}`)
  }
  const none: Tile[] = [
    { level: 0, n: 274, width: 1 },
    { level: 0, n: 273, width: 256 },
    { level: 1, n: 2, width: 1 },
    { level: 2, n: 0, width: 2 },
    { level: 3, n: 0, width: 1 },
    { level: 63, n: 0, width: 1 },
    { level: 0, n: 2 ** 53 - 1, width: 256 },
  ]
  for (const tile of none) t.notOk(hasTile(tile, size), printTilePath(tile))
  t.notOk(hasTile({ level: 0, n: 0, width: 1 }, 0))
  t.ok(hasBundle({ n: 273, width: 112 }, size))
  t.notOk(hasBundle({ n: 273, width: 113 }, size))
  t.end()
})

t.test('nodes lie where the specification puts them', (t) => {
  t.same(placeOf({ level: 0, index: 255 }), { level: 0, n: 0, at: 255, count: 1 })
  t.same(placeOf({ level: 0, index: 256 }), { level: 0, n: 1, at: 0, count: 1 })
  t.same(placeOf({ level: 7, index: 3 }), { level: 0, n: 1, at: 128, count: 128 })
  t.same(placeOf({ level: 8, index: 257 }), { level: 1, n: 1, at: 1, count: 1 })
  t.same(placeOf({ level: 10, index: 65 }), { level: 1, n: 1, at: 4, count: 4 })
  t.same(placeOf({ level: 0, index: 2 ** 53 - 1 }), { level: 0, n: 2 ** 45 - 1, at: 255, count: 1 })
  for (let level = 0; level < 17; level++) {
    for (const index of new Set([0, 1, Math.floor(size / 2 ** level) - 1])) {
      if ((index + 1) * 2 ** level > size) continue
      const place = placeOf({ level, index })
      const found = hashInTile(readTile(place.level, place.n, place.at + place.count), place)
      if (!found.equals(tree.node({ level, index }))) t.fail(`node ${level}, ${index}`)
    }
  }
  t.end()
})

t.test('proofs and roots from tiles are those of the tree, with few reads', (t) => {
  let reads = 0
  const counting: ReadTile = (level, n, width) => {
    reads++
    if (!hasTile({ level, n, width }, size)) t.fail('a tile is read that there is not')
    return readTile(level, n, width)
  }
  fc.assert(
    fc.property(fc.integer({ min: 1, max: size }), fc.nat(size - 1), (now, place) => {
      const read = readFromTiles(now, counting)
      const index = place % now
      reads = 0
      const proof = readInclusion(index, now, read)
      const root = readRoot(now, readFromTiles(now, readTile))
      const same = Buffer.concat(proof).equals(Buffer.concat(tree.path(index, 0, now)))
      const fewReads = reads <= 6 // The leaf's tile and the edge's, at each of three levels.
      const consistency = readConsistency(index, now, read)
      const leaf = tree.hash(index, index + 1)
      return (
        same &&
        fewReads &&
        root.equals(tree.hash(0, now)) &&
        checkInclusion({ index, size: now, leaf, root, proof }) &&
        Buffer.concat(consistency).equals(Buffer.concat(tree.proof(index, now)))
      )
    }),
    { numRuns: 300 },
  )
  t.pass('the same')
  t.end()
})

t.test('what is remembered between proofs is true of every size, and bounded', (t) => {
  const known: KnownNodes = new RecentMap(64)
  let reads = 0
  const counting: ReadTile = (...tile) => {
    reads++
    return readTile(...tile)
  }
  fc.assert(
    fc.property(fc.integer({ min: 1, max: size }), fc.nat(size - 1), (now, place) => {
      const index = place % now
      const read = readFromTiles(now, counting, known)
      const inclusion = readInclusion(index, now, read)
      const consistency = readConsistency(index, now, read)
      return (
        Buffer.concat(inclusion).equals(Buffer.concat(tree.path(index, 0, now))) &&
        Buffer.concat(consistency).equals(Buffer.concat(tree.proof(index, now))) &&
        known.size <= 64
      )
    }),
    { numRuns: 300 },
  )
  readInclusion(7, size, readFromTiles(size, counting, known))
  reads = 0
  readInclusion(7, size, readFromTiles(size, counting, known))
  t.equal(reads, 0, 'the same proof again reads nothing')
  t.throws(
    () => readInclusion(7, size, readFromTiles(7, counting, known)),
    'nor is a node given to a tree without it',
  )
  t.end()
})

t.test('a node outside the tree and a tile of a wrong length are defects', (t) => {
  const read = readFromTiles(300, readTile)
  t.throws(() => read([{ level: 0, index: 300 }]))
  t.throws(() => read([{ level: 3, index: 37 }]))
  t.throws(() => read([{ level: 16, index: 0 }]))
  t.throws(() => readFromTiles(300, () => Buffer.alloc(31))([{ level: 0, index: 0 }]))
  t.throws(() => hashInTile(Buffer.alloc(32), { at: 1, count: 1 }))
  t.throws(() => printTile([]))
  t.throws(() => printTile([Buffer.alloc(31)]))
  t.throws(() => printTile(Array.from({ length: 257 }, () => Buffer.alloc(32))))
  t.end()
})

t.test('a bundle has the bytes of the specification', (t) => {
  const entries = [Buffer.from('abc'), Buffer.alloc(0), Buffer.alloc(0x102, 7)]
  const byHand = Buffer.concat([Buffer.from('0003616263' + '0000' + '0102', 'hex'), Buffer.alloc(0x102, 7)])
  t.same(printBundle(entries), byHand)
  t.same(parseBundle(byHand, 3), entries)
  t.same(parseBundle(printBundle([Buffer.alloc(0xffff)]), 1)?.[0]?.length, 0xffff)
  t.throws(() => printBundle([Buffer.alloc(0x10000)]))
  t.throws(() => printBundle([]))
  t.throws(() => printBundle(Array.from({ length: 257 }, () => Buffer.alloc(1))))
  t.end()
})

t.test('every truncation and every flipped bit of a bundle is refused or is another in full', (t) => {
  const bytes = printBundle(['one', '', 'three'].map((text) => Buffer.from(text)))
  for (let end = 0; end < bytes.length; end++) {
    if (parseBundle(bytes.subarray(0, end), 3)) t.fail(`parses cut to ${end} bytes`)
  }
  for (const width of [0, 1, 2, 4, 256]) t.equal(parseBundle(bytes, width), undefined, `width ${width}`)
  t.equal(parseBundle(Buffer.concat([bytes, Buffer.of(0)]), 3), undefined, 'a trailing byte')
  t.equal(parseBundle(Buffer.concat([bytes, Buffer.of(0, 0)]), 3), undefined, 'a trailing entry')
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const altered = Buffer.from(bytes)
    altered[bit >> 3] = altered.readUInt8(bit >> 3) ^ (1 << (bit & 7))
    const parsed = parseBundle(altered, 3)
    if (parsed && !printBundle(parsed).equals(altered)) t.fail(`bit ${bit} is read but not as written`)
  }
  t.end()
})
