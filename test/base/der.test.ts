// The strict DER reader: what DER allows in one form only, and nothing else.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import {
  certificateTimeMs,
  childrenOf,
  context,
  type Der,
  DerError,
  fixedChildren,
  generalizedTimeAt,
  integerBytes,
  oidHex,
  onlyChild,
  readDer,
  smallInteger,
  tags,
  utcTimeMs,
  wholeBits,
} from '../../src/base/der.ts'
import { limits } from '../../src/base/limits.ts'

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')
const read = (text: string) => readDer(hex(text))
const nested = (depth: number): Buffer =>
  Array.from({ length: depth }).reduce<Buffer>(
    (inner) => Buffer.concat([Buffer.of(0x30, inner.length), inner]),
    hex('0500'),
  )
const throwsDer = (t: Test, run: () => unknown, name = 'refused') => {
  try {
    run()
    t.fail(`accepted: ${name}`)
  } catch (error) {
    t.ok(error instanceof DerError, name)
  }
}
const time = (tag: number, text: string): Der =>
  readDer(Buffer.concat([Buffer.of(tag, text.length), Buffer.from(text)]))

/** What OpenSSL makes of a value in its ASN1_generate_nconf language. */
const out = join(t.testdir(), 'out.der')
const generate = (text: string) => {
  execFileSync('openssl', ['asn1parse', '-noout', '-genstr', text, '-out', out])
  return readDer(readFileSync(out))
}

t.test('what OpenSSL writes is read as it was meant', async (t) => {
  t.equal(smallInteger(generate('INTEGER:65537')), 65_537)
  t.same(integerBytes(generate('INTEGER:-129')), hex('ff7f'))
  t.same(integerBytes(generate('INTEGER:0x80')), hex('0080'))
  t.equal(oidHex(generate('OID:1.2.840.113549.1.7.2')), '2a864886f70d010702')
  t.equal(utcTimeMs(generate('UTCTIME:261124030000Z')), Date.UTC(2026, 10, 24, 3))
  t.equal(certificateTimeMs(generate('GENTIME:20500101000000Z')), Date.UTC(2050, 0, 1))
  t.same(wholeBits(generate('FORMAT:HEX,BITSTRING:0102')), hex('0102'))
  t.equal(smallInteger(onlyChild(generate('EXP:3,INTEGER:2'), context(3))), 2)
})

t.test('elements are views of the received bytes', async (t) => {
  const bytes = hex('3006 0201 05 0401 ff')
  const [number, octetString] = fixedChildren(readDer(bytes), tags.sequence, 2) as [Der, Der]
  t.equal(smallInteger(number), 5)
  bytes[4] = 6
  t.equal(smallInteger(number), 6)
  t.same(octetString.raw, hex('0401ff'))
})

t.test('long lengths are read in their minimal form', async (t) => {
  const body = Buffer.alloc(300, 1)
  t.equal(readDer(Buffer.concat([hex('0482012c'), body])).body.length, 300)
  t.equal(readDer(Buffer.concat([hex('048180'), body.subarray(0, 128)])).body.length, 128)
})

const refused: [name: string, text: string][] = [
  ['nothing', ''],
  ['a tag alone', '30'],
  ['a length beyond the end', '040201'],
  ['trailing bytes', '0500 00'],
  ['an indefinite length', '3080 0000'],
  ['an indefinite length within', '3004 3080 0000'],
  ['a long form of a short length', '048101 00'],
  ['a long length with a leading zero', `04820080${'00'.repeat(128)}`],
  ['a length of length of four', '048400000001 00'],
  ['a length of reserved form', '04ff 00'],
  ['a tag of several bytes', '1f8101 00'],
  ['end-of-contents as an element', '0000'],
  ['a sequence that is primitive', '1000'],
  ['a set that is primitive', '1100'],
  ['octets that are constructed', '2403 040100'],
  ['an empty integer', '0200'],
  ['an integer with a needless 00', '0202 0001'],
  ['an integer with a needless ff', '0202 ff80'],
  ['a boolean that is neither', '0101 01'],
  ['a boolean of two bytes', '0102 ffff'],
  ['a null with content', '0501 00'],
  ['an empty object identifier', '0600'],
  ['an object identifier cut short', '0602 2a86'],
  ['an object identifier with a needless 80', '0603 2a8001'],
  ['a bit string without its first byte', '0300'],
  ['eight unused bits', '0302 0800'],
  ['unused bits of nothing', '0301 01'],
  ['unused bits that are set', '0302 0101'],
  ['a set not in order', '3106 020102 020101'],
  ['a fault deep inside', '3006 a004 3002 0200'],
]
for (const [name, text] of refused) {
  t.test(`refuses ${name}`, async (t) => {
    throwsDer(t, () => read(text))
  })
}

t.test('a set in order, twos included, is read', async (t) => {
  t.equal(childrenOf(read('3109 020101 020102 020102'), tags.set).length, 3)
})

t.test('depth is bounded', async (t) => {
  t.ok(readDer(nested(limits.derDepthMax)))
  t.throws(() => readDer(nested(limits.derDepthMax + 1)), /too deep/)
})

t.test('forms that are asked for are checked', async (t) => {
  throwsDer(t, () => childrenOf(read('0500'), tags.sequence))
  throwsDer(t, () => fixedChildren(read('3003 020101'), tags.sequence, 2))
  throwsDer(t, () => onlyChild(read('a006 020101 020101'), context(0)))
  throwsDer(t, () => onlyChild(read('a003 020101'), context(1)))
  throwsDer(t, () => smallInteger(read('0201 ff')))
  throwsDer(t, () => smallInteger(read('0205 0100000000')))
  throwsDer(t, () => integerBytes(undefined))
  throwsDer(t, () => wholeBits(read('0302 0180')))
  t.same(wholeBits(read('0302 0081')), hex('81'))
})

t.test('times: UTCTime until 2049, GeneralizedTime after, and days that exist', async (t) => {
  t.equal(utcTimeMs(time(tags.utcTime, '491231235959Z')), Date.UTC(2049, 11, 31, 23, 59, 59))
  t.equal(utcTimeMs(time(tags.utcTime, '500101000000Z')), Date.UTC(1950, 0, 1))
  t.equal(
    certificateTimeMs(time(tags.generalizedTime, '99991231235959Z')),
    Date.UTC(9999, 11, 31, 23, 59, 59),
  )
  t.equal(generalizedTimeAt(Buffer.from('20240229120000Z'), 0, 15), Date.UTC(2024, 1, 29, 12))
  throwsDer(t, () => certificateTimeMs(time(tags.generalizedTime, '20491231235959Z')))
  throwsDer(t, () => utcTimeMs(time(tags.generalizedTime, '20260101000000Z')))
  for (const text of [
    '260230000000Z',
    '261301000000Z',
    '260100000000Z',
    '260101240000Z',
    '260101006000Z',
    '260101000060Z',
    '2601010000Z',
    '260101000000+0000',
    '26010100000 Z',
  ]) {
    throwsDer(t, () => utcTimeMs(time(tags.utcTime, text)), text)
  }
  for (const text of ['20260229000000Z', '00010101000000Z', '20260101000000.5Z', '202601010000Z']) {
    throwsDer(t, () => generalizedTimeAt(Buffer.from(text), 0, text.length), text)
  }
})

t.test('any bytes are either DER or a DerError', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        const element = readDer(Buffer.from(bytes))
        return element.raw.length === bytes.length
      } catch (error) {
        return error instanceof DerError
      }
    }),
    { numRuns: 5000, verbose: true },
  )
})
