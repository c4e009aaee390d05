// Public keys of passports, their signers and their states: RSA and elliptic curves of a closed list, read from the
// SubjectPublicKeyInfo and built anew from its numbers, so that nothing else in it is ever used.
import { createPublicKey, type KeyObject } from 'node:crypto'
import {
  childrenOf,
  type Der,
  DerError,
  fixedChildren,
  integerBytes,
  octets,
  oidHex,
  positiveInteger,
  readDer,
  smallInteger,
  tags,
  wholeBits,
} from '../../base/der.ts'
import { type Curve, curves } from './curves.ts'

export type RsaKey = { type: 'rsa'; bits: number; key: KeyObject }
export type EcKey = { type: 'ec'; curve: Curve; key: KeyObject }
export type PassportKey = RsaKey | EcKey

/** OIDs as the hex of their bodies. */
const oids = {
  rsaEncryption: '2a864886f70d010101',
  ecPublicKey: '2a8648ce3d0201',
  primeField: '2a8648ce3d0101',
} as const

const rsaBits = { min: 2048, max: 4096 }
// FIPS 186-5 section A.1.1 asks for more than 2^16: below it a padding error is a forgery. Above 2^32 a check is dear.
const exponent = { min: 0x10001n, max: 0xffffffffn }

/**
 * @returns undefined for a key that is well formed and not accepted
 * @throws DerError
 */
export function importPassportKey(spki: Buffer): PassportKey | undefined {
  const [algorithm, bits] = fixedChildren(readDer(spki), tags.sequence, 2) as [Der, Der]
  const [type, parameters, ...rest] = childrenOf(algorithm, tags.sequence)
  if (rest.length > 0) throw new DerError('key algorithm malformed')
  const oid = oidHex(type)
  if (oid === oids.rsaEncryption) return importRsa(parameters, wholeBits(bits))
  if (oid === oids.ecPublicKey && parameters) return importEc(parameters, wholeBits(bits))
  return undefined
}

function importRsa(parameters: Der | undefined, body: Buffer): RsaKey | undefined {
  if (parameters && parameters.tag !== tags.null) throw new DerError('RSA key with parameters')
  const [modulus, power] = fixedChildren(readDer(body), tags.sequence, 2) as [Der, Der]
  const n = positiveInteger(modulus)
  const e = positiveInteger(power)
  const bits = n.toString(2).length
  if (bits < rsaBits.min || bits > rsaBits.max || (n & 1n) === 0n) return undefined
  if (e < exponent.min || e > exponent.max || (e & 1n) === 0n) return undefined
  const text = (number: Der) => digitsOf(number).toString('base64url')
  const key = createPublicKey({ key: { kty: 'RSA', n: text(modulus), e: text(power) }, format: 'jwk' })
  return { type: 'rsa', bits, key }
}

/** Without the zero that keeps an INTEGER positive. */
function digitsOf(element: Der): Buffer {
  const body = integerBytes(element)
  return body[0] === 0 ? body.subarray(1) : body
}

const uncompressed = 4

function importEc(parameters: Der, point: Buffer): EcKey | undefined {
  const curve = parameters.tag === tags.oid ? curveNamed(oidHex(parameters)) : curveOf(parameters)
  if (!curve || point.length !== 1 + 2 * curve.bytes || point[0] !== uncompressed) return undefined
  try {
    return {
      type: 'ec',
      curve,
      key: createPublicKey({ key: spkiOf(curve, point), format: 'der', type: 'spki' }),
    }
  } catch {
    return undefined // The point is not on the curve: a key that does not exist.
  }
}

const curveNamed = (oid: string) => curves.find((curve) => curve.oid === oid)

/**
 * Parameters in full are a curve of ours only if each number is: one whose generator alone is another would make
 * any key anybody's (CVE-2020-0601). The seed takes no part in the arithmetic and is left alone.
 * @throws DerError
 */
function curveOf(parameters: Der): Curve | undefined {
  const [version, field, coefficients, generator, order, cofactor, ...more] = childrenOf(
    parameters,
    tags.sequence,
  )
  if (!field || !coefficients || more.length > 0 || smallInteger(version) !== 1) {
    throw new DerError('curve malformed')
  }
  const [kind, p] = fixedChildren(field, tags.sequence, 2)
  if (oidHex(kind) !== oids.primeField) return undefined
  const [a, b, seed, ...rest] = childrenOf(coefficients, tags.sequence)
  if (rest.length > 0 || (seed && seed.tag !== tags.bitString)) throw new DerError('curve malformed')
  if (cofactor && smallInteger(cofactor) !== 1) return undefined
  const given = [integerBytes(p), octets(a), octets(b), octets(generator), integerBytes(order)]
  const text = given.map((bytes) => bytes.toString('hex')).join()
  return curves.find((curve) => text === [curve.p, curve.a, curve.b, curve.generator, curve.order].join())
}

/** SubjectPublicKeyInfo with the curve by its name: under 256 bytes, so that its lengths take one byte or two. */
function spkiOf(curve: Curve, point: Buffer): Buffer {
  const element = (tag: number, ...parts: Buffer[]) => {
    const body = Buffer.concat(parts)
    const length = body.length < 0x80 ? [body.length] : [0x81, body.length]
    return Buffer.concat([Buffer.of(tag, ...length), body])
  }
  const oid = (hex: string) => element(tags.oid, Buffer.from(hex, 'hex'))
  return element(
    tags.sequence,
    element(tags.sequence, oid(oids.ecPublicKey), oid(curve.oid)),
    element(tags.bitString, Buffer.of(0), point),
  )
}
