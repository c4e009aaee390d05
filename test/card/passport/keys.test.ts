// Public keys: those of the list in each form they are printed in, and the games that have been played with them.
import { generateKeyPairSync } from 'node:crypto'
import t from 'tap'
import { DerError } from '../../../src/base/der.ts'
import { type Curve, curves } from '../../../src/card/passport/curves.ts'
import { importPassportKey } from '../../../src/card/passport/keys.ts'
import { type CurveName, makeKey, spkiOf } from '../../../src/simulator/csca.ts'
import * as der from '../../../src/simulator/der.ts'

const rsa = (modulusLength: number, publicExponent = 0x10001) =>
  spkiOf(generateKeyPairSync('rsa', { modulusLength, publicExponent }).privateKey)
const hex = (text: string) => Buffer.from(text, 'hex')

t.test('each curve by its name and in full is the same key', async (t) => {
  for (const { name } of curves) {
    const key = makeKey({ curve: name as CurveName })
    const spki = spkiOf(key)
    const found = importPassportKey(spki)
    t.same(found?.key.export({ format: 'der', type: 'spki' }), spki, name)
    t.match(found, { type: 'ec', curve: { name } })
    const explicit = importPassportKey(spkiOf(makeKey({ curve: name as CurveName, explicit: true })))
    t.match(explicit, { type: 'ec', curve: { name } }, `${name} in full`)
  }
})

type Parts = {
  version: number
  field: string
  p: string
  a: string
  b: string
  seed: Buffer[]
  g: string
  n: string
  h: Buffer[]
}

function isMalformed(spki: Buffer): boolean {
  try {
    importPassportKey(spki)
    return false
  } catch (error) {
    return error instanceof DerError
  }
}

/** A key on P-256 with parameters in full, of which some are others. */
function inFull(change: (curve: Curve, point: Buffer) => Partial<Parts>): Buffer {
  const curve = curves[0] as Curve
  const point = spkiOf(makeKey({ curve: 'P-256' })).subarray(-65)
  const { p, a, b, generator: g, order: n } = curve
  const usual = { version: 1, field: '1.2.840.10045.1.1', p, a, b, seed: [], g, n, h: [der.integer(1)] }
  const parts: Parts = { ...usual, ...change(curve, point) }
  const parameters = der.sequence(
    der.integer(parts.version),
    der.sequence(der.oid(parts.field), der.unsigned(hex(parts.p))),
    der.sequence(der.octets(hex(parts.a)), der.octets(hex(parts.b)), ...parts.seed),
    der.octets(hex(parts.g)),
    der.unsigned(hex(parts.n)),
    ...parts.h,
  )
  return der.sequence(der.sequence(der.oid('1.2.840.10045.2.1'), parameters), der.bits(point))
}

t.test('parameters in full are a known curve only if each number is', async (t) => {
  const seed = [der.bits(Buffer.alloc(20, 1))]
  t.ok(importPassportKey(inFull(() => ({}))))
  t.ok(importPassportKey(inFull(() => ({ h: [] }))), 'the cofactor may be left out')
  t.ok(importPassportKey(inFull(() => ({ seed }))), 'a seed takes no part')
  const other = (text: string) => `${text.slice(0, -2)}${text.endsWith('01') ? '02' : '01'}`
  const refused: [string, (curve: Curve, point: Buffer) => Partial<Parts>][] = [
    ['the generator is the key itself (CVE-2020-0601)', (_, point) => ({ g: point.toString('hex') })],
    ['a compressed generator', ({ generator }) => ({ g: `03${generator.slice(2, 66)}` })],
    ['another prime', ({ p }) => ({ p: other(p) })],
    ['another a', ({ a }) => ({ a: other(a) })],
    ['another b', ({ b }) => ({ b: other(b) })],
    ['another order', ({ order }) => ({ n: other(order) })],
    ['another cofactor', () => ({ h: [der.integer(2)] })],
    ['a field of two', () => ({ field: '1.2.840.10045.1.2' })],
    ['a with a zero more', ({ a }) => ({ a: `00${a}` })],
    ['the numbers of another curve', () => ({ g: (curves[3] as Curve).generator })],
  ]
  for (const [about, change] of refused) t.equal(importPassportKey(inFull(change)), undefined, about)
  const malformed: [string, (curve: Curve) => Partial<Parts>][] = [
    ['version 2', () => ({ version: 2 })],
    ['a seed that is no bits', () => ({ seed: [der.octets(Buffer.alloc(20))] })],
    ['an element more', () => ({ h: [der.integer(1), der.integer(1)] })],
  ]
  for (const [about, change] of malformed) t.ok(isMalformed(inFull(change)), about)
})

t.test('points that are none', async (t) => {
  const spki = spkiOf(makeKey({ curve: 'P-384' }))
  const point = (bytes: Buffer) => der.sequence(spki.subarray(2, 2 + 18), der.bits(bytes))
  t.ok(importPassportKey(point(spki.subarray(-97))))
  const compressed = Buffer.concat([Buffer.of(2), spki.subarray(-96, -48)])
  const cases: [string, Buffer][] = [
    ['compressed', compressed],
    ['infinity', Buffer.of(0)],
    ['off the curve', Buffer.alloc(97, 4)],
    ['hybrid', Buffer.concat([Buffer.of(6), spki.subarray(-96)])],
    ['of another curve', spkiOf(makeKey({ curve: 'P-256' })).subarray(-65)],
  ]
  for (const [about, bytes] of cases) t.equal(importPassportKey(point(bytes)), undefined, about)
})

t.test('keys of RSA: size and exponent', async (t) => {
  t.match(importPassportKey(rsa(2048)), { type: 'rsa', bits: 2048 })
  t.match(importPassportKey(rsa(2048, 0x10003)), { type: 'rsa' })
  for (const [about, spki] of [
    ['1024 bits', rsa(1024)],
    ['2040 bits', rsa(2040)],
    ['4104 bits', printRsa(randomOdd(513), 65537)],
    ['exponent 3', rsa(2048, 3)],
    ['exponent 1', printRsa(randomOdd(256), 1)],
    ['an even exponent', printRsa(randomOdd(256), 65538)],
    ['an exponent of 40 bits', printRsa(randomOdd(256), 2 ** 39 + 1)],
    ['an even modulus', printRsa(Buffer.alloc(256, 0xf0), 65537)],
    ['secp256k1', spkiOf(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey)],
    ['P-224', spkiOf(generateKeyPairSync('ec', { namedCurve: 'secp224r1' }).privateKey)],
    [
      'brainpool with the twist',
      spkiOf(generateKeyPairSync('ec', { namedCurve: 'brainpoolP256t1' }).privateKey),
    ],
    ['Ed25519', spkiOf(generateKeyPairSync('ed25519').privateKey)],
    ['a key for PSS alone', spkiOf(generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).privateKey)],
  ] as const) {
    t.equal(importPassportKey(spki), undefined, about)
  }
})

function randomOdd(bytes: number): Buffer {
  return Buffer.alloc(bytes, 0xf1)
}

function printRsa(modulus: Buffer, exponent: number): Buffer {
  const key = der.sequence(der.unsigned(modulus), der.integer(exponent))
  return der.sequence(der.sequence(der.oid('1.2.840.113549.1.1.1'), der.nothing), der.bits(key))
}

t.test('no altered or cut key throws anything but a DER error', async (t) => {
  for (const spki of [rsa(2048), spkiOf(makeKey({ curve: 'brainpoolP512r1', explicit: true }))]) {
    for (let bit = 0; bit < spki.length * 8; bit++) {
      const altered = Buffer.from(spki)
      altered.writeUInt8(altered.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      try {
        importPassportKey(altered)
      } catch (error) {
        if (!(error instanceof DerError)) t.fail(`bit ${bit}: ${error}`)
      }
    }
    for (let end = 0; end < spki.length; end++) t.ok(isMalformed(spki.subarray(0, end)))
  }
})
