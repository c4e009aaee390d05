// P-256 keys in the one accepted form, and signatures r||s with 1 <= r, s < n (PROTOCOL section 1).
import { createHash, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import t from 'tap'
import {
  checkP256,
  importP256Spki,
  p256SignatureBytes,
  p256SpkiBytes,
  p256SpkiPrefix,
  printP256Spki,
  signP256,
} from '../../src/base/p256.ts'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const spki = printP256Spki(publicKey)
const message = Buffer.from('vouchsafe/chip/v1\0')

// FIPS 186-5 and SP 800-186: order n and field p of the curve.
const n = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551')
const p = BigInt('0xffffffff00000001000000000000000000000000ffffffffffffffffffffffff')
const b = BigInt('0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b')
const b32 = (value: bigint) => Buffer.from(value.toString(16).padStart(64, '0'), 'hex')

t.test('a public key is imported from its 91 bytes and printed to the same', (t) => {
  t.equal(spki.length, p256SpkiBytes)
  t.ok(spki.subarray(0, 27).equals(p256SpkiPrefix), 'up to the 04 of the point')
  t.equal(p256SpkiPrefix.at(-1), 4)
  const key = importP256Spki(spki)
  t.ok(key?.equals(publicKey))
  t.ok(key && printP256Spki(key).equals(spki))
  t.ok(printP256Spki(privateKey).equals(spki), 'the public half of a private key')
  t.end()
})

t.test('every truncation, every longer form and every flipped bit of the prefix is refused', (t) => {
  for (let length = 0; length < spki.length; length++) {
    t.equal(importP256Spki(spki.subarray(0, length)), undefined, `${length} bytes`)
  }
  t.equal(importP256Spki(Buffer.concat([spki, Buffer.of(0)])), undefined)
  for (let bit = 0; bit < p256SpkiPrefix.length * 8; bit++) {
    const bent = Buffer.from(spki)
    bent.writeUInt8(bent.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    t.equal(importP256Spki(bent), undefined, `bit ${bit}`)
  }
  t.end()
})

const withPoint = (x: bigint, y: bigint) => Buffer.concat([p256SpkiPrefix, b32(x), b32(y)])
const power = (base: bigint, exponent: bigint, modulus = p): bigint => {
  let [result, square] = [1n, base % modulus]
  for (let e = exponent; e > 0n; e >>= 1n) {
    if (e & 1n) result = (result * square) % modulus
    square = (square * square) % modulus
  }
  return result
}
/** The point with the smallest x: as p = 3 mod 4, a root of a square is its (p + 1) / 4th power. */
function smallestPoint(): { x: bigint; y: bigint } {
  for (let x = 1n; ; x++) {
    const square = (x ** 3n - 3n * x + b) % p
    const y = power(square, (p + 1n) / 4n)
    if ((y * y) % p === square) return { x, y }
  }
}

t.test('a point that is not on the curve, or written in a second way, is no key', (t) => {
  const small = smallestPoint()
  t.ok(importP256Spki(withPoint(small.x, small.y)), 'a small x is right')
  t.ok(importP256Spki(withPoint(small.x, p - small.y)), 'and so is its mirror')
  const table: [what: string, spki: Buffer][] = [
    ['x + p', withPoint(small.x + p, small.y)],
    ['the origin', withPoint(0n, 0n)],
    ['all ones', withPoint(2n ** 256n - 1n, 2n ** 256n - 1n)],
    ['p, p', withPoint(p, p)],
    ['y + 1', withPoint(small.x, small.y + 1n)],
    ['coordinates changed round', withPoint(small.y, small.x)],
    ['x of another', Buffer.concat([p256SpkiPrefix, b32(small.x), spki.subarray(59)])],
  ]
  for (const [what, bytes] of table) t.equal(importP256Spki(bytes), undefined, what)
  t.end()
})

t.test('keys of other curves and kinds, and points in other forms, are refused', (t) => {
  const spkiOf = (key: { export(options: { format: 'der'; type: 'spki' }): Buffer }) =>
    key.export({ format: 'der', type: 'spki' })
  const compressed = Buffer.concat([
    Buffer.from('3039301306072a8648ce3d020106082a8648ce3d030107032200', 'hex'),
    Buffer.of(2 + ((spki.at(-1) ?? 0) & 1)),
    spki.subarray(27, 59),
  ])
  t.ok(createPublicKey({ key: compressed, format: 'der', type: 'spki' }).equals(publicKey), 'it is our key')
  const table: [what: string, spki: Buffer][] = [
    ['compressed', compressed],
    ['secp256k1', spkiOf(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey)],
    ['P-384', spkiOf(generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey)],
    ['Ed25519', spkiOf(generateKeyPairSync('ed25519').publicKey)],
    ['RSA', spkiOf(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey)],
    ['PEM', Buffer.from(publicKey.export({ format: 'pem', type: 'spki' }))],
    ['JWK', Buffer.from(JSON.stringify(publicKey.export({ format: 'jwk' })))],
    ['the bare point', spki.subarray(26)],
  ]
  for (const [what, bytes] of table) t.equal(importP256Spki(bytes), undefined, what)
  t.end()
})

t.test('a signature is 64 bytes that any ECDSA-SHA256 checks, and only of its message and key', (t) => {
  const signature = signP256(privateKey, message)
  t.equal(signature.length, p256SignatureBytes)
  t.ok(checkP256(publicKey, message, signature))
  t.ok(verify('sha256', message, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature))
  t.notOk(checkP256(publicKey, Buffer.concat([message, Buffer.of(0)]), signature))
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  t.notOk(checkP256(other.publicKey, message, signature))
  t.notSame(signP256(privateKey, message), signature, 'ECDSA is randomised')
  t.end()
})

t.test('r and s with a high bit or leading zeros are right like any other', (t) => {
  const seen = new Set<string>()
  for (let i = 0; i < 3000 && seen.size < 6; i++) {
    const signature = signP256(privateKey, message)
    for (const [name, at] of [
      ['r', 0],
      ['s', 32],
    ] as const) {
      const top = signature.readUInt8(at)
      seen.add(`${name} ${top >= 0x80 ? 'high' : top === 0 ? 'zero' : 'low'}`)
    }
    if (!checkP256(publicKey, message, signature)) t.fail(signature.toString('hex'))
  }
  t.same([...seen].sort(), ['r high', 'r low', 'r zero', 's high', 's low', 's zero'])
  t.end()
})

t.test('r or s of 0, n and beyond is refused, at once and without an error', (t) => {
  const signature = signP256(privateKey, message)
  const [r, s] = [signature.subarray(0, 32), signature.subarray(32)]
  const max = 2n ** 256n - 1n
  for (const wrong of [0n, n, n + 1n, p, max]) {
    const bad = b32(wrong)
    t.equal(checkP256(publicKey, message, Buffer.concat([bad, s])), false, `r = ${wrong.toString(16)}`)
    t.equal(checkP256(publicKey, message, Buffer.concat([r, bad])), false, `s = ${wrong.toString(16)}`)
    t.equal(checkP256(publicKey, message, Buffer.concat([bad, bad])), false, `both ${wrong.toString(16)}`)
  }
  t.equal(checkP256(publicKey, message, Buffer.concat([s, r])), false, 'changed round')
  t.end()
})

type Point = { x: bigint; y: bigint }
const inverse = (value: bigint, modulus: bigint) => power(value, modulus - 2n, modulus)
const mod = (value: bigint, modulus: bigint) => ((value % modulus) + modulus) % modulus
/** The group law for points that are neither equal and opposite nor at infinity (SP 800-186). */
function add(one: Point, other: Point): Point {
  const same = one.x === other.x
  const rise = same ? 3n * one.x ** 2n - 3n : other.y - one.y
  const slope = mod(rise * inverse(mod(same ? 2n * one.y : other.x - one.x, p), p), p)
  const x = mod(slope ** 2n - one.x - other.x, p)
  return { x, y: mod(slope * (one.x - x) - one.y, p) }
}
function times(point: Point, factor: bigint): Point {
  let sum: Point | undefined
  let double = point
  for (let f = factor; f > 0n; f >>= 1n) {
    if (f & 1n) sum = sum ? add(sum, double) : double
    double = add(double, double)
  }
  return sum as Point
}
const generator = {
  x: BigInt('0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296'),
  y: BigInt('0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5'),
}

t.test('a right signature with r + n or s + n instead, the same to the equation, is refused', (t) => {
  // A key made for the signature: s R = e G + r Q, with r and s so small that both also fit with n added.
  const point = smallestPoint()
  const [r, s] = [point.x, 7n]
  const e = BigInt(`0x${createHash('sha256').update(message).digest('hex')}`) % n
  const { x, y } = add(times(point, s), times(generator, n - e))
  const q = times({ x, y }, inverse(r, n))
  const key = importP256Spki(withPoint(q.x, q.y))
  t.ok(key)
  if (!key) return t.end()
  const checks = (a: bigint, b: bigint) => checkP256(key, message, Buffer.concat([b32(a), b32(b)]))
  t.equal(checks(r, s), true, 'small numbers are right')
  t.equal(checks(r, n - s), true, 'and so is the other s (FIPS 186-5)')
  t.equal(checks(r + n, s), false)
  t.equal(checks(r, s + n), false)
  t.equal(checks(r + n, s + n), false)
  t.end()
})

t.test('only 64 bytes are a signature: DER, shorter and longer ones are refused', (t) => {
  const signature = signP256(privateKey, message)
  for (let length = 0; length < 64; length++) {
    t.equal(checkP256(publicKey, message, signature.subarray(0, length)), false, `${length} bytes`)
  }
  const [r, s] = [signature.subarray(0, 32), signature.subarray(32)]
  const zero = Buffer.of(0)
  const table: [what: string, signature: Buffer][] = [
    ['one more', Buffer.concat([signature, zero])],
    ['one before', Buffer.concat([zero, signature])],
    ['33 bytes each', Buffer.concat([zero, r, zero, s])],
    ['twice', Buffer.concat([signature, signature])],
    ['DER', sign('sha256', message, { key: privateKey, dsaEncoding: 'der' })],
  ]
  for (const [what, bytes] of table) t.equal(checkP256(publicKey, message, bytes), false, what)
  t.end()
})

t.test('every flipped bit of a signature is refused', (t) => {
  const signature = signP256(privateKey, message)
  for (let bit = 0; bit < 512; bit++) {
    const bent = Buffer.from(signature)
    bent.writeUInt8(bent.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    if (checkP256(publicKey, message, bent)) t.fail(`bit ${bit}`)
  }
  t.ok(checkP256(publicKey, message, signature))
  t.end()
})
