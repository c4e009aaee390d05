// A hundred million invented people: the bijection, the rules of the record, and that all of it is arithmetic.
import fc from 'fast-check'
import t from 'tap'
import { areaCodes, checkCharacter, findPerson, peopleCount, personAt } from '../../src/bureau-mock/people.ts'
import { isCitizenNumber, isDay, longTerm, parseRecord, printRecord } from '../../src/card/record.ts'

const seed = 'test'
const indices = fc.integer({ min: 0, max: peopleCount - 1 })
/** Both ends, and the neighbours of every carry of area, sequence and day. */
const edges = [
  0,
  1,
  3,
  4,
  999,
  1000,
  3999,
  4000,
  4001,
  1460 * 4000,
  24_999 * 4000,
  peopleCount - 2,
  peopleCount - 1,
]

t.test('there are exactly a hundred million, and nobody outside', async (t) => {
  t.equal(peopleCount, 100_000_000)
  for (const index of [-1, peopleCount, 1.5, Number.NaN, Number.POSITIVE_INFINITY])
    t.throws(() => personAt(seed, index), RangeError)
})

t.test('the check character is that of GB 11643: its published examples', async (t) => {
  t.equal(checkCharacter('11010519491231002'), 'X')
  t.equal(checkCharacter('44052418800101001'), '4')
})

t.test('index and number are each other’s inverse', async (t) => {
  for (const index of edges) t.same(findPerson(seed, personAt(seed, index).number), personAt(seed, index))
  fc.assert(
    fc.property(indices, (index) => findPerson(seed, personAt(seed, index).number)?.index === index),
    { numRuns: 2000 },
  )
  t.pass('2000 drawn indices')
})

t.test('different indices have different numbers', async (t) => {
  const block = 4000 * 2 // Two days of all areas and sequences.
  const numbers = new Set<string>()
  for (let index = 0; index < block; index++) numbers.add(personAt(seed, index).number)
  t.equal(numbers.size, block)
})

t.test('a number that nobody has finds nobody', async (t) => {
  const { number } = personAt(seed, 12_345_678)
  const withCheck = (first17: string) => first17 + checkCharacter(first17)
  const cases: [string, string][] = [
    ['another check character', number.slice(0, 17) + (number[17] === '1' ? '2' : '1')],
    ['another area', withCheck(`780005${number.slice(6, 17)}`)],
    ['a real-looking area', withCheck(`110105${number.slice(6, 17)}`)],
    ['a day before the first', withCheck('78000119371231001')],
    ['a day after the last', withCheck('78000120060613001')],
    ['a day that is none', withCheck('78000119900230001')],
    ['a month that is none', withCheck('78000119901301001')],
    ['the year 0', withCheck('78000100000101001')],
    ['too short', number.slice(0, 17)],
    ['too long', `${number}0`],
    ['a small x', '78000119380101000x'],
    ['nothing', ''],
    ['letters', '78000a19900101001X'],
  ]
  for (const [what, text] of cases) t.equal(findPerson(seed, text), undefined, what)
  t.equal(personAt(seed, peopleCount - 1).birth, '20060612', 'the last day is just before')
})

t.test('everybody passes the rules of a card and fits the record', async (t) => {
  const isRight = (index: number) => {
    const person = personAt(seed, index)
    const { number, name, sex, nation, birth, address, issuer, validFrom, validTo, serial } = person
    const record = parseRecord(
      printRecord({ name, sex, nation, birth, address, number, issuer, validFrom, validTo }),
    )
    return (
      record?.name === name &&
      record.address === address &&
      record.issuer === issuer &&
      isCitizenNumber(number) &&
      (areaCodes as readonly string[]).includes(number.slice(0, 6)) &&
      number.slice(6, 14) === birth &&
      isDay(birth) &&
      sex === (Number(number[16]) % 2 === 1 ? '1' : '2') &&
      [...name].length >= 4 &&
      name.length <= 15 &&
      address.length <= 35 &&
      issuer.length <= 15 &&
      /^(0[1-9]|[1-4]\d|5[0-6])$/.test(nation) &&
      isDay(validFrom) &&
      validFrom >= '20160101' &&
      validFrom <= '20251231' &&
      (validTo === longTerm || (isDay(validTo) && Number(validTo) === Number(validFrom) + 200_000)) &&
      serial.length === 16
    )
  }
  for (const index of edges) t.ok(isRight(index), `person ${index}`)
  fc.assert(fc.property(indices, isRight), { numRuns: 2000 })
})

t.test(
  'the seed alone decides who they are, and another seed makes others of the same numbers',
  async (t) => {
    const [one, two] = [personAt('one', 777), personAt('two', 777)]
    t.same(one, personAt('one', 777))
    t.equal(one.number, two.number)
    t.notSame(one.serial, two.serial)
    const names = new Set(Array.from({ length: 1000 }, (_, i) => personAt(seed, i * 99_991).name))
    t.ok(names.size > 950, `${names.size} names among 1000 people`)
  },
)

t.test('the old have cards without end, the young cards for 20 years', async (t) => {
  t.equal(personAt(seed, 0).validTo, longTerm)
  t.not(personAt(seed, peopleCount - 1).validTo, longTerm)
})
