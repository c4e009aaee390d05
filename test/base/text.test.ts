// Numbers and bytes in text: what has two forms elsewhere has one here.
import fc from 'fast-check'
import t from 'tap'
import { isLines, parseBase64, parseDecimal } from '../../src/base/text.ts'

t.test('a decimal is read in its one form', (t) => {
  fc.assert(fc.property(fc.maxSafeNat(), (value) => parseDecimal(String(value)) === value))
  t.equal(parseDecimal('9007199254740991'), 2 ** 53 - 1)
  const wrong = ['', '00', '01', '-1', '+1', ' 1', '1 ', '1\n', '1.0', '1e3', '0x1', '١', '1_0', 'NaN']
  for (const text of [
    ...wrong,
    '9007199254740992',
    '9007199254740993',
    '99999999999999999',
    '9'.repeat(400),
  ]) {
    t.equal(parseDecimal(text), undefined, JSON.stringify(text).slice(0, 30))
  }
  t.end()
})

t.test('base64 is read in its one form', (t) => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      const text = Buffer.from(bytes).toString('base64')
      return parseBase64(text, bytes.length)?.equals(bytes) === true && !parseBase64(text, bytes.length + 1)
    }),
  )
  t.same(parseBase64(''), Buffer.alloc(0))
  t.same(parseBase64('-_8='), undefined, 'the other alphabet')
  for (const text of [
    'A',
    'AA',
    'AAA',
    'AA=',
    'AB==',
    'AAB=',
    'AA==\n',
    ' AA==',
    'AA== ',
    'A=A=',
    '====',
    'AA==AA==',
  ]) {
    t.equal(parseBase64(text), undefined, JSON.stringify(text))
  }
  t.end()
})

t.test('lines hold no control character but newlines, and no half of a character', (t) => {
  t.ok(isLines(''))
  t.ok(isLines('a\n\n— b 云\u007f\u0085\n'))
  for (let code = 0; code < 0x20; code++) {
    t.equal(isLines(`a${String.fromCharCode(code)}b`), code === 10, `U+00${code.toString(16)}`)
  }
  t.notOk(isLines('a\ud800'))
  t.notOk(isLines('\udc00a'))
  t.end()
})
