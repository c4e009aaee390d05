// Prints a card's security object from a plan, so that a spoiled one is the plan with another part. It checks
// nothing: the gateway's strict reader is in card/sod.ts (PROTOCOL section 6; RFC 5652; ICAO 9303-10).
import { type KeyObject, randomBytes } from 'node:crypto'
import forge from 'node-forge'
import { signingOf } from '../pki/signing.ts'

export type DocumentSigner = { certificateDer: Buffer; privateKey: KeyObject }
/** The files whose hashes are signed. */
export type Files = { dg1: Buffer; dg14: Buffer; dg15: Buffer }

const { asn1 } = forge
const { Class, Type } = asn1
export const { NULL, GENERALIZEDTIME, OCTETSTRING } = Type
export type Asn1 = forge.asn1.Asn1

export const bytesOf = (node: Asn1) => Buffer.from(asn1.toDer(node).getBytes(), 'latin1')
export const raw = (tag: number, constructed: boolean, value: Asn1[] | string) =>
  asn1.create(Class.UNIVERSAL, tag as forge.asn1.Type, constructed, value)
export const sequence = (...items: Asn1[]) => raw(Type.SEQUENCE, true, items)
export const set = (...items: Asn1[]) => raw(Type.SET, true, items)
export const oid = (dotted: string) => raw(Type.OID, false, asn1.oidToDer(dotted).getBytes())
export const octets = (value: Buffer) => raw(Type.OCTETSTRING, false, value.toString('latin1'))
export const integer = (byte: number) => raw(Type.INTEGER, false, String.fromCharCode(byte))
export const context = (tag: number, items: Asn1[] | string) =>
  asn1.create(Class.CONTEXT_SPECIFIC, tag as forge.asn1.Type, typeof items !== 'string', items)
const parse = (der: Buffer) => asn1.fromDer(der.toString('latin1'))

export const ids = {
  data: '1.2.840.113549.1.7.1',
  signedData: '1.2.840.113549.1.7.2',
  lds: '2.23.136.1.1.1',
  sha512: '2.16.840.1.101.3.4.2.3',
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
  signingTime: '1.2.840.113549.1.9.5',
  signingDescription: '1.2.840.113549.1.9.13',
}
export const algorithm = (id: string, ...parameters: Asn1[]) => sequence(oid(id), ...parameters)

export type Attribute = [id: string, value: Asn1]

/** A SOD before it is printed; every part that a spoiled one has otherwise is a field. */
export type SodPlan = {
  type: string
  version: Asn1
  digests: Asn1[]
  contentType: string
  encapsulate(content: Buffer): Asn1
  lds: { version: number; digest: Asn1; hashes: [group: number, hash: Buffer][] }
  certificates: Buffer[]
  /** Elements between the certificates and the signers. */
  lists: Asn1[]
  signers: number
  sid(certificateDer: Buffer): Asn1
  signerDigest: Asn1
  attributes(content: Buffer): Attribute[]
  order(attributes: Asn1[]): Asn1[]
  signatureAlgorithm: Asn1
  sign(message: Buffer): Buffer
  /** Elements after the signature. */
  unsigned: Asn1[]
}

/** UTCTime until 2049. */
const utcTime = (ms: number) => raw(Type.UTCTIME, false, timeText(ms).slice(2))
const timeText = (ms: number) => `${new Date(ms).toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}Z`

/** Issuer and serial of a certificate, as its DER has them. */
export function signerIdOf(certificateDer: Buffer): [issuer: Asn1, serial: Asn1] {
  const tbs = (parse(certificateDer).value as Asn1[])[0] as Asn1
  const [, serial, , issuer] = tbs.value as [Asn1, Asn1, Asn1, Asn1]
  return [issuer, serial]
}

/** The profile of PROTOCOL section 6, in the suite of the signer's key. */
export function planSod(files: Files, signer: DocumentSigner, signedMs: number): SodPlan {
  const { suite, digest, signature, signDer } = signingOf(signer.privateKey)
  return {
    type: ids.signedData,
    version: integer(3),
    digests: [algorithm(digest)],
    contentType: ids.lds,
    encapsulate: octets,
    lds: {
      version: 0,
      digest: algorithm(digest),
      hashes: [
        [1, suite.hash(files.dg1)],
        // Photo and fingerprints are hashes only, never read.
        [2, randomBytes(32)],
        [3, randomBytes(32)],
        [14, suite.hash(files.dg14)],
        [15, suite.hash(files.dg15)],
      ],
    },
    certificates: [signer.certificateDer],
    lists: [],
    signers: 1,
    sid: (certificateDer) => sequence(...signerIdOf(certificateDer)),
    signerDigest: algorithm(digest),
    attributes: (content) => [
      [ids.contentType, oid(ids.lds)],
      [ids.messageDigest, octets(suite.hash(content))],
      [ids.signingTime, utcTime(signedMs)],
    ],
    // DER SET OF (X.690 section 11.6).
    order: (attributes) => attributes.sort((a, b) => Buffer.compare(bytesOf(a), bytesOf(b))),
    signatureAlgorithm: algorithm(signature),
    sign: (message) => signDer(signer.privateKey, message),
    unsigned: [],
  }
}

export function printSod(plan: SodPlan, signer: DocumentSigner): Buffer {
  const { lds } = plan
  const hashes = lds.hashes.map(([group, hash]) => sequence(integer(group), octets(hash)))
  const content = bytesOf(sequence(integer(lds.version), lds.digest, sequence(...hashes)))
  const attributes = plan.order(plan.attributes(content).map(([id, value]) => sequence(oid(id), set(value))))
  const signed = attributes.length > 0 ? bytesOf(set(...attributes)) : content
  const info = sequence(
    integer(1),
    plan.sid(signer.certificateDer),
    plan.signerDigest,
    ...(attributes.length > 0 ? [context(0, attributes)] : []),
    plan.signatureAlgorithm,
    octets(plan.sign(signed)),
    ...plan.unsigned,
  )
  const signedData = sequence(
    plan.version,
    set(...plan.digests),
    sequence(oid(plan.contentType), context(0, [plan.encapsulate(content)])),
    context(0, plan.certificates.map(parse)),
    ...plan.lists,
    set(...Array.from({ length: plan.signers }, () => info)),
  )
  return bytesOf(sequence(oid(plan.type), context(0, [signedData])))
}
