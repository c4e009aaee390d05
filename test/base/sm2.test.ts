// SM2: the standard's own example, Botan's vectors, and what a start does when Node's SM2 is not the standard's.
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import {
  assertSm2,
  checkSm2,
  defaultUserId,
  generateSm2Key,
  importSm2Spki,
  type Sm2PublicKey,
  signSm2,
  sm2SpkiPrefix,
  sm3,
} from '../../src/base/sm2.ts'
import { derOfRaw } from '../../src/pki/suites.ts'

const spkiOf = (key: ReturnType<typeof generateSm2Key>) =>
  createPublicKey(key).export({ format: 'der', type: 'spki' })

t.test('SM3 of the standard: abc, and 64 bytes (GB/T 32905 appendix A)', async (t) => {
  const expected = '66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0'
  t.equal(sm3(Buffer.from('abc')).toString('hex'), expected)
  t.equal(sm3(Buffer.from('a'), Buffer.from('bc')).toString('hex'), expected, 'parts are one message')
  t.equal(
    sm3(Buffer.from('abcd'.repeat(16))).toString('hex'),
    'debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732',
  )
})

t.test('ZA of the standard’s example (GB/T 32918.5 A.2)', async (t) => {
  const point =
    '09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020' +
    'ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13'
  const key = importSm2Spki(Buffer.concat([sm2SpkiPrefix, Buffer.from(point, 'hex')]))
  t.equal(key?.za.toString('hex'), 'b2e14c5c79c6df5b85f4fe7ed8db7a262b9da7e07ccb0ea9f4747b8ccda8a4f3')
})

t.test('this Node passes the standard’s example', async (t) => {
  t.doesNotThrow(() => assertSm2())
})

const broken: [about: string, check: typeof checkSm2][] = [
  ['finds everything right', () => true],
  ['finds nothing right', () => false],
  [
    'leaves the user id out',
    (key, message, signature) => checkSm2({ ...key, za: Buffer.alloc(0) }, message, signature),
  ],
  ['looks at the signature alone', (_, __, signature) => signature.at(-1) === 0xaa],
  ['looks at the message alone', (_, message) => message.at(-1) === 0x74],
]
for (const [about, check] of broken) {
  t.test(`a Node that ${about} is refused at the start, with what to do`, async (t) => {
    t.throws(
      () => assertSm2(check),
      /fails the example of GB\/T 32918\.5.*Fix: run the Node that package\.json/,
    )
  })
}

t.test('what we sign we find right, and with another user id or key not', async (t) => {
  const [one, other] = [generateSm2Key(), generateSm2Key()]
  const message = Buffer.from('a message of ours')
  const signature = signSm2(one, message)
  const key = importSm2Spki(spkiOf(one)) as Sm2PublicKey
  t.ok(checkSm2(key, message, signature))
  t.notOk(checkSm2(importSm2Spki(spkiOf(other)) as Sm2PublicKey, message, signature))
  const named = importSm2Spki(spkiOf(one), Buffer.from('somebody')) as Sm2PublicKey
  t.notOk(checkSm2(named, message, signature))
  t.ok(checkSm2(named, message, signSm2(one, message, Buffer.from('somebody'))))
  t.notSame(signSm2(one, message), signature, 'each signature has a nonce of its own')
})

t.test('a key of another curve is none', async (t) => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  t.equal(importSm2Spki(publicKey.export({ format: 'der', type: 'spki' })), undefined)
})

/** The cases of Botan's file on the standard's curve over SM3: `Key = value` lines, a curve until the next. */
function readVectors(text: string): Record<string, string>[] {
  const cases: Record<string, string>[] = []
  let shared: Record<string, string> = {}
  let one: Record<string, string> = {}
  for (const line of text.split('\n')) {
    const [, name, value] = /^(\w+) = ?(.*)$/.exec(line) ?? []
    if (name === undefined || value === undefined) continue
    if (name === 'P') shared = {}
    if (['P', 'A', 'B', 'xG', 'yG', 'Order', 'Oid'].includes(name)) shared[name] = value
    else one[name] = value
    if (name !== 'Signature') continue
    cases.push({ ...shared, ...one })
    one = {}
  }
  return cases.filter((each) => each['Oid'] === '1.2.156.10197.1.301' && each['Hash'] === 'SM3')
}

const vectors = new URL('../../../shared/vectors/sm2/botan_sm2_sig.vec', import.meta.url)
const skip = existsSync(vectors) ? false : 'the folder ../shared/vectors is not here'
t.test('Botan’s signatures on the standard’s curve', { skip }, async (t) => {
  const cases = readVectors(readFileSync(vectors, 'utf8'))
  t.ok(cases.length > 0, `${cases.length} cases`)
  for (const { x = '', Ident = '', Msg = '', Signature = '' } of cases) {
    // SEC 1 ECPrivateKey in PKCS#8, without the public key: OpenSSL works it out.
    const scalar = x.replace(/^0x/, '').padStart(64, '0')
    const pkcs8 = `3041020100301306072a8648ce3d020106082a811ccf5501822d042730250201010420${scalar}`
    const privateKey = createPrivateKey({ key: Buffer.from(pkcs8, 'hex'), format: 'der', type: 'pkcs8' })
    const userId = Ident === '' ? defaultUserId : Buffer.from(Ident)
    const key = importSm2Spki(spkiOf(privateKey), userId) as Sm2PublicKey
    const [message, raw] = [Buffer.from(Msg, 'hex'), Buffer.from(Signature, 'hex')]
    t.ok(checkSm2(key, message, derOfRaw(raw)), `message of ${message.length} bytes for ${Ident}`)
    for (let bit = 0; bit < 512; bit += 7) {
      const altered = Buffer.from(raw)
      altered.writeUInt8(altered.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      if (checkSm2(key, message, derOfRaw(altered))) t.fail(`bit ${bit} altered`)
    }
  }
})
