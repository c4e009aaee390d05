// The passports of the invented people: number and index are each other's inverse, and what the bureau says of them.
import fc from 'fast-check'
import t from 'tap'
import { systemClock } from '../../src/base/clock.ts'
import { buildBureau } from '../../src/bureau-mock/app.ts'
import { findPassport, passportAt, passportStates } from '../../src/bureau-mock/passports.ts'
import { peopleCount } from '../../src/bureau-mock/people.ts'
import { parseDg1 } from '../../src/card/passport/mrz.ts'
import { printDg1, printMrz } from '../../src/simulator/passports.ts'

const seed = 'test'
const indices = fc.integer({ min: 0, max: peopleCount - 1 })

t.test('each is found by state and number, and no other is', async (t) => {
  for (const state of passportStates) {
    fc.assert(
      fc.property(indices, (index) => {
        const { number } = passportAt(seed, state, index)
        return findPassport(seed, state, number)?.index === index
      }),
    )
    for (const number of ['', 'U1234567', 'A12345678', 'U123456789', 'u12345678'])
      t.equal(findPassport(seed, state, number), undefined, number)
  }
  t.equal(findPassport(seed, 'DEU', 'U12345678'), undefined)
  t.throws(() => passportAt(seed, 'DEU', 1), RangeError)
  t.throws(() => passportAt(seed, 'UTO', peopleCount), RangeError)
})

t.test('each can be printed in both forms', async (t) => {
  fc.assert(
    fc.property(indices, fc.constantFrom('td3' as const, 'td1' as const), (index, form) => {
      const { number, name, state } = passportAt(seed, 'QAA', index)
      const read = parseDg1(printDg1(printMrz(passportAt(seed, 'QAA', index), form)))
      return read?.number === number && read.name === name && read.state === state && read.name.length >= 4
    }),
    { numRuns: 300 },
  )
  t.pass('300')
})

t.test('the bureau answers for passports, and tells of them by number', async (t) => {
  const bureau = buildBureau({ seed, clock: systemClock })
  t.teardown(() => bureau.close())
  const { number, name, validTo } = passportAt(seed, 'UTO', 42)
  const sixteen = Buffer.alloc(16).toString('base64url')
  const good = { docType: 'P', issuingState: 'UTO', number, name, serial: sixteen, validTo }
  const ask = async (change: object = {}) => {
    const payload = [{ id: '0', ...good, ...change, transaction: sixteen }]
    return (await bureau.inject({ method: 'POST', url: '/v1/queries', payload })).json()[0].result
  }
  const tell = (status: string) =>
    bureau.inject({ method: 'POST', url: '/people/status', payload: { number, status } })
  t.equal(await ask(), 'match')
  t.equal(await ask({ docType: 'ID' }), 'not_found')
  t.equal(await ask({ issuingState: 'QAA' }), 'not_found')
  t.equal(await ask({ number: 'A00000042' }), 'not_found')
  t.equal(await ask({ name: 'NOBODY<<AT<ALL' }), 'mismatch')
  t.equal(await ask({ validTo: '20290101' }), 'card_not_current')
  for (const [status, result] of [
    ['lost', 'card_not_current'],
    ['alert', 'alert'],
    ['deceased', 'deceased'],
    ['clear', 'match'],
  ] as const) {
    t.equal((await tell(status)).statusCode, 200)
    t.equal(await ask(), result)
  }
  const { changes } = (await bureau.inject('/v1/changes')).json()
  t.equal(changes.length, 4)
  t.match(changes[0], { kind: 'card_lost', docType: 'P', issuingState: 'UTO', number, serial: undefined })
})
