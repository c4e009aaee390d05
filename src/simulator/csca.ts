// Invented states: country signing CAs, their document signers and lists, in every algorithm that passports may have
// (ICAO 9303-12). For demonstrations and tests; a real state's certificates are the operator's to bring.
import {
  constants,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto'
import { sha256 } from '../base/bytes.ts'
import { fixedChildren, readDer, tags } from '../base/der.ts'
import * as der from './der.ts'

export type HashName = 'sha256' | 'sha384' | 'sha512'
export type CurveName =
  | 'P-256'
  | 'P-384'
  | 'P-521'
  | 'brainpoolP256r1'
  | 'brainpoolP384r1'
  | 'brainpoolP512r1'
export type KeyKind = { bits: 2048 | 3072 | 4096 } | { curve: CurveName; explicit?: boolean }
export type PaddingName = 'pkcs1' | 'pss' | 'ecdsa'
/** How one signs. */
export type Signature = { padding: PaddingName; hash: HashName }
export type Signatory = { key: KeyObject; signature: Signature }

export const digestIds: Record<HashName, string> = {
  sha256: '2.16.840.1.101.3.4.2.1',
  sha384: '2.16.840.1.101.3.4.2.2',
  sha512: '2.16.840.1.101.3.4.2.3',
}
const digestBytes: Record<HashName, number> = { sha256: 32, sha384: 48, sha512: 64 }
const rsaIds: Record<HashName, string> = {
  sha256: '1.2.840.113549.1.1.11',
  sha384: '1.2.840.113549.1.1.12',
  sha512: '1.2.840.113549.1.1.13',
}
const ecdsaIds: Record<HashName, string> = {
  sha256: '1.2.840.10045.4.3.2',
  sha384: '1.2.840.10045.4.3.3',
  sha512: '1.2.840.10045.4.3.4',
}
const pssId = '1.2.840.113549.1.1.10'
const mgf1Id = '1.2.840.113549.1.1.8'

export function makeKey(kind: KeyKind): KeyObject {
  if ('bits' in kind) return generateKeyPairSync('rsa', { modulusLength: kind.bits }).privateKey
  const paramEncoding = kind.explicit ? 'explicit' : 'named'
  return generateKeyPairSync('ec', { namedCurve: kind.curve, paramEncoding }).privateKey
}

export const spkiOf = (key: KeyObject): Buffer => createPublicKey(key).export({ format: 'der', type: 'spki' })

export const digestAlgorithm = (hash: HashName) => der.sequence(der.oid(digestIds[hash]))

/** AlgorithmIdentifier of a signature; `salt` and `mask` otherwise than they are used are faults. */
export function signatureAlgorithm(
  { padding, hash }: Signature,
  fault: { saltBytes?: number; mask?: HashName } = {},
): Buffer {
  if (padding === 'ecdsa') return der.sequence(der.oid(ecdsaIds[hash]))
  if (padding === 'pkcs1') return der.sequence(der.oid(rsaIds[hash]), der.nothing)
  const digest = (of: HashName) => der.sequence(der.oid(digestIds[of]), der.nothing)
  const parameters = der.sequence(
    der.explicit(0, digest(hash)),
    der.explicit(1, der.sequence(der.oid(mgf1Id), digest(fault.mask ?? hash))),
    der.explicit(2, der.integer(fault.saltBytes ?? digestBytes[hash])),
  )
  return der.sequence(der.oid(pssId), parameters)
}

export function signWith({ key, signature }: Signatory, message: Buffer): Buffer {
  const { padding, hash } = signature
  if (padding !== 'pss') return sign(hash, message, key)
  return sign(hash, message, {
    key,
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: digestBytes[hash],
  })
}

/** `{tbs, algorithm, signature}`: the outer form of certificates and lists. */
const signed = (tbs: Buffer, by: Signatory) =>
  der.sequence(tbs, signatureAlgorithm(by.signature), der.bits(signWith(by, tbs)))

export type State = Signatory & {
  /** ISO 3166 alpha-3, and the two letters of the certificates' names. */
  state: string
  country: string
  certificateDer: Buffer
}

const nameOf = (country: string, commonName: string) => {
  const attribute = (id: string, value: Buffer) => der.setOf(der.sequence(der.oid(id), value))
  return der.sequence(
    attribute('2.5.4.6', der.printable(country)),
    attribute('2.5.4.10', der.printable('Vouchsafe invented states')),
    attribute('2.5.4.3', der.printable(commonName)),
  )
}

const extension = (id: string, critical: boolean, value: Buffer) =>
  der.sequence(der.oid(id), ...(critical ? [der.yes] : []), der.octets(value))
const keyIdOf = (key: KeyObject) => sha256(spkiOf(key)).subarray(0, 20)
const subjectKey = (key: KeyObject) => extension('2.5.29.14', false, der.octets(keyIdOf(key)))
const authorityKey = (key: KeyObject) =>
  extension('2.5.29.35', false, der.sequence(der.implicit(0, keyIdOf(key))))
const keyUsage = (byte: number) =>
  extension('2.5.29.15', true, der.bits(Buffer.of(byte), 31 - Math.clz32(byte & -byte)))
const constraints = (...parts: Buffer[]) => extension('2.5.29.19', true, der.sequence(...parts))

type Certified = {
  by: Signatory
  issuer: Buffer
  subject: Buffer
  spki: Buffer
  fromMs: number
  toMs: number
  extensions: Buffer[]
}

function printCertificate(given: Certified): Buffer {
  const serial = randomBytes(12)
  serial[0] = 0x42
  const tbs = der.sequence(
    der.explicit(0, der.integer(2)),
    der.unsigned(serial),
    signatureAlgorithm(given.by.signature),
    given.issuer,
    der.sequence(der.time(given.fromMs), der.time(given.toMs)),
    given.subject,
    given.spki,
    der.explicit(3, der.sequence(...given.extensions)),
  )
  return signed(tbs, given.by)
}

export type Life = { fromMs: number; toMs: number }

/** A self-signed CSCA of an invented state. */
export function makeState(
  given: Life & { state: string; country: string; signature: Signature; key: KeyKind | KeyObject },
): State {
  const { state, country, signature, fromMs, toMs } = given
  const key = 'export' in given.key ? given.key : makeKey(given.key)
  const by = { key, signature }
  const name = nameOf(country, `CSCA ${state}`)
  const certificateDer = printCertificate({
    ...{ by, issuer: name, subject: name, spki: spkiOf(key), fromMs, toMs },
    extensions: [constraints(der.yes, der.integer(0)), keyUsage(0x06), subjectKey(key)],
  })
  return { ...by, state, country, certificateDer }
}

/** A document signer of passports. */
export type PassportSigner = Signatory & { certificateDer: Buffer }

export type SignerWish = Life & {
  signature: Signature
  key: KeyKind | KeyObject
  /** Faults: another country in its name, a CA, another use, another certificate's signature. */
  country?: string
  ca?: boolean
  extKeyUsage?: string
  usageByte?: number
  documentTypes?: string[]
  usage?: Life
  spki?: Buffer
}

export function makePassportSigner(by: State, wish: SignerWish): PassportSigner {
  const { signature, fromMs, toMs, documentTypes, usage } = wish
  const key = 'export' in wish.key ? wish.key : makeKey(wish.key)
  const extensions = [keyUsage(wish.usageByte ?? 0x80), subjectKey(key), authorityKey(by.key)]
  if (wish.ca) extensions.push(constraints(der.yes))
  if (wish.extKeyUsage)
    extensions.push(extension('2.5.29.37', false, der.sequence(der.oid(wish.extKeyUsage))))
  if (documentTypes) {
    const list = der.setOf(...documentTypes.map(der.printable))
    extensions.push(extension('2.23.136.1.1.6.2', false, der.sequence(der.integer(0), list)))
  }
  if (usage) {
    const ends = [
      der.implicit(0, der.generalized(usage.fromMs)),
      der.implicit(1, der.generalized(usage.toMs)),
    ]
    extensions.push(extension('2.5.29.16', false, der.sequence(...ends)))
  }
  const certificateDer = printCertificate({
    ...{ by, issuer: partOf(by.certificateDer, 5), fromMs, toMs, extensions },
    subject: nameOf(wish.country ?? by.country, `DS ${by.state}`),
    spki: wish.spki ?? spkiOf(key),
  })
  return { key, signature, certificateDer }
}

/** A part of a certificate's TBS as it stands: 1 serial, 3 issuer, 5 subject. */
export function partOf(certificateDer: Buffer, part: number): Buffer {
  const tbs = fixedChildren(readDer(certificateDer), tags.sequence, 3)[0]
  const found = tbs && fixedChildren(tbs, tags.sequence, 8)[part]
  if (!found) throw new RangeError('there is no such part')
  return found.raw
}

/** A list of a state that names these signers. */
export function makeStateList(by: State, given: Life & { revoked?: readonly PassportSigner[] }): Buffer {
  const { fromMs, toMs, revoked = [] } = given
  const entries = revoked.map(({ certificateDer }) =>
    der.sequence(partOf(certificateDer, 1), der.time(fromMs)),
  )
  const tbs = der.sequence(
    der.integer(1),
    signatureAlgorithm(by.signature),
    partOf(by.certificateDer, 5),
    der.time(fromMs),
    der.time(toMs),
    ...(entries.length > 0 ? [der.sequence(...entries)] : []),
    der.explicit(0, der.sequence(authorityKey(by.key), extension('2.5.29.20', false, der.integer(1)))),
  )
  return signed(tbs, by)
}
