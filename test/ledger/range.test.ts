// Compact ranges and roots, against the recursion of RFC 6962 and beyond what bits of 32 hold.
import fc from 'fast-check'
import t from 'tap'
import { emptyRoot, hashRanges, type Node, nodesOf, readRoot, splitOf } from '../../src/ledger/range.ts'
import { leavesOf, ReferenceTree } from '../helpers/reference-tree.ts'

const sizesMax = 130
const tree = new ReferenceTree(leavesOf(sizesMax))

t.test('the root of every size is that of the recursion', (t) => {
  t.same(readRoot(0, tree.read), emptyRoot)
  t.equal(emptyRoot.toString('hex'), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  for (let size = 0; size <= sizesMax; size++) {
    if (!readRoot(size, tree.read).equals(tree.hash(0, size))) t.fail(`the root of ${size}`)
  }
  t.end()
})

t.test('a size has one perfect subtree for each of its bits', (t) => {
  t.same(nodesOf({ begin: 0, end: 0 }), [])
  t.same(nodesOf({ begin: 0, end: 1 }), [{ level: 0, index: 0 }])
  t.same(nodesOf({ begin: 0, end: 11 }), [
    { level: 3, index: 0 },
    { level: 1, index: 4 },
    { level: 0, index: 10 },
  ])
  t.same(nodesOf({ begin: 0, end: 2 ** 53 - 1 }).length, 53)
  t.same(nodesOf({ begin: 2 ** 40, end: 2 ** 40 + 5 }), [
    { level: 2, index: 2 ** 38 },
    { level: 0, index: 2 ** 40 + 4 },
  ])
  t.end()
})

t.test('subtrees of any size up to 2^53 - 1 join without a gap', (t) => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (size) => {
      let at = 0
      for (const { level, index } of nodesOf({ begin: 0, end: size })) {
        if (index * 2 ** level !== at) return false
        at += 2 ** level
      }
      const split = size > 1 ? splitOf(size) : 1
      return at === size && (size < 2 || (split < size && split * 2 >= size))
    }),
  )
  t.pass('joined')
  t.end()
})

t.test('any number of ranges costs one call of the reader', (t) => {
  const calls: (readonly Node[])[] = []
  const ranges = [
    { begin: 0, end: 8 },
    { begin: 8, end: 13 },
    { begin: 64, end: 67 },
  ]
  const hashes = hashRanges(ranges, (nodes) => {
    calls.push(nodes)
    return tree.read(nodes)
  })
  t.same(
    hashes,
    ranges.map(({ begin, end }) => tree.hash(begin, end)),
  )
  t.equal(calls.length, 1)
  t.equal(calls[0]?.length, 1 + 2 + 2)
  t.end()
})

t.test('a size that is none, and a reader that leaves one out, are defects', (t) => {
  for (const size of [-1, 0.5, Number.NaN, 2 ** 53]) t.throws(() => readRoot(size, tree.read))
  t.throws(() => readRoot(3, (nodes) => tree.read(nodes).slice(1)))
  t.end()
})
