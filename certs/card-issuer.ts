// Makes the card side of the development PKI: issuer CA, document signers and their CRL, as DER by
// node-forge and signed by node:crypto, in either suite. It knows no file. PROTOCOL sections 3 and 6; RFC 5280.
import { createHash, type KeyObject, randomBytes, X509Certificate } from 'node:crypto'
import forge from 'node-forge'
import { present } from '../src/base/assert.ts'
import { p256Signing, printSpki, type Signing, signingOf } from '../src/pki/signing.ts'

/** A certificate (DER) and the private key of its subject. */
export type Issued = { certificateDer: Buffer; privateKey: KeyObject }

/** A revoked certificate: its serial as unsigned big-endian bytes, and when it was revoked (Unix ms). */
export type Revoked = { serial: Buffer; atMs: number }

/** What a CRL says; times in Unix ms, `number` is the CRLNumber. */
export type CrlContent = { thisUpdateMs: number; nextUpdateMs: number; number: number; revoked: Revoked[] }

/** RFC 5280 4.2.1.3, in the order of the bits. */
const keyUsageBits = {
  digitalSignature: 0x80,
  nonRepudiation: 0x40,
  keyEncipherment: 0x20,
  dataEncipherment: 0x10,
  keyAgreement: 0x08,
  keyCertSign: 0x04,
  cRLSign: 0x02,
} as const
export type KeyUsage = keyof typeof keyUsageBits

/** Faults that a test can put into a document signer; each alone must make a gateway refuse it. */
export type Spoil = {
  /** BasicConstraints says CA=true. */
  ca: boolean
  /** These usages instead of digitalSignature alone. */
  keyUsage: KeyUsage[]
  noKeyUsage: boolean
  /** Adds an extKeyUsage of this OID. */
  extKeyUsage: string
  noBasicConstraints: boolean
  noUsagePeriod: boolean
  /** Adds a critical extension that nobody knows. */
  unknownCritical: boolean
  /** The certificate itself ends then, instead of 99991231235959Z. */
  notAfterMs: number
  /** Signed by a key that is not the issuer's. */
  otherSigningKey: boolean
  /** Another AlgorithmIdentifier (DER) or point in the SubjectPublicKeyInfo. */
  spki: { algorithm?: Buffer; point?: Buffer }
}

const { asn1 } = forge
const { SEQUENCE, SET, INTEGER, BOOLEAN, OID, BITSTRING, OCTETSTRING } = asn1.Type
const { UTF8, UTCTIME, GENERALIZEDTIME } = asn1.Type
type Node = forge.asn1.Asn1

const oids = {
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  ecPublicKey: '1.2.840.10045.2.1',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  privateKeyUsagePeriod: '2.5.29.16',
  basicConstraints: '2.5.29.19',
  crlNumber: '2.5.29.20',
  authorityKeyIdentifier: '2.5.29.35',
  extKeyUsage: '2.5.29.37',
  // An arc for examples (RFC 5612 enterprise 32473): nobody can know it.
  unknown: '1.3.6.1.4.1.32473.1',
} as const

/** RFC 5280 4.1.2.5: the end of what has no end. */
const noEnd = '99991231235959Z'
/** Stands in every subject, so that nobody takes these certificates for more. */
export const organization = 'Vouchsafe development'

const binary = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1')
const primitive = (type: forge.asn1.Type, value: string) =>
  asn1.create(asn1.Class.UNIVERSAL, type, false, value)
const sequence = (...parts: Node[]) => asn1.create(asn1.Class.UNIVERSAL, SEQUENCE, true, parts)
const setOf = (part: Node) => asn1.create(asn1.Class.UNIVERSAL, SET, true, [part])
const oid = (dotted: string) => primitive(OID, asn1.oidToDer(dotted).getBytes())
const octets = (bytes: Uint8Array) => primitive(OCTETSTRING, binary(bytes))
const bits = (bytes: Uint8Array, unused = 0) =>
  primitive(BITSTRING, String.fromCharCode(unused) + binary(bytes))
const yes = () => primitive(BOOLEAN, '\xff')
const tagged = (tag: number, value: string | Node[]) =>
  asn1.create(asn1.Class.CONTEXT_SPECIFIC, tag, typeof value !== 'string', value)
const printDer = (node: Node) => Buffer.from(asn1.toDer(node).getBytes(), 'latin1')
const readDer = (der: Buffer) => asn1.fromDer(binary(der), true)
const partsOf = (node: Node | undefined) => present(node, 'an ASN.1 node').value as Node[]

/** INTEGER of an unsigned magnitude: minimal, and 00 before a set high bit. */
function integer(magnitude: Uint8Array): Node {
  let start = 0
  while (start < magnitude.length - 1 && magnitude[start] === 0) start++
  const digits = binary(magnitude.subarray(start))
  return primitive(INTEGER, (digits.charCodeAt(0) & 0x80) !== 0 ? `\0${digits}` : digits)
}

function smallInteger(value: number): Node {
  const hex = value.toString(16)
  return integer(Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex'))
}

/** DER of a non-negative INTEGER, for others who build extensions. */
export const printInteger = (value: number) => printDer(smallInteger(value))

/** `YYYYMMDDHHMMSSZ`; parts of a second are dropped, as DER times have none. */
const printGeneralized = (ms: number) => `${new Date(ms).toISOString().slice(0, 19).replace(/[-T:]/g, '')}Z`

/** UTCTime until 2049, GeneralizedTime from 2050 (RFC 5280 4.1.2.5). */
function time(ms: number): Node {
  const text = printGeneralized(ms)
  return Number(text.slice(0, 4)) < 2050
    ? primitive(UTCTIME, text.slice(2))
    : primitive(GENERALIZEDTIME, text)
}

function nameOf(commonName: string): Node {
  const attribute = (type: string, text: string) =>
    setOf(sequence(oid(type), primitive(UTF8, binary(Buffer.from(text)))))
  return sequence(attribute(oids.organization, organization), attribute(oids.commonName, commonName))
}

const extension = (id: string, critical: boolean, value: Node) =>
  critical ? sequence(oid(id), yes(), octets(printDer(value))) : sequence(oid(id), octets(printDer(value)))

/** The uncompressed point: the last 65 bytes of the SPKI. */
const pointOf = (key: KeyObject) => printSpki(key).subarray(-65)

/** Built, not parsed: forge would look for DER inside the point's bit string. */
function spki(key: KeyObject, spoil: Spoil['spki'] = {}): Node {
  const own = sequence(oid(oids.ecPublicKey), oid(signingOf(key).curve))
  const algorithm = spoil.algorithm ? readDer(spoil.algorithm) : own
  return sequence(algorithm, bits(spoil.point ?? pointOf(key)))
}

/** RFC 7093 method 1: the first 160 bits of SHA-256 over the public key's bits. */
const keyIdentifier = (key: KeyObject) => createHash('sha256').update(pointOf(key)).digest().subarray(0, 20)

const authorityKey = (issuer: KeyObject) =>
  extension(oids.authorityKeyIdentifier, false, sequence(tagged(0, binary(keyIdentifier(issuer)))))

const subjectKey = (key: KeyObject) => extension(oids.subjectKeyIdentifier, false, octets(keyIdentifier(key)))

function keyUsage(usages: readonly KeyUsage[]): Node {
  const byte = usages.reduce((sum, usage) => sum | keyUsageBits[usage], 0)
  // DER names the unused bits at the end of a bit string exactly.
  const unused = 31 - Math.clz32(byte & -byte)
  return extension(oids.keyUsage, true, bits(Buffer.of(byte), unused))
}

/** AlgorithmIdentifier of what a key signs, without parameters (RFC 5758 3.2; GM/T 0015). */
const signatureOf = (key: KeyObject) => sequence(oid(signingOf(key).signature))

/** `{tbs, algorithm, signature}`: the outer form of certificates and CRLs. */
function signed(tbs: Node, key: KeyObject): Buffer {
  return printDer(sequence(tbs, signatureOf(key), bits(signingOf(key).signDer(key, printDer(tbs)))))
}

type Tbs = {
  serial: Buffer
  /** Signs it, or its like does. */
  by: KeyObject
  issuer: Node
  validity: Node
  subject: Node
  key: KeyObject
  spki?: Spoil['spki']
  extensions: Node[]
}

const tbsCertificate = (tbs: Tbs) =>
  sequence(
    tagged(0, [smallInteger(2)]),
    integer(tbs.serial),
    signatureOf(tbs.by),
    tbs.issuer,
    tbs.validity,
    tbs.subject,
    spki(tbs.key, tbs.spki),
    tagged(3, [sequence(...tbs.extensions)]),
  )

/** 16 bytes, positive and of full length: 126 random bits (RFC 5280 4.1.2.2 allows 20 bytes). */
export function randomSerial(): Buffer {
  const serial = randomBytes(16)
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40
  return serial
}

/**
 * Makes a self-signed card issuer CA (pathLen 0, notAfter 99991231235959Z).
 * @param options.notBeforeMs Unix ms; `signing` the suite, P-256 if left out
 */
export function makeCardIssuer(options: {
  commonName: string
  notBeforeMs: number
  signing?: Signing
}): Issued {
  const privateKey = (options.signing ?? p256Signing).makeKey()
  const name = nameOf(options.commonName)
  const tbs = tbsCertificate({
    serial: randomSerial(),
    by: privateKey,
    issuer: name,
    validity: sequence(time(options.notBeforeMs), primitive(GENERALIZEDTIME, noEnd)),
    subject: name,
    key: privateKey,
    extensions: [
      extension(oids.basicConstraints, true, sequence(yes(), smallInteger(0))),
      keyUsage(['keyCertSign', 'cRLSign']),
      subjectKey(privateKey),
    ],
  })
  return { certificateDer: signed(tbs, privateKey), privateKey }
}

export type SignerOptions = {
  commonName: string
  notBeforeMs: number
  usageNotBeforeMs: number
  usageNotAfterMs: number
  /** Unsigned big-endian; 16 random bytes if left out. */
  serial?: Buffer
  /** Another suite than the issuer's is a fault. */
  signing?: Signing
  spoil?: Partial<Spoil>
}

function signerExtensions(issuer: Issued, key: KeyObject, options: SignerOptions): Node[] {
  const spoil = options.spoil ?? {}
  const list: Node[] = []
  // cA is DEFAULT FALSE, so DER leaves it out: an empty sequence says "not a CA".
  const constraints = spoil.ca ? sequence(yes()) : sequence()
  if (!spoil.noBasicConstraints) list.push(extension(oids.basicConstraints, true, constraints))
  if (!spoil.noKeyUsage) list.push(keyUsage(spoil.keyUsage ?? ['digitalSignature']))
  if (spoil.extKeyUsage) list.push(extension(oids.extKeyUsage, false, sequence(oid(spoil.extKeyUsage))))
  if (!spoil.noUsagePeriod) {
    const notBefore = tagged(0, printGeneralized(options.usageNotBeforeMs))
    const notAfter = tagged(1, printGeneralized(options.usageNotAfterMs))
    list.push(extension(oids.privateKeyUsagePeriod, false, sequence(notBefore, notAfter)))
  }
  list.push(subjectKey(key), authorityKey(issuer.privateKey))
  if (spoil.unknownCritical) list.push(extension(oids.unknown, true, octets(Buffer.from('unknown'))))
  return list
}

/**
 * Makes a document signer as PROTOCOL section 6 asks for it, or with faults for tests.
 * @param options times in Unix ms; `usage…` is the privateKeyUsagePeriod, in which it may sign
 */
export function makeDocumentSigner(issuer: Issued, options: SignerOptions): Issued {
  const signing = options.signing ?? signingOf(issuer.privateKey)
  const privateKey = signing.makeKey()
  const end = options.spoil?.notAfterMs
  const tbs = tbsCertificate({
    serial: options.serial ?? randomSerial(),
    by: issuer.privateKey,
    issuer: subjectOf(issuer.certificateDer),
    validity: sequence(
      time(options.notBeforeMs),
      end === undefined ? primitive(GENERALIZEDTIME, noEnd) : time(end),
    ),
    subject: nameOf(options.commonName),
    key: privateKey,
    ...(options.spoil?.spki ? { spki: options.spoil.spki } : {}),
    extensions: signerExtensions(issuer, privateKey, options),
  })
  const signingKey = options.spoil?.otherSigningKey
    ? signingOf(issuer.privateKey).makeKey()
    : issuer.privateKey
  return { certificateDer: signed(tbs, signingKey), privateKey }
}

/** Makes a v2 CRL (DER) with authorityKeyIdentifier and CRLNumber. An empty list is left out (RFC 5280 5.1.2.6). */
export function makeCardCrl(issuer: Issued, content: CrlContent): Buffer {
  const entries = content.revoked.map((one) => sequence(integer(one.serial), time(one.atMs)))
  const tbs = sequence(
    smallInteger(1),
    signatureOf(issuer.privateKey),
    subjectOf(issuer.certificateDer),
    time(content.thisUpdateMs),
    time(content.nextUpdateMs),
    ...(entries.length > 0 ? [sequence(...entries)] : []),
    tagged(0, [
      sequence(
        authorityKey(issuer.privateKey),
        extension(oids.crlNumber, false, smallInteger(content.number)),
      ),
    ]),
  )
  return signed(tbs, issuer.privateKey)
}

/** DER of the first block of that label. @throws Error if there is none */
export function readPem(label: string, text: string): Buffer {
  const body = text.trim().split(`-----BEGIN ${label}-----`)[1]?.split(`-----END ${label}-----`)[0]
  if (body === undefined) throw new Error(`There is no ${label} in it.`)
  return Buffer.from(body, 'base64')
}

/** The serial of a certificate as unsigned big-endian bytes, as the CRL functions take it. */
export const serialOf = (certificateDer: Buffer) =>
  Buffer.from(new X509Certificate(certificateDer).serialNumber, 'hex')

/** The subject of a certificate of ours (version 3, so it stands sixth in the TBS). */
const subjectOf = (certificateDer: Buffer) =>
  present(partsOf(partsOf(readDer(certificateDer))[0])[5], 'the subject')

/**
 * When a document signer of ours may sign, in Unix ms; undefined without privateKeyUsagePeriod.
 * For our own certificates only: what comes from outside is read by src/pki.
 */
export function usagePeriodOf(
  certificateDer: Buffer,
): { notBeforeMs: number; notAfterMs: number } | undefined {
  const wrapped = partsOf(partsOf(readDer(certificateDer))[0])[7]
  const wanted = asn1.oidToDer(oids.privateKeyUsagePeriod).getBytes()
  const found = partsOf(partsOf(wrapped)[0]).find((one) => partsOf(one)[0]?.value === wanted)
  if (!found) return undefined
  const value = present(partsOf(found).at(-1), 'the value of an extension').value as string
  const [notBefore, notAfter] = partsOf(asn1.fromDer(value)).map((part) =>
    readGeneralized(part.value as string),
  )
  return { notBeforeMs: present(notBefore, 'notBefore'), notAfterMs: present(notAfter, 'notAfter') }
}

const readGeneralized = (text: string) =>
  Date.parse(text.replace(/^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'))
