// The machine readable zone against the specimens of ICAO 9303-4 and -5, then what no zone may hold.
import t from 'tap'
import { checkDigitOf, dg1Sizes, expiryDay, isBirth, parseDg1 } from '../../../src/card/passport/mrz.ts'
import { printDg1, printMrz } from '../../../src/simulator/passports.ts'
import { holder } from '../../helpers/passports.ts'

const td3 = [
  'P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<',
  'L898902C36UTO7408122F1204159ZE184226B<<<<<10',
].join('')
const td1 = [
  'P<UTOD231458907<<<<<<<<<<<<<<<',
  '7408122F1204159UTO<<<<<<<<<<<6',
  'ERIKSSON<<ANNA<MARIA<<<<<<<<<<',
].join('')
const long = [
  'P<UTOD23145890<7349<<<<<<<<<<<',
  '3407127M9507122UTO<<<<<<<<<<<2',
  'STEVENSON<<PETER<JOHN<<<<<<<<<',
].join('')
const right = { number: true, birth: true, expiry: true, whole: true }

t.test('the specimens are read', async (t) => {
  const eriksson = { code: 'P', state: 'UTO', name: 'ERIKSSON<<ANNA<MARIA', digits: right }
  const dates = { birth: '740812', sex: 'F', expiry: '120415' }
  t.same(parseDg1(printDg1(td3)), { ...eriksson, ...dates, number: 'L898902C3' })
  t.same(parseDg1(printDg1(td1)), { ...eriksson, ...dates, number: 'D23145890' })
  t.match(parseDg1(printDg1(long)), { number: 'D23145890734', name: 'STEVENSON<<PETER<JOHN', digits: right })
  t.same([printDg1(td3).length, printDg1(td1).length], dg1Sizes)
})

t.test('check digits of 9303-3 section 4.9', async (t) => {
  for (const [text, digit] of [
    ['520727', '3'],
    ['AB2134<<<', '5'],
    ['HA672242<658022549601086<<<<<<<<<<<<<<0', '8'],
  ] as const) {
    t.equal(checkDigitOf(text), digit, text)
  }
})

t.test('what the simulator prints is read back', async (t) => {
  for (const form of ['td3', 'td1'] as const) {
    const { state, number, name, birth, sex, expiry } = holder
    const read = parseDg1(printDg1(printMrz(holder, form)))
    t.same(read, { code: 'P', state, number, name, birth, sex, expiry, digits: right })
  }
})

t.test('each character that is another is told by a check digit or is not one that counts', async (t) => {
  const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)
  for (const at of [...range(0, 10), ...range(13, 20), ...range(21, 44)]) {
    const index = 44 + at
    // The next value: characters ten apart, such as L and 1, are one to a check digit.
    const value = Number.parseInt(td3.charAt(index), 36) || 0
    const other = String((value + 1) % 10)
    const read = parseDg1(printDg1(td3.slice(0, index) + other + td3.slice(index + 1)))
    t.notOk(read && Object.values(read.digits).every(Boolean), `${at}`)
  }
})

t.test('what is not a zone of a passport', async (t) => {
  const put = (at: number, text: string) => printDg1(td3.slice(0, at) + text + td3.slice(at + text.length))
  const cases: [string, Buffer][] = [
    ['nothing', Buffer.alloc(0)],
    ['cut short', printDg1(td3.slice(0, 87))],
    ['a character more', printDg1(`${td3}<`)],
    ['three lines under the head of two', Buffer.concat([printDg1(td3).subarray(0, 5), Buffer.from(td1)])],
    ['a small letter', put(6, 'r')],
    ['a letter beyond ASCII', Buffer.concat([printDg1(td3).subarray(0, -1), Buffer.of(0xc4)])],
    ['a line end', put(43, '\n')],
    ['an identity card', put(0, 'I')],
    ['a visa', put(0, 'V')],
    ['a state of two letters', put(2, 'UT<')],
    ['a state with a digit', put(2, 'UT0')],
    ['a number that begins with a filler', put(44, '<')],
    ['no name', put(5, '<'.repeat(39))],
  ]
  for (const [about, file] of cases) t.equal(parseDg1(file), undefined, about)
})

t.test('an optional check digit may be a filler only where there is no optional data', async (t) => {
  const line = (optional: string, digit: string) => {
    const start = td3.slice(44, 72) + optional.padEnd(14, '<') + digit
    const whole = checkDigitOf(start.slice(0, 10) + start.slice(13, 20) + start.slice(21))
    return parseDg1(printDg1(td3.slice(0, 44) + start + whole))?.digits.whole
  }
  t.equal(line('', '<'), true)
  t.equal(line('', '0'), true)
  t.equal(line('ZE184226B', '<'), false)
  t.equal(line('ZE184226B', '1'), true)
  t.equal(line('ZE184226B', '2'), false)
})

t.test('two digits of a year are of the hundred years around now', async (t) => {
  const today = '20261124'
  for (const [text, day] of [
    ['260101', '20260101'],
    ['750101', '20750101'],
    ['760101', '19760101'],
    ['991231', '19991231'],
    ['360229', '20360229'],
    ['370229', undefined],
    ['261301', undefined],
    ['26<<<<', undefined],
  ] as const) {
    t.equal(expiryDay(text, today), day, text)
  }
})

t.test('of a birth month and day may be unknown', async (t) => {
  for (const text of ['740812', '7408<<', '74<<<<', '<<<<<<', '000229']) t.ok(isBirth(text), text)
  for (const text of ['741312', '740832', '74<<12', '740800', '740230', '7408', 'A40812'])
    t.notOk(isBirth(text), text)
})
