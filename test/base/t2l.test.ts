// T2L: one message, one form. Whatever parses prints to the very same bytes (PROTOCOL section 1).
import fc from 'fast-check'
import t from 'tap'
import { bind, bindFields, parseT2l, printFields, printT2l } from '../../src/base/t2l.ts'

const message = () => printT2l('alpha', Buffer.of(0), Buffer.alloc(0), Buffer.from('ff0102', 'hex'))
const tags = [1, 2, 3, 4]
const hex = (values: Buffer[] | undefined) => values?.map((value) => value.toString('hex'))

t.test('bytes are those of the page: tag, length, value; and a purpose stands before them', (t) => {
  t.equal(message().toString('hex'), '010005616c7068610200010003000004' + '0003ff0102')
  t.equal(printT2l().length, 0)
  t.equal(printT2l('云').toString('hex'), '010003e4ba91', 'text is UTF-8')
  const ctx = Buffer.from('vouchsafe/chip/v1').toString('hex')
  t.equal(bind('chip', Buffer.of(7)).toString('hex'), `${ctx}0001000107`)
  t.equal(
    bindFields('entry', [[9, Buffer.of(7)]])
      .toString('hex')
      .slice(-8),
    '09000107',
  )
  t.end()
})

t.test('what was printed is parsed, whatever the values', (t) => {
  const field = fc.tuple(fc.nat(255), fc.uint8Array({ maxLength: 300 }))
  const fields = fc
    .uniqueArray(field, { selector: ([tag]) => tag, maxLength: 12 })
    .map((some) => some.sort(([a], [b]) => a - b))
  fc.assert(
    fc.property(fields, (given) => {
      const order = given.map(([tag]) => tag)
      const values = parseT2l(printFields(given), order) ?? []
      const same = values.every((value, i) => value.compare(given[i]?.[1] ?? Buffer.of()) === 0)
      return same && values.length === given.length
    }),
  )
  t.same(hex(parseT2l(message(), tags)), ['616c706861', '00', '', 'ff0102'])
  t.same(parseT2l(Buffer.alloc(0), []), [])
  t.end()
})

t.test('every truncation and every trailing byte is refused', (t) => {
  const whole = message()
  for (let length = 0; length < whole.length; length++) {
    t.equal(parseT2l(whole.subarray(0, length), tags), undefined, `${length} of ${whole.length} bytes`)
  }
  for (let more = 0; more < 256; more++) {
    const longer = Buffer.concat([whole, Buffer.of(more)])
    if (parseT2l(longer, tags)) t.fail(`one more byte, ${more}`)
  }
  t.equal(parseT2l(Buffer.concat([whole, whole]), tags), undefined)
  t.end()
})

t.test('a message with one bit flipped is refused, or its values are others', (t) => {
  const whole = message()
  const original = hex(parseT2l(whole, tags))
  let accepted = 0
  for (let bit = 0; bit < whole.length * 8; bit++) {
    const bent = Buffer.from(whole)
    bent.writeUInt8(bent.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    const values = parseT2l(bent, tags)
    if (!values) continue
    accepted++
    t.notSame(hex(values), original, `bit ${bit}`)
    t.equal(printT2l(...values).toString('hex'), bent.toString('hex'), 'and print to the bent bytes')
  }
  const valueBits = 8 * (5 + 1 + 3)
  t.ok(accepted >= valueBits, 'bits of values are nobody’s here to refuse')
  t.ok(accepted < whole.length * 8, 'bits of tags and lengths are')
  t.end()
})

t.test('random bytes parse only if they are what would be printed', (t) => {
  // Few small numbers, so that some of the messages are right by chance.
  const bytes = fc.array(fc.constantFrom(0, 0, 1, 1, 2, 3), { maxLength: 14 })
  let accepted = 0
  fc.assert(
    fc.property(bytes, (given) => {
      const values = parseT2l(Buffer.from(given), [1, 2])
      if (values) accepted++
      return values === undefined || printT2l(...values).equals(Buffer.from(given))
    }),
    { numRuns: 20_000, seed: 20_261_124 },
  )
  t.ok(accepted > 0, `${accepted} of them`)
  t.end()
})

t.test('tags that descend, repeat, lack or are unknown are refused', (t) => {
  const table: [what: string, hex: string][] = [
    ['descending', '0200010b0100010a'],
    ['the first twice', '0100010a0100010a'],
    ['the second twice', '0100010a0200010b0200010b'],
    ['one lacking', '0100010a'],
    ['the first lacking', '0200010b'],
    ['an unknown one instead', '0100010a0300010b'],
    ['an unknown one between', '0100010a' + '0000010c' + '0200010b'],
    ['an unknown one after', '0100010a0200010b0300010c'],
    ['zero before', '000000' + '0100010a0200010b'],
    ['length one too long', '0100010a0200020b'],
    ['length one too short', '0100010a020000' + '0b'],
    ['length little-endian', '0101000a0201000b'],
    ['length that swallows the next', '0100050a0200010b'],
    ['length 65535 of nothing', '01ffff'],
    ['a head cut after the tag', '0100010a02'],
    ['a head cut in the length', '0100010a0200'],
  ]
  t.same(hex(parseT2l(Buffer.from('0100010a0200010b', 'hex'), [1, 2])), ['0a', '0b'], 'the right one')
  for (const [what, text] of table) t.equal(parseT2l(Buffer.from(text, 'hex'), [1, 2]), undefined, what)
  t.end()
})

t.test('a value of 65535 bytes passes both ways, one more is not printed', (t) => {
  const longest = Buffer.alloc(0xffff, 7)
  const printed = printT2l(longest)
  t.equal(printed.length, 0xffff + 3)
  t.ok(parseT2l(printed, [1])?.[0]?.equals(longest))
  t.throws(() => printT2l(Buffer.alloc(0x10000)), RangeError)
  t.throws(() => printFields([[1, Buffer.alloc(0x10000)]]), RangeError)
  t.end()
})

t.test('fields that could not be parsed are not printed', (t) => {
  const value = Buffer.of(1)
  const table: [what: string, tags: number[]][] = [
    ['descending', [2, 1]],
    ['twice', [1, 1]],
    ['beyond a byte', [256]],
    ['negative', [-1]],
  ]
  for (const [what, order] of table) {
    t.throws(() => printFields(order.map((tag) => [tag, value] as const)), RangeError, what)
  }
  t.equal(
    printFields([
      [0, value],
      [255, value],
    ]).toString('hex'),
    '00000101ff000101',
  )
  t.end()
})

t.test('no two purposes or splittings of the same bytes bind to one message', (t) => {
  const bound = [
    bind('a', 'bc'),
    bind('a', 'b', 'c'),
    bind('a', 'bc', ''),
    bind('a', '', 'bc'),
    bind('ab', 'c'),
    bindFields('a', [[2, Buffer.from('bc')]]),
  ]
  t.equal(new Set(bound.map((each) => each.toString('hex'))).size, bound.length)
  t.end()
})
