// The issuing side: simulated cards modelled on ICAO 9303, good ones and ones spoiled in a named way. No real
// card is made so: its chip is read through a licensed module (PROTOCOL sections 0.6, 6).
import {
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto'
import forge from 'node-forge'
import { sha256 } from '../base/bytes.ts'
import { printP256Spki, signP256 } from '../base/p256.ts'
import { type ChipContext, chipMessage } from '../card/check.ts'
import { printReading, type Reading } from '../card/reading.ts'
import { printRecord } from '../card/record.ts'

export type CardHolder = {
  number: string
  name: string
  sex: '1' | '2'
  nation: string
  birth: string
  address: string
  issuer: string
  validFrom: string
  validTo: string
  serial: Buffer
}

export type DocumentSigner = { certificateDer: Buffer; privateKey: KeyObject }

export type Card = {
  holder: CardHolder
  sod: Buffer
  dg1: Buffer
  dg14: Buffer
  dg15: Buffer
  chipKey: KeyObject
}

/** How an issuer's SOD is spoiled; each shows one refusal. */
export type SodSpoil =
  | 'trailing byte'
  | 'wrong content type'
  | 'another message digest'
  | 'forged signature'
  | 'signing time missing'
  | 'version 1'
  | 'lds order'

const { asn1 } = forge
const { Class, Type } = asn1
type Asn1 = forge.asn1.Asn1

const bytesOf = (node: Asn1) => Buffer.from(asn1.toDer(node).getBytes(), 'latin1')
const raw = (tag: number, constructed: boolean, value: Asn1[] | string) =>
  asn1.create(Class.UNIVERSAL, tag as forge.asn1.Type, constructed, value)
const sequence = (...items: Asn1[]) => raw(Type.SEQUENCE, true, items)
const set = (...items: Asn1[]) => raw(Type.SET, true, items)
const oid = (dotted: string) => raw(Type.OID, false, asn1.oidToDer(dotted).getBytes())
const octets = (value: Buffer) => raw(Type.OCTETSTRING, false, value.toString('latin1'))
const integer = (value: number) => raw(Type.INTEGER, false, String.fromCharCode(value))
const explicit = (...items: Asn1[]) => asn1.create(Class.CONTEXT_SPECIFIC, 0 as forge.asn1.Type, true, items)
const parse = (der: Buffer) => asn1.fromDer(der.toString('latin1'))

const ids = {
  signedData: '1.2.840.113549.1.7.2',
  lds: '2.23.136.1.1.1',
  sha256: '2.16.840.1.101.3.4.2.1',
  ecdsa: '1.2.840.10045.4.3.2',
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
  signingTime: '1.2.840.113549.1.9.5',
}
const algorithm = (id: string) => sequence(oid(id))

function printLds(files: [number, Buffer][], spoil: SodSpoil | undefined): Buffer {
  const ordered = spoil === 'lds order' ? [...files].reverse() : files
  const hashes = ordered.map(([group, file]) => sequence(integer(group), octets(sha256(file))))
  return bytesOf(sequence(integer(0), algorithm(ids.sha256), sequence(...hashes)))
}

const utcTime = (ms: number) => {
  const text = `${new Date(ms).toISOString().slice(2, 19).replaceAll(/[-:T]/g, '')}Z`
  return raw(Type.UTCTIME, false, text)
}

function printAttributes(content: Buffer, signedMs: number, spoil: SodSpoil | undefined): Asn1[] {
  const attribute = (id: string, value: Asn1) => sequence(oid(id), set(value))
  const digest = spoil === 'another message digest' ? sha256(Buffer.from('another')) : sha256(content)
  const type = spoil === 'wrong content type' ? '1.2.840.113549.1.7.1' : ids.lds
  const attributes = [
    attribute(ids.contentType, oid(type)),
    attribute(ids.messageDigest, octets(digest)),
    ...(spoil === 'signing time missing' ? [] : [attribute(ids.signingTime, utcTime(signedMs))]),
  ]
  return attributes.sort((a, b) => Buffer.compare(bytesOf(a), bytesOf(b))) // DER SET OF (X.690 section 11.6).
}

/** Issuer and serial of a certificate, as its DER has them. */
function signerIdOf(certificateDer: Buffer): Asn1 {
  const tbs = (parse(certificateDer).value as Asn1[])[0] as Asn1
  const [, serial, , issuer] = tbs.value as [Asn1, Asn1, Asn1, Asn1]
  return sequence(issuer, serial)
}

/** A security object in the profile of PROTOCOL section 6, or spoiled in one way. */
export function printSod(
  files: [number, Buffer][],
  signer: DocumentSigner,
  options: { signedMs: number; spoil?: SodSpoil },
): Buffer {
  const { signedMs, spoil } = options
  const content = printLds(files, spoil)
  const attributes = printAttributes(content, signedMs, spoil)
  const key = spoil === 'forged signature' ? makeChipKey() : signer.privateKey
  const signature = sign('sha256', bytesOf(set(...attributes)), key)
  const info = sequence(
    integer(1),
    signerIdOf(signer.certificateDer),
    algorithm(ids.sha256),
    explicit(...attributes),
    algorithm(ids.ecdsa),
    octets(signature),
  )
  const signedData = sequence(
    integer(spoil === 'version 1' ? 1 : 3),
    set(algorithm(ids.sha256)),
    sequence(oid(ids.lds), explicit(octets(content))),
    explicit(parse(signer.certificateDer)),
    set(info),
  )
  const sod = bytesOf(sequence(oid(ids.signedData), explicit(signedData)))
  return spoil === 'trailing byte' ? Buffer.concat([sod, Buffer.of(0)]) : sod
}

const makeChipKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
const asSalted = (...parts: Buffer[]) => Buffer.concat([randomBytes(16), ...parts])

/** Issues a card. `chipSpki` replaces the chip's public key in DG15, for keys that no chip may have. */
export function issueCard(
  holder: CardHolder,
  signer: DocumentSigner,
  options: { signedMs: number; spoil?: SodSpoil; chipSpki?: Buffer },
): Card {
  const { serial, ...record } = holder
  const chipKey = makeChipKey()
  const dg1 = asSalted(printRecord(record))
  const dg14 = asSalted(randomBytes(8), serial)
  const dg15 = options.chipSpki ?? printP256Spki(chipKey)
  const sod = printSod(
    [
      [1, dg1],
      [14, dg14],
      [15, dg15],
    ],
    signer,
    options,
  )
  return { holder, sod, dg1, dg14, dg15, chipKey }
}

/** Reads a card: its chip signs for the request. */
export function readCard(card: Card, context: ChipContext): Reading {
  const { sod, dg1, dg14, dg15, chipKey } = card
  const chipSignature = signP256(chipKey, chipMessage(context, sha256(sod)))
  return { suite: 1, sod, dg1, dg14, dg15, chipSignature, flags: 0 }
}

/** As `readCard`, printed for sealing. */
export const readCardBytes = (card: Card, context: ChipContext) => printReading(readCard(card, context))

/** A document signer from PEM files, checked to belong together. */
export function loadSigner(certificatePem: Buffer, privateKey: KeyObject): DocumentSigner {
  const certificate = new X509Certificate(certificatePem)
  const own = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  if (!certificate.publicKey.export({ format: 'der', type: 'spki' }).equals(own)) {
    throw new Error('The signer’s certificate and key do not belong together.')
  }
  return { certificateDer: certificate.raw, privateKey }
}
