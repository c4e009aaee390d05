// ISO/IEC 9796-2 with numbers of our own: the signature is opened by arithmetic, so that no library checks itself.
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import {
  checkChip,
  importChipKey,
  readerChallenge,
} from '../../../src/card/passport/active-authentication.ts'
import { element } from '../../../src/simulator/der.ts'
import { representRsa } from '../../../src/simulator/passports.ts'

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const numbers = privateKey.export({ format: 'jwk' })
const numberOf = (text: string | undefined) =>
  BigInt(`0x${Buffer.from(text ?? '', 'base64url').toString('hex')}`)
const [n, d] = [numberOf(numbers.n), numberOf(numbers.d)]

function power(base: bigint, exponent: bigint): bigint {
  let [result, square, left] = [1n, base % n, exponent]
  for (; left > 0n; left >>= 1n) {
    if (left & 1n) result = (result * square) % n
    square = (square * square) % n
  }
  return result
}

const bytesOf = (number: bigint) => Buffer.from(number.toString(16).padStart(512, '0'), 'hex')
const signed = (block: Buffer) => bytesOf(power(BigInt(`0x${block.toString('hex')}`), d))
const dg15 = element(0x6f, publicKey.export({ format: 'der', type: 'spki' }))
const chip = importChipKey(dg15, Buffer.alloc(0))
if (!chip) throw new Error('no chip key')
const challenge = randomBytes(8)
const isRight = (block: Buffer) => checkChip(chip, challenge, signed(block))

function blockOf(given: { hash?: string; trailer?: number[]; header?: number; of?: Buffer } = {}): Buffer {
  const { hash = 'sha256', trailer = [0x34, 0xcc], header = 0x6a, of = challenge } = given
  const first = randomBytes(256 - 1 - createHash(hash).digest().length - trailer.length)
  return Buffer.concat([
    Buffer.of(header),
    first,
    createHash(hash).update(first).update(of).digest(),
    Buffer.from(trailer),
  ])
}

t.test('each digest with its trailer, and none with another’s', async (t) => {
  const trailers = { sha256: 0x34, sha384: 0x36, sha512: 0x35, sha224: 0x38, sha1: 0x33 }
  for (const [hash, own] of Object.entries(trailers)) {
    for (const number of Object.values(trailers)) {
      const right = number === own && hash !== 'sha1' && hash !== 'sha224'
      t.equal(isRight(blockOf({ hash, trailer: [number, 0xcc] })), right, `${hash} ${number.toString(16)}`)
    }
    t.notOk(isRight(blockOf({ hash, trailer: [0xbc] })), `${hash} bc`)
  }
})

t.test('what the simulator signs is what arithmetic makes of it', async (t) => {
  for (const hash of ['sha256', 'sha384', 'sha512'] as const) {
    t.ok(isRight(representRsa({ bytes: 256, challenge, hash })))
  }
})

t.test('no other header, no challenge of another, no byte that is another', async (t) => {
  for (const header of [0x00, 0x4a, 0x4b, 0x60, 0x6b, 0x2a, 0x7a])
    t.notOk(isRight(blockOf({ header })), `${header}`)
  t.notOk(isRight(blockOf({ of: randomBytes(8) })))
  const block = blockOf()
  t.ok(isRight(block))
  for (let at = 1; at < block.length; at++) {
    const altered = Buffer.from(block)
    altered.writeUInt8(altered.readUInt8(at) ^ 0x10, at)
    if (isRight(altered)) t.fail(`byte ${at}`)
  }
})

t.test('a shorter first part, with filling as ISO has it, is not taken', async (t) => {
  const first = randomBytes(200)
  const hashed = createHash('sha256').update(first).update(challenge).digest()
  const filling = Buffer.alloc(256 - 1 - first.length - 34 - 1, 0xbb)
  t.notOk(
    isRight(Buffer.concat([Buffer.of(0x6b), filling, Buffer.of(0xba), first, hashed, Buffer.of(0x34, 0xcc)])),
  )
})

t.test('the other square root of a signature, and lengths', async (t) => {
  const good = signed(blockOf())
  t.ok(checkChip(chip, challenge, good))
  const number = BigInt(`0x${good.toString('hex')}`)
  t.notOk(checkChip(chip, challenge, bytesOf(n - number)), 'n - s')
  t.notOk(checkChip(chip, challenge, Buffer.concat([Buffer.of(0), good])))
  t.notOk(checkChip(chip, challenge, good.subarray(1)))
  t.notOk(checkChip(chip, challenge, Buffer.alloc(0)))
  for (const edge of [0n, 1n, n - 1n, n, n + 1n]) t.notOk(checkChip(chip, challenge, bytesOf(edge)))
})

t.test('no signature of chance is right', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 256, maxLength: 256 }), (bytes) => {
      return !checkChip(chip, challenge, Buffer.from(bytes))
    }),
    { numRuns: 300 },
  )
  t.pass('300')
})

t.test('RND.IFD is eight bytes of SHA-256', async (t) => {
  t.equal(readerChallenge(Buffer.from('abc')).toString('hex'), 'ba7816bf8f01cfea')
})
