// Canaries: how one is written, whom it is found in, and what it turns an outcome into.
import t from 'tap'
import { ConfigError, readConfig } from '../../src/base/config.ts'
import { canaryOf, markCanary } from '../../src/verify/canary.ts'
import type { CardOutcome } from '../../src/verify/pipeline.ts'

const person = {
  docType: 'ID' as const,
  state: 'CHN' as const,
  number: '78000119900101001X',
  name: '欧阳春晓',
  serial: Buffer.alloc(16, 0xa5),
  validTo: '20360101',
}
// printf 'vouchsafe/canary/v1\0\001\0\002ID\002\0\003CHN\003\0\02278000119900101001X' | openssl dgst -sha256 -binary
const hash = 'kddMT527zv25nJaL48su4i-5OolY-zvxBhok4tC8__M'
const canaries = new Set([canaryOf('ID', 'CHN', '780001199001010028'), hash])
const verified = { refusal: 0, card: person } as unknown as CardOutcome

t.test('a canary is the hash that openssl makes of document, state and number', (t) => {
  t.equal(canaryOf('ID', 'CHN', person.number), hash)
  t.equal(canaryOf('ID', 'CHN', '78000119900101001x'), hash, 'a small x is the same number')
  const others = [
    canaryOf('P', 'CHN', person.number),
    canaryOf('ID', 'TWN', person.number),
    canaryOf('ID', 'CHN', '780001199001010028'),
  ]
  t.equal(new Set([hash, ...others]).size, 4)
  t.end()
})

t.test(
  'a verified card of a canary is refused as R33, and no verified card is left for bureau or cache',
  (t) => {
    t.same(markCanary(canaries, verified), { refusal: 33, person, canary: true })
    t.end()
  },
)

t.test('a canary whose text was refused is found too: its chip was right', (t) => {
  t.same(markCanary(canaries, { refusal: 25, person }), { refusal: 33, person, canary: true })
  t.end()
})

t.test('everybody else goes on as they were', (t) => {
  const other = { ...person, number: '780001199001010044' }
  for (const outcome of [
    { refusal: 0, card: other } as unknown as CardOutcome,
    { refusal: 25, person: other },
    { refusal: 14 }, // Nobody is known: the chip was not right.
  ]) {
    t.equal(markCanary(canaries, outcome), outcome)
  }
  t.end()
})

t.test('without canaries nobody is looked at', (t) => {
  const untouchable = new Proxy(person, {
    get() {
      throw new Error('looked at')
    },
  })
  const outcome = { refusal: 0, card: untouchable } as unknown as CardOutcome
  t.equal(markCanary(new Set(), outcome), outcome)
  t.throws(() => markCanary(canaries, outcome), /looked at/, 'and with them everybody is')
  t.end()
})

t.test('the setting takes hashes in any white space, and tells of another form without showing it', (t) => {
  const other = canaryOf('P', 'CHN', 'E12345678')
  t.same(readConfig({}).CANARIES, [])
  t.same(readConfig({ CANARIES: ` ${hash}\n\t${other} ` }).CANARIES, [hash, other])
  const wrong = {
    'a number in clear': person.number,
    hex: Buffer.from(hash, 'base64url').toString('hex'),
    'a character less': hash.slice(1),
    padding: `${hash}=`,
    'spare bits': `${hash.slice(0, -1)}N`,
    commas: `${hash},${other}`,
  }
  for (const [what, CANARIES] of Object.entries(wrong)) {
    try {
      readConfig({ CANARIES: `${other} ${CANARIES}` })
      t.fail(`${what} was accepted`)
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      const [fault = ''] = error.faults
      t.match(fault, /^CANARIES = \(hidden\) .* is not accepted\. Fix: set it to SHA-256 values/, what)
      t.notOk(fault.includes(CANARIES), 'nothing of it is shown')
    }
  }
  t.end()
})
