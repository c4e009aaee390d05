// Text as cards really have it: what is rare, padded, retired or at the edge of a day. Each line goes from the record to
// the strings that bureau and cache get.
import { createSecretKey } from 'node:crypto'
import t from 'tap'
import { Value } from 'typebox/value'
import { printBase64url } from '../../src/base/bytes.ts'
import { Question } from '../../src/bureau/protocol.ts'
import { deriveCacheKey, printWho } from '../../src/cache/key.ts'
import { type CardRecord, checkRecord, parseRecord, printRecord } from '../../src/card/record.ts'
import { refusal } from '../../src/card/refusal.ts'
import { holder, nowMs, numberOf } from '../helpers/cards.ts'

const { serial, ...record } = holder
const check = (change: Partial<CardRecord>, at = nowMs) =>
  checkRecord(printRecord({ ...record, ...change }), serial, at)
const personOf = (change: Partial<CardRecord>, at = nowMs) => {
  const { refusal, person } = check(change, at)
  if (refusal !== 0 || !person) throw new Error(`refused as R${refusal}`)
  return person
}
const secret = createSecretKey(Buffer.alloc(32, 5))
const keyOf = (change: Partial<CardRecord>) =>
  deriveCacheKey(secret, 'swift-crane', printWho(personOf(change))).ck.toString('hex')

const names: [about: string, printed: string, asked: string][] = [
  ['beyond the first plane (CJK extension B)', '欧阳𠮷屿', '欧阳𠮷屿'],
  ['beyond the first plane (CJK extension G)', '上官\u{30000}屿', '上官\u{30000}屿'],
  ['a private-use code point, as older cards have for rare characters', '司徒\ue863霁', '司徒\ue863霁'],
  ['a private-use code point of plane 15', '司徒\u{f0001}霁', '司徒\u{f0001}霁'],
  ['a CJK compatibility ideograph, whose NFC is the unified one', '欧阳\uf9d1屿', '欧阳六屿'],
  ['the middle dot of GB 18030', '虚构提·艾构江', '虚构提·艾构江'],
  ['a Greek ano teleia, whose NFC is the middle dot', '虚构提\u0387艾构江', '虚构提·艾构江'],
  ['a bullet is another character', '虚构提•艾构江', '虚构提•艾构江'],
  ['a katakana dot is another character', '虚构提・艾构江', '虚构提・艾构江'],
  ['a full-width space within', '欧阳\u3000澜屿', '欧阳\u3000澜屿'],
  ['a full-width space at the end', '欧阳澜屿\u3000', '欧阳澜屿\u3000'],
  ['a space before', ' 欧阳澜屿', ' 欧阳澜屿'],
  ['spaces behind are padding', '欧阳澜屿   ', '欧阳澜屿'],
  ['the whole field, without padding', '澜屿泽宸曦柠霁昀琰翊岚汐鹭枫杉', '澜屿泽宸曦柠霁昀琰翊岚汐鹭枫杉'],
  ['letters with an accent in two code points', 'Zoe\u0301 Abcd', 'Zo\u00e9 Abcd'],
]

for (const [about, printed, asked] of names) {
  t.test(`a name with ${about}`, async (t) => {
    const person = personOf({ name: printed })
    t.equal(person.name, asked)
    const { docType, state: issuingState, number, name, validTo } = person
    const question = { docType, issuingState, number, name, serial: printBase64url(person.serial), validTo }
    t.ok(Value.Check(Question, question), 'the bureau can be asked so')
    t.same(JSON.parse(Buffer.from(JSON.stringify(question)).toString()), question, 'and gets it whole')
    t.equal(keyOf({ name: printed }), keyOf({ name: asked }), 'one cache key for one name')
  })
}

t.test('names that only look alike are not the same person', async (t) => {
  const alike = ['虚构提·艾构江', '虚构提•艾构江', '虚构提・艾构江', '虚构提艾构江', '虚构提·艾构江\u3000']
  t.equal(new Set(alike.map((name) => keyOf({ name }))).size, alike.length)
})

t.test('no end is said in one word, padded or not', async (t) => {
  t.equal(personOf({ validTo: '长期' }).validTo, '99991231')
  t.equal(check({ validTo: '长期' }, Date.UTC(2150, 0)).refusal, 0, 'and holds')
  for (const validTo of ['长', '長期', ' 长期', '长期有效', '永久', '99999999', '']) {
    t.equal(check({ validTo }).refusal, refusal.text, JSON.stringify(validTo))
  }
})

t.test('numbers: 15 digits and other digits are refused, x is X, and retired areas are right', async (t) => {
  const refused = [
    '780001900307421',
    '780001900307421   ',
    ` ${holder.number.slice(0, 17)}`,
    [...holder.number].map((digit) => String.fromCharCode(digit.charCodeAt(0) + 0xfee0)).join(''),
    holder.number.replace(/.$/, '\uff38'),
    `-${holder.number.slice(1)}`,
    holder.number.slice(0, 17),
  ]
  for (const number of refused) t.equal(check({ number }).refusal, refusal.number, JSON.stringify(number))
  const withX = Array.from({ length: 40 }, (_, i) => numberOf(`7800011990030${String(7001 + i * 2)}`)).find(
    (n) => n.endsWith('X'),
  ) as string
  const birth = withX.slice(6, 14)
  const sex = Number(withX[16]) % 2 ? '1' : '2'
  t.equal(personOf({ number: withX.replace('X', 'x'), birth, sex }).number, withX)
  t.equal(keyOf({ number: withX.replace('X', 'x'), birth, sex }), keyOf({ number: withX, birth, sex }))
  for (const area of ['780009', '789999', '790000', '799999', '990000']) {
    t.equal(personOf({ number: numberOf(`${area}19900307421`) }).number.slice(0, 6), area, `area ${area}`)
  }
})

t.test('leap days are days in leap years alone', async (t) => {
  const born = (birth: string) => check({ number: numberOf(`780001${birth}421`), birth }).refusal
  for (const birth of ['20000229', '19960229', '20240229', '19040229']) t.equal(born(birth), 0, birth)
  for (const birth of ['19000229', '20230229', '20010229', '20240230'])
    t.equal(born(birth), refusal.birth, birth)
  t.equal(check({ validFrom: '20040229', validTo: '20240229' }).refusal, refusal.expired)
  t.equal(check({ validFrom: '20040229', validTo: '20280229' }).refusal, 0)
  t.equal(check({ validTo: '20270229' }).refusal, refusal.text)
  const last = Date.UTC(2028, 1, 29, 15, 59, 59, 999)
  t.equal(check({ validTo: '20280229' }, last).refusal, 0, 'to its last moment in Shanghai')
  t.equal(check({ validTo: '20280229' }, last + 1).refusal, refusal.expired)
})

t.test('a day turns at midnight in Shanghai, for birth, beginning and end', async (t) => {
  const midnight = Date.UTC(2026, 11, 31, 16) // 1 January 2027, 00:00 in Shanghai.
  const newborn = { number: numberOf('78000120270101421'), birth: '20270101', validFrom: '20270101' }
  t.equal(check(newborn, midnight - 1).refusal, refusal.birth)
  t.equal(check(newborn, midnight).refusal, 0)
  t.equal(check({ validFrom: '20270101' }, midnight - 1).refusal, refusal.notYetValid)
  t.equal(check({ validFrom: '20270101' }, midnight).refusal, 0)
  t.equal(check({ validTo: '20261231' }, midnight - 1).refusal, 0)
  t.equal(check({ validTo: '20261231' }, midnight).refusal, refusal.expired)
})

t.test('padding is U+0020: a field that is padded otherwise is what it says', async (t) => {
  for (const pad of ['\u3000', '\u00a0', '\u200b']) {
    const bytes = printRecord(record)
    bytes.write(pad, 18, 'utf16le') // In the name, behind its last character and padding.
    t.not(parseRecord(bytes)?.name, holder.name, JSON.stringify(pad))
  }
  for (const field of ['number', 'birth', 'validFrom', 'sex'] as const) {
    const padded = check({ [field]: `${record[field].slice(0, -1)}\u3000` })
    t.not(padded.refusal, 0, field)
  }
})
