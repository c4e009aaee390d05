// Base64url is canonical: of all texts exactly those that a printer prints are read (RFC 4648 sections 3.5, 5).
import { createSecretKey } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { hmacSha256, ownCopies, parseBase64url, printBase64url } from '../../src/base/bytes.ts'

/** The slow way: what is read must print to the same text. */
function parseSlowly(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : undefined
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/= \n\u00e9\u0141\u4e2d'

t.test('every text of up to two characters, and two of each length with every last one', (t) => {
  const characters = [...alphabet]
  const pairs = characters.flatMap((a) => characters.map((b) => a + b))
  const ends = ['ab', 'abc', 'abcd', 'abcde'].flatMap((head) => characters.map((last) => head + last))
  const texts = ['', ...characters, ...pairs, ...ends]
  const isOtherwise = (text: string) =>
    parseBase64url(text)?.toString('hex') !== parseSlowly(text)?.toString('hex')
  t.same(texts.filter(isOtherwise), [])
  // U+0141 has the low byte of A, and within a longer text the decoder takes it for one.
  t.equal(parseBase64url('AAA\u0141AAAA'), undefined)
  t.equal(
    texts.filter((text) => parseBase64url(text)).length,
    1 + 64 * 4 + 16 + 64 + 4,
    'and how many are read',
  )
  t.end()
})

t.test('random texts, and random bytes printed', (t) => {
  const text = fc.array(fc.constantFrom(...alphabet), { maxLength: 12 }).map((all) => all.join(''))
  fc.assert(
    fc.property(text, (text) => {
      const [fast, slow] = [parseBase64url(text), parseSlowly(text)]
      return fast === undefined ? slow === undefined : slow?.equals(fast) === true
    }),
    { numRuns: 5000, seed: 20261129 },
  )
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      const printed = printBase64url(bytes)
      return (
        parseBase64url(printed)?.equals(bytes) === true &&
        parseBase64url(printed, bytes.length + 1) === undefined
      )
    }),
    { numRuns: 1000, seed: 20261129 },
  )
  t.equal(parseBase64url('AAAA', 3)?.length, 3)
  t.end()
})

t.test('own copies are in memory that nothing else is in', async (t) => {
  const [a, b] = ownCopies(Buffer.from('first'), Buffer.from(''), Buffer.from('second'))
  const [, , c] = ownCopies(Buffer.from('first'), Buffer.from(''), Buffer.from('second'))
  t.same([a, b, c].map(String), ['first', '', 'second'])
  t.equal(a.buffer.byteLength, 'firstsecond'.length)
  const given = Buffer.from('given')
  const [own] = ownCopies(given)
  given.fill(0)
  t.equal(String(own), 'given')
})

t.test('HMAC-SHA-256: test cases of RFC 4231 section 4, by bytes, by KeyObject and in parts', (t) => {
  const cases: [key: Buffer, text: string, mac: string][] = [
    [Buffer.alloc(20, 0x0b), 'Hi There', 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7'],
    [
      Buffer.from('Jefe'),
      'what do ya want for nothing?',
      '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
    ],
    [
      Buffer.alloc(131, 0xaa),
      'Test Using Larger Than Block-Size Key - Hash Key First',
      '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
    ],
  ]
  for (const [key, text, mac] of cases) {
    t.equal(hmacSha256(key, Buffer.from(text)).toString('hex'), mac)
    t.equal(hmacSha256(createSecretKey(key), text.slice(0, 3), text.slice(3)).toString('hex'), mac)
  }
  t.end()
})
