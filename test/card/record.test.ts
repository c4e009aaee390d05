// The text record and the citizen number: GB 11643's own example, then what each field must be.
import fc from 'fast-check'
import t from 'tap'
import {
  type CardRecord,
  checkCharacterOf,
  checkRecord,
  isCitizenNumber,
  isDay,
  parseRecord,
  printRecord,
  shanghaiDay,
} from '../../src/card/record.ts'
import { refusal } from '../../src/card/refusal.ts'
import { holder, nowMs, numberOf } from '../helpers/cards.ts'

const { serial, ...record } = holder
const check = (change: Partial<CardRecord>, at = nowMs) =>
  checkRecord(printRecord({ ...record, ...change }), serial, at)

t.test('the examples of GB 11643-1999 have the right check character', async (t) => {
  for (const number of ['11010519491231002X', '440524188001010014']) t.ok(isCitizenNumber(number), number)
})

t.test(
  'every other check character is wrong, and so is every other digit or swap of neighbours',
  async (t) => {
    const good = holder.number
    for (const last of '0123456789X') {
      t.equal(isCitizenNumber(good.slice(0, 17) + last), last === good[17], last)
    }
    for (let at = 0; at < 17; at++) {
      for (const digit of '0123456789') {
        const other = good.slice(0, at) + digit + good.slice(at + 1)
        if (other !== good && isCitizenNumber(other)) t.fail(`${at} ${digit}`)
      }
      const swapped = good.slice(0, at) + good[at + 1] + good[at] + good.slice(at + 2)
      if (swapped !== good && at < 16 && isCitizenNumber(swapped)) t.fail(`swap at ${at}`)
    }
  },
)

t.test('numbers of another form are no numbers', async (t) => {
  for (const number of [
    '',
    '780001900307421',
    `${holder.number}0`,
    `${holder.number}\n`,
    '７'.repeat(18),
    'X'.repeat(18),
  ]) {
    t.notOk(isCitizenNumber(number), JSON.stringify(number))
  }
  t.notOk(isCitizenNumber('11010519491231002x'), 'lower case is read as X before')
})

t.test('ISO 7064 MOD 11-2: number and check character come to 1', async () => {
  const digits17 = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 17, maxLength: 17 })
  fc.assert(
    fc.property(digits17, (digits) => {
      const text = digits.join('')
      // The slow twin: ISO 7064 section 7.1, a polynomial in 2 modulo 11.
      const sum = [...text].reduce((rest, digit) => ((rest + Number(digit)) * 2) % 11, 0)
      const character = checkCharacterOf(text)
      return (sum + (character === 'X' ? 10 : Number(character))) % 11 === 1
    }),
    { verbose: true },
  )
})

t.test('a record is 256 bytes and comes back as printed', async (t) => {
  const bytes = printRecord(record)
  t.equal(bytes.length, 256)
  t.same(parseRecord(bytes), record)
  t.equal(
    bytes.subarray(122, 158).toString('utf16le'),
    holder.number,
    'the number lies where the layout says',
  )
  for (let end = 0; end < 256; end++) if (parseRecord(bytes.subarray(0, end))) t.fail(`${end} bytes`)
  t.equal(parseRecord(Buffer.concat([bytes, Buffer.alloc(2)])), undefined)
})

t.test('a field that is too long cannot be printed', async (t) => {
  t.throws(() => printRecord({ ...record, name: '名'.repeat(16) }), RangeError('the field name does not fit'))
})

t.test('text is UTF-16 without controls, up to the last reserved character', async (t) => {
  for (const unit of [0x0000, 0x0009, 0x001f, 0x007f, 0x0085, 0x009f, 0xd800, 0xdbff, 0xdc00, 0xdfff]) {
    for (const at of [0, 30, 122, 254]) {
      const bytes = printRecord(record)
      bytes.writeUInt16LE(unit, at)
      t.same(checkRecord(bytes, serial, nowMs), { refusal: refusal.text }, `${unit.toString(16)} at ${at}`)
    }
  }
  const torn = printRecord(record)
  torn.writeUInt16LE(0xd842, 28)
  torn.writeUInt16LE(0xdfb7, 30)
  t.equal(checkRecord(torn, serial, nowMs).refusal, refusal.text, 'a pair across two fields')
  const reserved = printRecord(record)
  reserved.writeUInt16LE(0x41, 254)
  t.equal(checkRecord(reserved, serial, nowMs).refusal, refusal.text, 'reserved is blank')
})

t.test('characters beyond the first plane, middle dots and private ones are names', async (t) => {
  for (const name of ['欧阳𠮷屿', '买买提·艾力江', '上官\ue000宸']) {
    t.match(check({ name }), { refusal: 0, person: { name } })
  }
})

t.test('only U+0020 at the end is padding', async (t) => {
  t.match(check({ name: ' 欧阳澜屿\u3000' }), { refusal: 0, person: { name: ' 欧阳澜屿\u3000' } })
})

const rows: [about: string, change: Partial<CardRecord>, refusal: number][] = [
  ['a blank name', { name: '' }, refusal.text],
  ['a first day that is none', { validFrom: '20200231' }, refusal.text],
  ['a last day that is none', { validTo: '2040' }, refusal.text],
  ['long-term in the wrong field', { validFrom: '长期' }, refusal.text],
  ['a blank number', { number: '' }, refusal.number],
  ['two x', { number: `x${holder.number.slice(1, 17)}x` }, refusal.number],
  ['a blank day of birth', { birth: '' }, refusal.birth],
  ['another day of birth', { birth: '19900308' }, refusal.birth],
  ['a birth on 30 February', { number: numberOf('78000119900230421'), birth: '19900230' }, refusal.birth],
  ['a birth tomorrow', { number: numberOf('78000120261125421'), birth: '20261125' }, refusal.birth],
  ['sex blank', { sex: '' }, refusal.sex],
  ['sex unknown', { sex: '0' }, refusal.sex],
  ['the other sex', { sex: '2' }, refusal.sex],
  ['a first day tomorrow', { validFrom: '20261125' }, refusal.notYetValid],
  ['a last day yesterday', { validTo: '20261123' }, refusal.expired],
  ['an end before its beginning', { validFrom: '20261124', validTo: '20200101' }, refusal.expired],
  ['birth today', { number: numberOf('78000120261124421'), birth: '20261124', validFrom: '20261124' }, 0],
  ['an area that is retired or unknown', { number: numberOf('99999919900307421') }, 0],
  ['a blank address and issuer', { address: '', issuer: '' }, 0],
  ['a woman', { number: numberOf('78000119900307422'), sex: '2' }, 0],
  ['no end', { validTo: '长期' }, 0],
]
for (const [about, change, expected] of rows) {
  t.test(`${about} comes to ${expected === 0 ? 'nothing to refuse' : `R${expected}`}`, async (t) => {
    const found = check(change)
    t.equal(found.refusal, expected)
    t.equal(found.person !== undefined, expected === 0 || expected > refusal.number, 'the person')
  })
}

t.test('days of the calendar', async (t) => {
  for (const day of ['20240229', '20000229', '19900131', '99991231']) t.ok(isDay(day), day)
  for (const day of [
    '20230229',
    '19000229',
    '20240431',
    '20241301',
    '20240100',
    '2024010',
    '202401011',
    '2024 101',
    '00010101',
    '',
  ]) {
    t.notOk(isDay(day), day)
  }
})

t.test('a day begins at 16:00 UTC of the one before', async (t) => {
  t.equal(shanghaiDay(Date.UTC(2026, 11, 31, 15, 59, 59, 999)), '20261231')
  t.equal(shanghaiDay(Date.UTC(2026, 11, 31, 16)), '20270101')
  const formatter = new Intl.DateTimeFormat('en-CA', { timeZone: 'Asia/Shanghai' })
  fc.assert(
    fc.property(fc.integer({ min: Date.UTC(2000, 0), max: Date.UTC(2100, 0) }), (ms) => {
      return formatter.format(ms).replaceAll('-', '') === shanghaiDay(ms)
    }),
    { verbose: true },
  )
})

t.test('any 256 bytes are a record or R20, and no refusal throws', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 256, maxLength: 256 }), (bytes) => {
      return checkRecord(Buffer.from(bytes), serial, nowMs).refusal !== 0
    }),
    { numRuns: 500, verbose: true },
  )
})
