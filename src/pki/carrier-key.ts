// Which key a carrier may have, and by which name the gateway knows it (PROTOCOL sections 1 and 2): what a request may
// ask for and what is issued. It knows no request and no certificate.
import { createPublicKey, type KeyObject } from 'node:crypto'
import {
  childrenOf,
  type Der,
  DerError,
  fixedChildren,
  oidHex,
  positiveInteger,
  readDer,
  tags,
  wholeBits,
} from '../base/der.ts'
import { importP256Spki } from '../base/p256.ts'

const carrierPattern = /^[a-z0-9-]{2,32}$/
/** Whether an id has the form of a carrier's (PROTOCOL section 1). */
export const isCarrierId = (carrier: string) => carrierPattern.test(carrier)
/** The name by which the gateway knows the certificate of a carrier (PROTOCOL section 2). */
export const carrierUri = (carrier: string) => `urn:vouchsafe:carrier:${carrier}`

const rsaBitsMin = 3072
const rsaBitsMax = 8192
const ecPublicKey = '2a8648ce3d0201' // 1.2.840.10045.2.1
const prime256v1 = '2a8648ce3d030107' // 1.2.840.10045.3.1.7
const rsaEncryption = '2a864886f70d010101' // 1.2.840.113549.1.1.1

const keyNames: Record<string, string> = {
  '2b6570': 'Ed25519',
  '2b6571': 'Ed448',
  '2a864886f70d01010a': 'RSASSA-PSS',
  '2b81040022': 'P-384',
  '2b81040023': 'P-521',
  '2b8104000a': 'secp256k1',
}

export type KeyReason =
  | `key_${'type' | 'malformed'}`
  | `curve${'' | '_explicit'}`
  | `point_${'compressed' | 'invalid'}`
  | `rsa_${'small' | 'large' | 'exponent' | 'weak'}`

/** A key that no carrier may have; `message` says what is wrong with it, for a person. */
export class KeyRefused extends Error {
  readonly reason: KeyReason
  constructor(reason: KeyReason, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'KeyRefused'
    this.reason = reason
  }
}

export type CarrierKey = { kind: 'EC' | 'RSA'; key: KeyObject }

/**
 * Imports a key (SubjectPublicKeyInfo, DER): P-256 named and uncompressed, or RSA of 3072 to 8192 bits with 65537.
 * @throws KeyRefused
 */
export function importCarrierKey(spki: Buffer): CarrierKey {
  try {
    const [algorithm, bits] = fixedChildren(readDer(spki), tags.sequence, 2) as [Der, Der]
    const [oid, parameters, ...rest] = childrenOf(algorithm, tags.sequence)
    if (rest.length > 0) throw new DerError('more parameters than one')
    const kind = oidHex(oid)
    if (kind === ecPublicKey) return { kind: 'EC', key: importEc(spki, parameters, wholeBits(bits)) }
    if (kind === rsaEncryption) return { kind: 'RSA', key: importRsa(spki, parameters, wholeBits(bits)) }
    refuseKey('key_type', `The key is of the kind ${nameOf(kind)}; P-256 or RSA is needed.`)
  } catch (error) {
    if (!(error instanceof DerError)) throw error
    throw new KeyRefused('key_malformed', `The key is malformed: ${error.message}.`, { cause: error })
  }
}

const nameOf = (oid: string) => keyNames[oid] ?? `object identifier ${oid.slice(0, 32)} (hex)`

function refuseKey(reason: KeyReason, message: string): never {
  throw new KeyRefused(reason, message)
}

function importEc(spki: Buffer, curve: Der | undefined, point: Buffer): KeyObject {
  if (curve?.tag === tags.sequence)
    refuseKey('curve_explicit', 'The curve of the key is spelled out; it must be named, P-256.')
  const name = oidHex(curve)
  if (name !== prime256v1) refuseKey('curve', `The curve of the key is ${nameOf(name)}; P-256 is needed.`)
  const form = point[0]
  if (form === 2 || form === 3)
    refuseKey('point_compressed', `The point of the key is compressed (form 0${form}, not 04).`)
  return importP256Spki(spki) ?? refuseKey('point_invalid', 'The key is not an uncompressed point on P-256.')
}

function importRsa(spki: Buffer, parameters: Der | undefined, bits: Buffer): KeyObject {
  if (parameters?.tag !== tags.null) throw new DerError('the parameters of an RSA key must be NULL')
  const [n, e] = fixedChildren(readDer(bits), tags.sequence, 2) as [Der, Der]
  const [modulus, exponent] = [positiveInteger(n), positiveInteger(e)]
  const length = modulus.toString(2).length
  const needed = `${rsaBitsMin} to ${rsaBitsMax} are needed`
  if (length < rsaBitsMin) refuseKey('rsa_small', `The RSA key has ${length} bits; ${needed}.`)
  if (length > rsaBitsMax) refuseKey('rsa_large', `The RSA key has ${length} bits; ${needed}.`)
  const shown = exponent.toString().slice(0, 20)
  if (exponent !== 65_537n)
    refuseKey('rsa_exponent', `The RSA key has the public exponent ${shown}; 65537 is needed.`)
  const factor = smallPrimes.find((prime) => modulus % prime === 0n)
  if (factor) refuseKey('rsa_weak', `The modulus of the RSA key is divisible by ${factor}.`)
  return createPublicKey({ key: spki, format: 'der', type: 'spki' })
}

/** The primes below 1000. */
const smallPrimes = Array.from({ length: 998 }, (_, i) => i + 2)
  .filter((n, _, all) => all.every((divisor) => divisor * divisor > n || n % divisor !== 0))
  .map(BigInt)
