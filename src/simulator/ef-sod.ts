// Prints a passport's EF.SOD from a plan, so that a spoiled one is the plan with another part. It checks nothing: the
// gateway's strict reader is in card/passport/ef-sod.ts (ICAO 9303-10 section 4.6.2; RFC 5652).
import { hash as hashOf, randomBytes } from 'node:crypto'
import { sha256 } from '../base/bytes.ts'
import {
  digestAlgorithm,
  type HashName,
  type PassportSigner,
  partOf,
  signatureAlgorithm,
  signWith,
  spkiOf,
} from './csca.ts'
import * as der from './der.ts'

/** The files whose hashes are signed; an empty EF.DG14 is none. */
export type PassportFiles = { dg1: Buffer; dg14: Buffer; dg15: Buffer }

export type EfSodOptions = {
  /** Unix ms; left out, the passport does not say when it was signed. */
  signedMs?: number
  ldsVersion?: 0 | 1
  /** Of the files; the signer's own by default. */
  ldsHash?: HashName
  /** How the SignerInfo names its certificate. */
  names?: 'issuer' | 'key'
  /** Digest algorithms beside the signer's. */
  moreDigests?: HashName[]
}

/** An EF.SOD before it is printed; every part that a spoiled one has otherwise is a field. */
export type EfSodPlan = {
  fileTag: number
  type: string
  version: number
  digests: Buffer[]
  contentType: string
  lds: { version: number; digest: Buffer; hashes: [group: number, hash: Buffer][]; versions: Buffer[] }
  certificates: Buffer[]
  /** Elements between the certificates and the signers. */
  lists: Buffer[]
  signers: number
  signerVersion: number
  sid: Buffer
  signerDigest: Buffer
  attributes(content: Buffer): [id: string, value: Buffer][]
  signatureAlgorithm: Buffer
  sign(message: Buffer): Buffer
  /** Elements after the signature. */
  unsigned: Buffer[]
}

export const ids = {
  data: '1.2.840.113549.1.7.1',
  signedData: '1.2.840.113549.1.7.2',
  lds: '2.23.136.1.1.1',
  sha1: '1.3.14.3.2.26',
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
  signingTime: '1.2.840.113549.1.9.5',
  signingDescription: '1.2.840.113549.1.9.13',
}

export const hashWith = (name: HashName, bytes: Buffer): Buffer => hashOf(name, bytes, 'buffer')

const issuerAndSerial = ({ certificateDer }: PassportSigner) =>
  der.sequence(partOf(certificateDer, 3), partOf(certificateDer, 1))

export function planEfSod(files: PassportFiles, signer: PassportSigner, options: EfSodOptions): EfSodPlan {
  const { signature, certificateDer } = signer
  const { signedMs, ldsVersion = 0, ldsHash = signature.hash, names = 'issuer', moreDigests = [] } = options
  const { dg1, dg14, dg15 } = files
  const groups: [number, Buffer][] = [
    [1, dg1],
    [2, randomBytes(32)],
    [14, dg14],
    [15, dg15],
  ]
  const present = groups.filter(([, file]) => file.length > 0)
  const keyId = sha256(spkiOf(signer.key)).subarray(0, 20)
  return {
    fileTag: 0x77,
    type: ids.signedData,
    version: 3,
    digests: [...new Set([signature.hash, ...moreDigests])].map(digestAlgorithm),
    contentType: ids.lds,
    lds: {
      version: ldsVersion,
      digest: digestAlgorithm(ldsHash),
      // Photo and fingerprints are hashes only, never read.
      hashes: present.map(([group, file]) => [group, hashWith(ldsHash, file)]),
      versions: ldsVersion === 1 ? [der.sequence(der.printable('0108'), der.printable('040000'))] : [],
    },
    certificates: [certificateDer],
    lists: [],
    signers: 1,
    signerVersion: names === 'issuer' ? 1 : 3,
    sid: names === 'issuer' ? issuerAndSerial(signer) : der.implicit(0, keyId),
    signerDigest: digestAlgorithm(signature.hash),
    attributes: (content) => [
      [ids.contentType, der.oid(ids.lds)],
      [ids.messageDigest, der.octets(hashWith(signature.hash, content))],
      ...(signedMs === undefined ? [] : [[ids.signingTime, der.time(signedMs)] as [string, Buffer]]),
    ],
    signatureAlgorithm: signatureAlgorithm(signature),
    sign: (message) => signWith(signer, message),
    unsigned: [],
  }
}

export function printEfSod(plan: EfSodPlan): Buffer {
  const { lds } = plan
  const hashes = lds.hashes.map(([group, hash]) => der.sequence(der.integer(group), der.octets(hash)))
  const content = der.sequence(der.integer(lds.version), lds.digest, der.sequence(...hashes), ...lds.versions)
  const attributes = plan
    .attributes(content)
    .map(([id, value]) => der.sequence(der.oid(id), der.setOf(value)))
    .sort(Buffer.compare)
  const info = der.sequence(
    der.integer(plan.signerVersion),
    plan.sid,
    plan.signerDigest,
    der.explicit(0, ...attributes),
    plan.signatureAlgorithm,
    der.octets(plan.sign(der.setOf(...attributes))),
    ...plan.unsigned,
  )
  const signedData = der.sequence(
    der.integer(plan.version),
    der.setOf(...plan.digests),
    der.sequence(der.oid(plan.contentType), der.explicit(0, der.octets(content))),
    der.explicit(0, ...plan.certificates),
    ...plan.lists,
    der.setOf(...Array.from({ length: plan.signers }, () => info)),
  )
  return der.element(plan.fileTag, der.sequence(der.oid(plan.type), der.explicit(0, signedData)))
}
