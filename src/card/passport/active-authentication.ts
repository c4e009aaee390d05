// Active authentication: the chip's key of EF.DG15 over the eight bytes RND.IFD (ICAO 9303-11 section 6.1). ECDSA with
// the digest that EF.DG14 names, or RSA as ISO/IEC 9796-2 scheme 1 with part of its message within the signature.
import { constants, publicDecrypt } from 'node:crypto'
import { sha256 as hashSha256, sameBytes } from '../../base/bytes.ts'
import {
  childrenOf,
  type Der,
  DerError,
  fixedChildren,
  oidHex,
  readDer,
  smallInteger,
  tags,
} from '../../base/der.ts'
import { checkPlain, type Digest, hashWith, sha256, sha384, sha512 } from './algorithms.ts'
import { importPassportKey, type PassportKey, type RsaKey } from './keys.ts'

const dg14Tag = 0x6e
const dg15Tag = 0x6f
const activeAuthentication = '678108010105' // 2.23.136.1.1.5

/** ecdsa-plain-signatures of BSI TR-03111 section 5.2.1.1, without its SHA-1 and SHA-224. */
const plainDigests: ReadonlyMap<string, Digest> = new Map([
  ['04007f00070101040103', sha256],
  ['04007f00070101040104', sha384],
  ['04007f00070101040105', sha512],
])

export type ChipKey = { key: RsaKey } | { key: Exclude<PassportKey, RsaKey>; digest: Digest }

/**
 * The chip's key, with the digest that it signs with.
 * @param dg14 empty where the passport has none: enough for RSA, whose trailer names the digest
 * @returns undefined for what is well formed and not accepted
 * @throws DerError
 */
export function importChipKey(dg15: Buffer, dg14: Buffer): ChipKey | undefined {
  const key = importPassportKey(onlyFile(dg15, dg15Tag).raw)
  // A byte of header and one of trailer must be whole bytes: no chip is known that has it otherwise.
  if (key?.type === 'rsa') return key.bits % 8 === 0 ? { key } : undefined
  const digest = key && dg14.length > 0 ? namedDigest(dg14) : undefined
  // Nothing would be left of the digest's end (9303-11 section 6.1.2.3).
  if (!key || !digest || digest.bytes > key.curve.bytes) return undefined
  return { key, digest }
}

function onlyFile(file: Buffer, tag: number): Der {
  return fixedChildren(readDer(file), tag, 1)[0] as Der
}

/** The digest of the one ActiveAuthenticationInfo among the SecurityInfos (9303-11 section 9.2.3). */
function namedDigest(dg14: Buffer): Digest | undefined {
  const infos = childrenOf(onlyFile(dg14, dg14Tag), tags.set)
    .map((info) => childrenOf(info, tags.sequence))
    .filter(([protocol]) => oidHex(protocol) === activeAuthentication)
  const [, version, algorithm, ...rest] = infos[0] ?? []
  if (infos.length !== 1 || rest.length > 0) return undefined
  if (smallInteger(version) !== 1) throw new DerError('active authentication of another version')
  return plainDigests.get(oidHex(algorithm))
}

const challengeBytes = 8

/** RND.IFD: as long as the standard has it, and bound by way of M to all that the chip answers for. */
export const readerChallenge = (message: Buffer) => hashSha256(message).subarray(0, challengeBytes)

export function checkChip(chip: ChipKey, challenge: Buffer, signature: Buffer): boolean {
  if ('digest' in chip) return checkPlain(challenge, signature, chip)
  return checkRecovered(chip.key, challenge, signature)
}

/** Part of the message is within, and none of it is padding. */
const header = 0x6a
/** Two bytes: the digest by its number of ISO/IEC 10118, then CC. BC, which is SHA-1, is not among them. */
const trailers: ReadonlyMap<number, Digest> = new Map([
  [0x34cc, sha256],
  [0x36cc, sha384],
  [0x35cc, sha512],
])
const trailerBytes = 2

/**
 * `6A || M1 || H(M1 || RND.IFD) || trailer`, which fills the modulus: M1 has as many bytes as are left, so that there
 * is one place for each byte and none for any other (ISO/IEC 9796-2 section 8).
 */
function checkRecovered({ key, bits }: RsaKey, challenge: Buffer, signature: Buffer): boolean {
  if (signature.length !== bits / 8) return false
  const opened = openSignature(key, signature)
  if (!opened || opened[0] !== header) return false
  const digest = trailers.get(opened.readUInt16BE(opened.length - trailerBytes))
  if (!digest) return false
  const hashAt = opened.length - trailerBytes - digest.bytes
  const message = Buffer.concat([opened.subarray(1, hashAt), challenge])
  return sameBytes(opened.subarray(hashAt, hashAt + digest.bytes), hashWith(digest, message))
}

function openSignature(key: RsaKey['key'], signature: Buffer): Buffer | undefined {
  try {
    return publicDecrypt({ key, padding: constants.RSA_NO_PADDING }, signature)
  } catch {
    return undefined // A number not below the modulus: the one thing that cannot be opened.
  }
}
