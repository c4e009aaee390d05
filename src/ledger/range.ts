// Which perfect subtrees make up a part of the tree, and the hash of that part (RFC 9162 section 2.1.1).
// It knows no store: hashes come from a reader. Sizes go up to 2^53 - 1, so nothing here shifts bits.
import { assert, present } from '../base/assert.ts'
import { sha256 } from '../base/bytes.ts'
import { nodeHash } from './hash.ts'

/** The perfect subtree over the 2^level leaves that begin at index * 2^level. */
export type Node = { level: number; index: number }
/** Leaves `begin` up to, not including, `end`. */
export type Range = { begin: number; end: number }
/** Hashes of the nodes, in their order. */
export type ReadHashes = (nodes: readonly Node[]) => Buffer[]

/** Root of the tree without leaves. */
export const emptyRoot: Buffer = sha256()

/** Where a tree of `size` > 1 is split: the largest power of two below it. */
export function splitOf(size: number): number {
  let left = 1
  while (left * 2 < size) left *= 2
  return left
}

/**
 * The compact range: the fewest perfect subtrees that cover the leaves, from left to right. `begin` is where a
 * split of the tree can begin: a multiple of the smallest power of two that the range fits into.
 */
export function nodesOf({ begin, end }: Range): Node[] {
  const nodes: Node[] = []
  for (let at = begin; at < end; ) {
    let level = 0
    while (2 ** (level + 1) <= end - at) level++
    nodes.push({ level, index: at / 2 ** level })
    at += 2 ** level
  }
  return nodes
}

/** The hash over neighbouring subtrees that shrink from left to right. */
function joinHashes(hashes: readonly Buffer[]): Buffer {
  return hashes.reduceRight((right, left) => nodeHash(left, right))
}

/** The tree hash of each range (none empty), with one call of the reader. */
export function hashRanges(ranges: readonly Range[], read: ReadHashes): Buffer[] {
  const groups = ranges.map(nodesOf)
  const hashes = read(groups.flat())
  let at = 0
  return groups.map((group) => {
    const own = hashes.slice(at, at + group.length)
    assert(own.length === group.length, 'a hash reader left out a hash')
    at += group.length
    return joinHashes(own)
  })
}

/** Root of the tree over the first `size` leaves. */
export function readRoot(size: number, read: ReadHashes): Buffer {
  assert(Number.isSafeInteger(size) && size >= 0, 'a tree size is not one')
  if (size === 0) return emptyRoot
  return present(hashRanges([{ begin: 0, end: size }], read)[0], 'the root')
}
