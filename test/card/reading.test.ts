// The opened reading: exactly its bytes and nothing else.
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { parseReading, printReading, type Reading } from '../../src/card/reading.ts'

const reading: Reading = {
  suite: 1,
  sod: randomBytes(900),
  dg1: randomBytes(272),
  dg14: randomBytes(40),
  dg15: randomBytes(91),
  chipSignature: randomBytes(64),
  flags: 0,
}
const plain = printReading(reading)
const bodyEnd = 2 + plain.readUInt16BE(0)

t.test('a reading comes back as it was printed, to identical bytes', async (t) => {
  t.equal(plain.length, 2048)
  const parsed = parseReading(plain)
  t.same(parsed, reading)
  t.same(printReading(parsed as Reading), plain)
})

t.test('its fields are views of the received bytes', async (t) => {
  t.equal(parseReading(plain)?.sod.buffer, plain.buffer)
})

t.test('another suite has the form of a reading: whether it is enabled is asked elsewhere', async (t) => {
  t.equal(parseReading(printReading({ ...reading, suite: 2 }))?.suite, 2)
})

t.test('a reading that does not fit cannot be printed', async (t) => {
  const room = 2048 - bodyEnd
  t.equal(printReading({ ...reading, sod: Buffer.alloc(900 + room) }).length, 2048)
  t.throws(
    () => printReading({ ...reading, sod: Buffer.alloc(901 + room) }),
    RangeError('the reading does not fit'),
  )
})

const sizes: [field: keyof Reading, bytes: number][] = [
  ['dg1', 271],
  ['dg1', 273],
  ['dg14', 39],
  ['dg14', 41],
  ['chipSignature', 63],
  ['chipSignature', 65],
  ['chipSignature', 0],
]
for (const [field, bytes] of sizes) {
  t.test(`${field} of ${bytes} bytes is refused`, async (t) => {
    t.equal(parseReading(printReading({ ...reading, [field]: Buffer.alloc(bytes) })), undefined)
  })
}

t.test('flags other than 0 are refused', async (t) => {
  for (const flags of [1, 128, 255]) t.equal(parseReading(printReading({ ...reading, flags })), undefined)
})

t.test('every byte of the padding must be zero', async (t) => {
  for (let at = bodyEnd; at < plain.length; at++) {
    const altered = Buffer.from(plain)
    altered[at] = 1
    if (parseReading(altered)) t.fail(`byte ${at}`)
  }
  t.pass(`${plain.length - bodyEnd} bytes`)
})

t.test('every other length is refused', async (t) => {
  for (let end = 0; end < plain.length; end++) {
    if (parseReading(plain.subarray(0, end))) t.fail(`${end} bytes`)
  }
  t.equal(parseReading(Buffer.concat([plain, Buffer.alloc(1)])), undefined)
  t.equal(parseReading(Buffer.alloc(4096)), undefined)
  t.equal(parseReading(Buffer.alloc(2048)), undefined)
})

t.test('every inner length but the right one is refused', async (t) => {
  for (let length = 0; length <= 0xffff; length++) {
    const altered = Buffer.from(plain)
    altered.writeUInt16BE(length)
    if (length !== bodyEnd - 2 && parseReading(altered)) t.fail(`length ${length}`)
  }
  t.pass('all')
})

t.test('every flipped bit is refused or comes back as another reading', async (t) => {
  let refused = 0
  for (let bit = 0; bit < plain.length * 8; bit++) {
    const altered = Buffer.from(plain)
    altered.writeUInt8(altered.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    const parsed = parseReading(altered)
    if (!parsed) refused += 1
    else if (!printReading(parsed).equals(altered)) t.fail(`bit ${bit} has two forms`)
  }
  t.ok(refused > 0, `${refused} refused`)
})

const passport: Reading = {
  suite: 3,
  sod: randomBytes(2600),
  dg1: randomBytes(93),
  dg14: Buffer.alloc(0),
  dg15: randomBytes(294),
  chipSignature: randomBytes(256),
  flags: 0,
}

t.test('a reading of a passport has twice the size, and its own fields', async (t) => {
  const wide = printReading(passport)
  t.equal(wide.length, 4096)
  t.same(parseReading(wide), passport)
  for (const change of [
    { dg1: randomBytes(95) },
    { dg14: randomBytes(80) },
    { chipSignature: randomBytes(64) },
  ])
    t.same(parseReading(printReading({ ...passport, ...change })), { ...passport, ...change })
  for (const change of [
    { dg1: randomBytes(94) },
    { dg1: randomBytes(272) },
    { chipSignature: randomBytes(63) },
    { chipSignature: randomBytes(513) },
    { flags: 1 },
  ])
    t.equal(parseReading(printReading({ ...passport, ...change })), undefined)
})

t.test('no size goes with the other kind of document', async (t) => {
  const small = printReading({ ...passport, sod: randomBytes(900) })
  t.equal(parseReading(small.subarray(0, 2048)), undefined)
  t.equal(parseReading(Buffer.concat([plain], 4096)), undefined)
  for (const bytes of [0, 2047, 2049, 3000, 4095, 4097]) t.equal(parseReading(Buffer.alloc(bytes)), undefined)
})
