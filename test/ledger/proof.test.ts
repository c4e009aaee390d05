// Proofs: someone else's vectors, every pair of small trees against the recursion of RFC 6962, then everything
// that is not a proof.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import t from 'tap'
import { nodeHash } from '../../src/ledger/hash.ts'
import {
  checkConsistency,
  checkInclusion,
  readConsistency,
  readInclusion,
  type Tree,
} from '../../src/ledger/proof.ts'
import { emptyRoot } from '../../src/ledger/range.ts'
import { leavesOf, ReferenceTree } from '../helpers/reference-tree.ts'

const vectors = fileURLToPath(new URL('../../../shared/vectors/merkle', import.meta.url))
const skip = existsSync(vectors) ? false : 'the vectors of transparency-dev/merkle are not beside the project'

type Vector = { desc: string; wantErr: boolean; proof: string[] | null }
type InclusionVector = Vector & { leafIdx: number; treeSize: number; root: string; leafHash: string }
type ConsistencyVector = Vector & { size1: number; size2: number; root1: string; root2: string }

function readVectors<V extends Vector>(kind: string): [name: string, vector: V][] {
  const names = readdirSync(join(vectors, kind), { recursive: true, encoding: 'utf8' })
  return names
    .filter((name) => name.endsWith('.json'))
    .map((name) => [name, JSON.parse(readFileSync(join(vectors, kind, name), 'utf8')) as V])
}
const bytes = (text: string) => Buffer.from(text, 'base64')

t.test('the 98 inclusion proofs of transparency-dev/merkle', { skip }, (t) => {
  const found = readVectors<InclusionVector>('inclusion')
  t.equal(found.length, 98)
  for (const [name, v] of found) {
    const proof = (v.proof ?? []).map(bytes)
    const asked = { index: v.leafIdx, size: v.treeSize, leaf: bytes(v.leafHash), root: bytes(v.root), proof }
    t.equal(checkInclusion(asked), !v.wantErr, name)
  }
  t.end()
})

t.test('the 98 consistency proofs of transparency-dev/merkle', { skip }, (t) => {
  const found = readVectors<ConsistencyVector>('consistency')
  t.equal(found.length, 98)
  for (const [name, v] of found) {
    const before = { size: v.size1, root: bytes(v.root1) }
    const now = { size: v.size2, root: bytes(v.root2) }
    t.equal(checkConsistency(before, now, (v.proof ?? []).map(bytes)), !v.wantErr, name)
  }
  t.end()
})

const sizesMax = 130
const tree = new ReferenceTree(leavesOf(sizesMax))
const treeOf = (size: number): Tree => ({ size, root: tree.hash(0, size) })
const inclusionOf = (index: number, size: number) => ({
  index,
  size,
  leaf: tree.hash(index, index + 1),
  root: tree.hash(0, size),
  proof: tree.path(index, 0, size),
})
const isSame = (a: readonly Buffer[], b: readonly Buffer[]) => Buffer.concat(a).equals(Buffer.concat(b))

t.test('every leaf of every small tree has the proof of the recursion, and it is true there alone', (t) => {
  for (let size = 1; size <= sizesMax; size++) {
    for (let index = 0; index < size; index++) {
      const wanted = inclusionOf(index, size)
      if (!isSame(readInclusion(index, size, tree.read), wanted.proof))
        t.fail(`the proof of ${index} in ${size}`)
      if (!checkInclusion(wanted)) t.fail(`${index} is not found in ${size}`)
      if (checkInclusion({ ...wanted, index: (index + 1) % size }) && size > 1)
        t.fail(`${index} is at two places`)
      if (checkInclusion({ ...wanted, root: tree.hash(0, size - 1) })) t.fail(`${index} is in two trees`)
    }
  }
  t.pass(`${(sizesMax * (sizesMax + 1)) / 2} leaves`)
  t.end()
})

t.test('every pair of small trees has the proof of the recursion', (t) => {
  for (let now = 0; now <= sizesMax; now++) {
    for (let before = 0; before <= now; before++) {
      const wanted = tree.proof(before, now)
      if (!isSame(readConsistency(before, now, tree.read), wanted)) t.fail(`the proof of ${before} in ${now}`)
      if (!checkConsistency(treeOf(before), treeOf(now), wanted)) t.fail(`${before} does not lead to ${now}`)
      const other = { size: before, root: nodeHash(emptyRoot, emptyRoot) }
      if (checkConsistency(other, treeOf(now), wanted)) t.fail(`another tree of ${before} leads to ${now}`)
      if (before < now && checkConsistency(treeOf(now), treeOf(before), wanted)) t.fail('a tree shrinks')
    }
  }
  t.pass(`${((sizesMax + 1) * (sizesMax + 2)) / 2} pairs`)
  t.end()
})

const place = fc
  .integer({ min: 1, max: sizesMax })
  .chain((size) => fc.tuple(fc.nat(size - 1), fc.constant(size)))

/** One proof, wrong in one way. */
const spoil = fc.record({
  kind: fc.constantFrom('bit', 'drop', 'add', 'cut'),
  at: fc.nat(),
  bit: fc.nat(255),
})
function spoilProof(proof: readonly Buffer[], how: { kind: string; at: number; bit: number }): Buffer[] {
  const out = proof.map((hash) => Buffer.from(hash))
  const at = how.at % (out.length + (how.kind === 'add' ? 1 : 0) || 1)
  const hash = out[at]
  if (how.kind === 'add' || !hash) out.splice(at, 0, Buffer.alloc(32, how.bit))
  else if (how.kind === 'drop') out.splice(at, 1)
  else if (how.kind === 'cut') out[at] = hash.subarray(0, 31)
  else hash[how.bit >> 3] = hash.readUInt8(how.bit >> 3) ^ (1 << (how.bit & 7))
  return out
}

t.test('a proof with a bit flipped, a hash dropped, added or cut is refused', (t) => {
  fc.assert(
    fc.property(place, spoil, ([index, size], how) => {
      const wanted = inclusionOf(index, size)
      return !checkInclusion({ ...wanted, proof: spoilProof(wanted.proof, how) })
    }),
    { numRuns: 2000 },
  )
  fc.assert(
    fc.property(place, spoil, ([before, now], how) => {
      return !checkConsistency(treeOf(before), treeOf(now), spoilProof(tree.proof(before, now), how))
    }),
    { numRuns: 2000 },
  )
  t.pass('refused')
  t.end()
})

t.test('a leaf or root with a bit flipped is refused', (t) => {
  fc.assert(
    fc.property(place, fc.nat(255), ([index, size], bit) => {
      const wanted = inclusionOf(index, size)
      const flip = (hash: Buffer) => spoilProof([hash], { kind: 'bit', at: 0, bit })[0] as Buffer
      const now = treeOf(size)
      const proof = tree.proof(index, size)
      return (
        !checkInclusion({ ...wanted, leaf: flip(wanted.leaf) }) &&
        !checkInclusion({ ...wanted, root: flip(wanted.root) }) &&
        !checkConsistency({ size: index, root: flip(tree.hash(0, index)) }, now, proof) &&
        (index === 0 || !checkConsistency(treeOf(index), { size, root: flip(now.root) }, proof))
      )
    }),
  )
  t.pass('refused')
  t.end()
})

t.test('numbers that are no sizes are answered with false, without a throw', (t) => {
  const hash = Buffer.alloc(32)
  for (const bad of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, 2 ** 64]) {
    t.notOk(checkInclusion({ index: bad, size: 4, leaf: hash, root: hash, proof: [] }), `index ${bad}`)
    t.notOk(checkInclusion({ index: 0, size: bad, leaf: hash, root: hash, proof: [] }), `size ${bad}`)
    t.notOk(checkConsistency({ size: bad, root: hash }, { size: 4, root: hash }, []), `old ${bad}`)
    t.notOk(checkConsistency({ size: 1, root: hash }, { size: bad, root: hash }, []), `new ${bad}`)
    t.throws(() => readInclusion(0, bad, tree.read))
    t.throws(() => readConsistency(bad, 4, tree.read))
  }
  t.throws(() => readInclusion(4, 4, tree.read))
  t.throws(() => readConsistency(5, 4, tree.read))
  const many = Array.from({ length: 10_000 }, () => hash)
  t.notOk(checkInclusion({ index: 3, size: 2 ** 53 - 1, leaf: hash, root: hash, proof: many }))
  t.notOk(checkConsistency({ size: 3, root: hash }, { size: 2 ** 53 - 1, root: hash }, many))
  t.end()
})

t.test('trees beyond 2^32 leaves are walked to their end', (t) => {
  // All leaves alike: every perfect subtree of a level has one hash, so that a tree of any size can be read.
  const levels: Buffer[] = [Buffer.alloc(32, 7)]
  while (levels.length < 54) levels.push(nodeHash(levels.at(-1) as Buffer, levels.at(-1) as Buffer))
  const read = (nodes: readonly { level: number }[]) => nodes.map(({ level }) => levels[level] as Buffer)
  const rootOf = (size: number) => {
    let rest = size
    let root: Buffer | undefined
    for (let level = 0; rest > 0; level++, rest = Math.floor(rest / 2)) {
      if (rest % 2 === 1) root = root ? nodeHash(levels[level] as Buffer, root) : levels[level]
    }
    return root ?? emptyRoot
  }
  const size = fc.integer({ min: 2 ** 31, max: Number.MAX_SAFE_INTEGER })
  fc.assert(
    fc.property(size, size, (a, b) => {
      const [before, now] = a < b ? [a, b] : [b, a]
      const index = before - 1
      const proof = readInclusion(index, now, read)
      return (
        checkInclusion({ index, size: now, leaf: levels[0] as Buffer, root: rootOf(now), proof }) &&
        checkConsistency(
          { size: before, root: rootOf(before) },
          { size: now, root: rootOf(now) },
          readConsistency(before, now, read),
        )
      )
    }),
  )
  t.pass('walked')
  t.end()
})
