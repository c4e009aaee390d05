// The cursor against the tree, which reads the same bytes another way.
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import {
  certificateTimeMs,
  childrenOf,
  context,
  DerError,
  fixedChildren,
  integerBytes,
  octets,
  oidHex,
  onlyChild,
  readDer,
  smallInteger,
  tags,
  utcTimeMs,
  wholeBits,
} from '../../src/base/der.ts'
import { cursorAt, type DerCursor, readForward } from '../../src/base/der-cursor.ts'
import * as der from '../../src/simulator/der.ts'

/** What it gives, or that it is a DerError; anything else is a fault. */
function outcomeOf(read: () => unknown): unknown {
  try {
    return read()
  } catch (error) {
    if (error instanceof DerError) return 'DerError'
    throw error
  }
}

type Way = [name: string, byCursor: (c: DerCursor) => unknown, byTree: (bytes: Buffer) => unknown]

function assertSame(ways: readonly Way[], bytes: Buffer): void {
  for (const [name, byCursor, byTree] of ways) {
    const found = outcomeOf(() => byCursor(readForward(bytes)))
    const due = outcomeOf(() => byTree(bytes))
    if (!isDeepStrictEqual(found, due)) throw new Error(`${name} of ${bytes.toString('hex')}`)
  }
}

const values: readonly Way[] = [
  ['OID', (c) => c.oid(), (bytes) => oidHex(readDer(bytes))],
  ['INTEGER', (c) => c.integer(), (bytes) => integerBytes(readDer(bytes))],
  ['small INTEGER', (c) => c.smallInteger(), (bytes) => smallInteger(readDer(bytes))],
  ['OCTET STRING', (c) => c.octets(), (bytes) => octets(readDer(bytes))],
  ['its text', (c) => c.octetText(), (bytes) => octets(readDer(bytes)).toString('latin1')],
  ['BIT STRING', (c) => c.wholeBits(), (bytes) => wholeBits(readDer(bytes))],
  ['UTCTime', (c) => c.utcTime(), (bytes) => utcTimeMs(readDer(bytes))],
  ['time of a certificate', (c) => c.certificateTime(), (bytes) => certificateTimeMs(readDer(bytes))],
]

t.test('each value is what the tree makes of the same bytes, and refused where that refuses', async (t) => {
  const digits = fc
    .tuple(fc.constantFrom('26', '49', '50', '2051', '2049'), fc.array(fc.integer({ min: 0, max: 39 })))
    .map(([year, parts]) =>
      Buffer.from(`${year}${parts.map((part) => String(part).padStart(2, '0')).join('')}Z`),
    )
  const body = fc.oneof(fc.uint8Array({ maxLength: 12 }), digits)
  const tag = fc.constantFrom(...[2, 3, 4, 6, 0x17, 0x18])
  fc.assert(
    fc.property(tag, body, (tag, body) => assertSame(values, der.element(tag, body))),
    { numRuns: 5000 },
  )
  // Thousands of OIDs, most of them by a slot that another has.
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 4, max: 0x7f }), (body) =>
      assertSame(values.slice(0, 1), der.element(tags.oid, body)),
    ),
    { numRuns: 5000 },
  )
  t.pass('10,000 elements')
})

t.test('what is within: as many elements as are read, of their tags, sets in order', async (t) => {
  const leaf = fc.constantFrom(der.integer(1), der.integer(2), der.octets(Buffer.of(3)), der.yes)
  const explicitly = (c: DerCursor) => {
    const only = c.into(context(1))
    const value = only.smallInteger()
    only.finish()
    return value
  }
  const asSet = (c: DerCursor) => {
    const set = c.into(context(1))
    const found: number[] = []
    while (set.tag >= 0) found.push(set.intoNextOfSet(tags.sequence).smallInteger())
    return found
  }
  const treeOfSet = (bytes: Buffer) => {
    const items = childrenOf(readDer(bytes), context(1))
    for (const [i, item] of items.entries()) {
      const last = items[i - 1]
      if (last && last.compare(item) > 0) throw new DerError('set not in order')
    }
    return items.map((item) => smallInteger(childrenOf(item, tags.sequence)[0]))
  }
  const ways: readonly Way[] = [
    ['explicit', explicitly, (bytes) => smallInteger(onlyChild(readDer(bytes), context(1)))],
    [
      'two of a sequence',
      (c) => {
        const inner = c.into(tags.sequence)
        const found = [inner.raw(tags.integer), inner.rawHere(tags.octetString), inner.body(tags.octetString)]
        inner.finish()
        return found
      },
      (bytes) => {
        const [a, b] = fixedChildren(readDer(bytes), tags.sequence, 2)
        return [integerBytes(a) && a?.raw, octets(b) && b?.raw, b?.body]
      },
    ],
    [
      'only within only',
      (c) => c.intoOnly(context(1), tags.sequence).smallInteger(),
      (bytes) => smallInteger(childrenOf(onlyChild(readDer(bytes), context(1)), tags.sequence)[0]),
    ],
    ['set', asSet, treeOfSet],
  ]
  const nest = fc.oneof(
    fc.array(leaf, { maxLength: 3 }).map((parts) => der.sequence(...parts)),
    fc.array(leaf, { maxLength: 2 }).map((parts) => der.explicit(1, ...parts)),
    fc
      .array(
        leaf.map((one) => der.sequence(one)),
        { maxLength: 3 },
      )
      .map((parts) => der.explicit(1, ...parts)),
  )
  fc.assert(
    fc.property(nest, (bytes) => assertSame(ways, bytes)),
    { numRuns: 3000 },
  )
  t.pass('3,000 nests')
})

t.test('TRUE is there or not; another element, the end and what is left over are refused', async (t) => {
  const over = (...parts: Buffer[]) => readForward(der.sequence(...parts)).into(tags.sequence)
  t.equal(over(der.yes).trueIfThere(), true)
  t.equal(over(der.integer(1)).trueIfThere(), false)
  t.equal(over().trueIfThere(), false)
  t.equal(over().tag, -1)
  t.equal(
    outcomeOf(() => over(der.element(tags.boolean, Buffer.of(0))).trueIfThere()),
    'DerError',
  )
  t.equal(
    outcomeOf(() => over().rawHere(tags.integer)),
    'DerError',
  )
  t.equal(
    outcomeOf(() => over(der.yes).finish()),
    'DerError',
  )
  t.equal(
    outcomeOf(() => readForward(Buffer.concat([der.yes, der.yes]))),
    'DerError',
  )
  t.equal(
    outcomeOf(() => over(der.element(0x80, Buffer.from('2026'))).generalizedTime(0x80)),
    'DerError',
  )
  const tree = readDer(der.sequence(der.integer(7)))
  t.equal(cursorAt(tree).into(tags.sequence).smallInteger(), 7)
})
