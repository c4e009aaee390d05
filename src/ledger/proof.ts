// Inclusion and consistency proofs, made from a hash reader and checked from nothing but themselves
// (RFC 9162 sections 2.1.3 and 2.1.4). Checks take what strangers send and answer true or false.
import { assert } from '../base/assert.ts'
import { sameBytes } from '../base/bytes.ts'
import { nodeHash } from './hash.ts'
import { emptyRoot, hashRanges, type Range, type ReadHashes, splitOf } from './range.ts'

const hashBytes = 32
const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0
const isHash = (bytes: Uint8Array) => bytes.length === hashBytes
const half = (value: number) => Math.floor(value / 2)
const isOdd = (value: number) => value % 2 === 1

/**
 * Proof that leaf `index` is in the tree of `size` leaves: siblings from the leaf up to the root.
 * @throws Error unless 0 <= index < size
 */
export function readInclusion(index: number, size: number, read: ReadHashes): Buffer[] {
  assert(isCount(index) && isCount(size) && index < size, 'a proof of a leaf that is not in the tree')
  const siblings: Range[] = []
  let [begin, end] = [0, size]
  while (end - begin > 1) {
    const middle = begin + splitOf(end - begin)
    const isLeft = index < middle
    siblings.push(isLeft ? { begin: middle, end } : { begin, end: middle })
    if (isLeft) end = middle
    else begin = middle
  }
  return hashRanges(siblings.reverse(), read)
}

/**
 * Proof that the tree of `size` leaves only adds to the one of `oldSize`; empty if either is trivial.
 * @throws Error unless 0 <= oldSize <= size
 */
export function readConsistency(oldSize: number, size: number, read: ReadHashes): Buffer[] {
  assert(isCount(oldSize) && isCount(size) && oldSize <= size, 'a proof from a tree to a smaller one')
  if (oldSize === 0) return []
  const parts: Range[] = []
  let [begin, end] = [0, size]
  // Down along the edge of the old tree, until a subtree ends with it.
  while (oldSize < end) {
    const middle = begin + splitOf(end - begin)
    const isLeft = oldSize <= middle
    parts.push(isLeft ? { begin: middle, end } : { begin, end: middle })
    if (isLeft) end = middle
    else begin = middle
  }
  // Where that subtree is the whole old tree, its hash is the old root, which the checker has.
  if (begin > 0) parts.push({ begin, end })
  return hashRanges(parts.reverse(), read)
}

export type Inclusion = { index: number; size: number; leaf: Buffer; root: Buffer; proof: readonly Buffer[] }

/** Whether the proof leads from the leaf hash at `index` to the root of the tree of `size` leaves. */
export function checkInclusion({ index, size, leaf, root, proof }: Inclusion): boolean {
  if (!isCount(index) || !isCount(size) || index >= size) return false
  if (!isHash(leaf) || !proof.every(isHash)) return false
  let [at, last, hash] = [index, size - 1, leaf]
  for (const sibling of proof) {
    if (last === 0) return false
    if (isOdd(at) || at === last) {
      hash = nodeHash(sibling, hash)
      // A node without a right neighbour moves up as it is.
      while (!isOdd(at) && at > 0) [at, last] = [half(at), half(last)]
    } else {
      hash = nodeHash(hash, sibling)
    }
    ;[at, last] = [half(at), half(last)]
  }
  return last === 0 && sameBytes(hash, root)
}

export type Tree = { size: number; root: Buffer }

/**
 * Whether the proof shows that `now` only adds leaves to `before`. Everything adds to the tree without leaves,
 * whose root is known; a tree adds to itself; both with an empty proof.
 */
export function checkConsistency(before: Tree, now: Tree, proof: readonly Buffer[]): boolean {
  if (!isCount(before.size) || !isCount(now.size) || before.size > now.size) return false
  if (before.size === 0 && !sameBytes(before.root, emptyRoot)) return false
  if (before.size === now.size) return proof.length === 0 && sameBytes(before.root, now.root)
  if (before.size === 0) return proof.length === 0 && isHash(now.root)
  if (!proof.every(isHash)) return false
  return walkConsistency(before, now, proof)
}

/** RFC 9162 section 2.1.4.2, steps 2 to 7, for 0 < before.size < now.size. */
function walkConsistency(before: Tree, now: Tree, proof: readonly Buffer[]): boolean {
  let [at, last] = [before.size - 1, now.size - 1]
  while (isOdd(at)) [at, last] = [half(at), half(last)]
  // A perfect old tree is a subtree of the new one: the walk begins at its root.
  const [first, ...rest] = at === 0 ? [before.root, ...proof] : proof
  if (!first) return false
  let [oldHash, newHash] = [first, first]
  for (const part of rest) {
    if (last === 0) return false
    if (isOdd(at) || at === last) {
      oldHash = nodeHash(part, oldHash)
      newHash = nodeHash(part, newHash)
      while (!isOdd(at) && at > 0) [at, last] = [half(at), half(last)]
    } else {
      newHash = nodeHash(newHash, part)
    }
    ;[at, last] = [half(at), half(last)]
  }
  return last === 0 && sameBytes(oldHash, before.root) && sameBytes(newHash, now.root)
}
