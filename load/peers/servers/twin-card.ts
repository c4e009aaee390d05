// The naive twin's card steps, from everyday parts: node-forge takes security object and signer's certificate apart,
// anew for each request; node:crypto checks P-256, sm-crypto checks SM2. Right, and with nothing remembered.
import { createHash, createPublicKey, createVerify } from 'node:crypto'
import forge from 'node-forge'
import smCrypto from 'sm-crypto'
import { fileOf, type Told } from './serving.ts'
import { type Person, readPerson } from './twin-record.ts'

const { sm2, sm3 } = smCrypto
const { asn1 } = forge
type Node = forge.asn1.Asn1

export type Reading = {
  suite: number
  sod: Buffer
  dg1: Buffer
  dg14: Buffer
  dg15: Buffer
  chipSignature: Buffer
}

/** How one suite hashes and checks; keys are SPKI in DER, as they come. */
type Suite = {
  hash(bytes: Buffer): Buffer
  check(spki: Buffer, message: Buffer, signature: Buffer, form: 'der' | 'raw'): boolean
}

const p256: Suite = {
  hash: (bytes) => createHash('sha256').update(bytes).digest(),
  check(spki, message, signature, form) {
    const key = createPublicKey({ key: spki, format: 'der', type: 'spki' })
    const dsaEncoding = form === 'raw' ? 'ieee-p1363' : 'der'
    return createVerify('sha256').update(message).verify({ key, dsaEncoding }, signature)
  },
}

const pointBytes = 65
const userId = '1234567812345678'

const sm2Suite: Suite = {
  hash: (bytes) => Buffer.from(sm3(bytes), 'hex'),
  check(spki, message, signature, form) {
    const point = spki.subarray(-pointBytes).toString('hex')
    const options = { hash: true, der: form === 'der', userId }
    return sm2.doVerifySignature([...message], signature.toString('hex'), point, options)
  },
}

const suites: Record<number, Suite> = { 1: p256, 2: sm2Suite }

/** A card issuer: its name and key, and whom it has revoked. */
type Issuer = { subject: string; spki: Buffer; revoked: Set<string> }
export type Issuers = Record<number, Issuer>

const parse = (der: Buffer) => asn1.fromDer(forge.util.createBuffer(der.toString('binary')))
const print = (node: Node) => Buffer.from(asn1.toDer(node).getBytes(), 'binary')
const parts = (node: Node | undefined) => (node?.value ?? []) as Node[]
const bytes = (node: Node | undefined) => Buffer.from(String(node?.value ?? ''), 'binary')
const oid = (node: Node | undefined) => asn1.derToOid(forge.util.createBuffer(String(node?.value ?? '')))

const derOfPem = (pem: string) => Buffer.from(forge.pem.decode(pem)[0]?.body ?? '', 'binary')

/** What is trusted is read once, at the start. */
export function readIssuers(told: Told): Issuers {
  const read = (name: string): Issuer => {
    const certificate = readCertificate(parse(derOfPem(fileOf(told, `${name}.crt`).toString())))
    const list = parse(derOfPem(fileOf(told, `${name}.crl`).toString()))
    const entries = parts(parts(list)[0]).at(-2)
    const revoked = new Set(parts(entries).map((entry) => bytes(parts(entry)[0]).toString('hex')))
    return { subject: certificate.subject, spki: certificate.spki, revoked }
  }
  return { 1: read('card-issuer'), 2: read('card-issuer-sm2') }
}

function readCertificate(node: Node) {
  const [tbs, , signature] = parts(node)
  const [, serial, , issuer, validity, subject, spki, extensions] = parts(tbs)
  const found = new Map(parts(parts(extensions)[0]).map((one) => [oid(parts(one)[0]), parts(one).at(-1)]))
  const [notBefore, notAfter] = parts(validity)
  return {
    tbs: print(tbs as Node),
    serial: bytes(serial).toString('hex'),
    issuer: print(issuer as Node).toString('hex'),
    subject: print(subject as Node).toString('hex'),
    notBefore: timeOf(notBefore as Node),
    notAfter: timeOf(notAfter as Node),
    spki: print(spki as Node),
    extensions: found,
    // Forge takes a BIT STRING that holds DER apart, and gives one that does not with its count of unused bits.
    signature: Array.isArray(signature?.value)
      ? print(parts(signature)[0] as Node)
      : bytes(signature).subarray(1),
  }
}

function timeOf(node: Node): number {
  const text = String(node.value)
  const date = node.type === asn1.Type.UTCTIME ? asn1.utcTimeToDate(text) : asn1.generalizedTimeToDate(text)
  return date.getTime()
}

const contentOf = (extension: Node | undefined) =>
  Array.isArray(extension?.value) ? print(parts(extension)[0] as Node) : bytes(extension)

/** For signing only, no CA, and signing at that time: RFC 5280 and the usage period of RFC 3280. */
function mayHaveSigned(certificate: ReturnType<typeof readCertificate>, at: number, now: number): boolean {
  const { extensions, notBefore, notAfter } = certificate
  if (contentOf(extensions.get('2.5.29.19')).toString('hex') !== '3000') return false
  if (contentOf(extensions.get('2.5.29.15')).toString('hex') !== '03020780') return false
  const period = extensions.get('2.5.29.16')
  if (!period || now < notBefore || now > notAfter || at > now) return false
  const [from, to] = parts(parse(contentOf(period))).map((end) =>
    asn1.generalizedTimeToDate(String(end.value)).getTime(),
  )
  return from !== undefined && to !== undefined && from <= at && at <= to
}

function readSod(der: Buffer) {
  const [type, explicit] = parts(parse(der))
  if (oid(type) !== '1.2.840.113549.1.7.2') throw new Error('not signed data')
  const [, , encapsulated, certificates, signers] = parts(parts(explicit)[0])
  const content = contentOf(parts(parts(encapsulated)[1])[0])
  const [, , , attributes, , signature] = parts(parts(signers)[0])
  const values = new Map(
    parts(attributes).map((one) => [oid(parts(one)[0]), parts(parts(one)[1])[0]] as const),
  )
  const [, , hashes] = parts(parse(content))
  const set = asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SET, true, parts(attributes))
  return {
    certificate: readCertificate(parts(certificates)[0] as Node),
    content,
    hashes: new Map(parts(hashes).map((one) => [bytes(parts(one)[0])[0], bytes(parts(one)[1])])),
    signed: print(set),
    contentType: oid(values.get('1.2.840.113549.1.9.3')),
    digest: bytes(values.get('1.2.840.113549.1.9.4')),
    signedAt: timeOf(values.get('1.2.840.113549.1.9.5') as Node),
    signature: contentOf(signature),
  }
}

/**
 * The person of a card that is right, or undefined.
 * @param given.chipMessage what the chip had to sign, from the hash of the security object
 */
export function checkCard(
  reading: Reading,
  given: { issuers: Issuers; chipMessage: (sodHash: Buffer) => Buffer; now: number },
): Person | undefined {
  const { issuers, chipMessage, now } = given
  const suite = suites[reading.suite]
  const issuer = issuers[reading.suite]
  if (!suite || !issuer) return undefined
  try {
    const sod = readSod(reading.sod)
    const { certificate } = sod
    if (certificate.issuer !== issuer.subject) return undefined
    if (!suite.check(issuer.spki, certificate.tbs, certificate.signature, 'der')) return undefined
    if (!mayHaveSigned(certificate, sod.signedAt, now) || issuer.revoked.has(certificate.serial))
      return undefined
    if (sod.contentType !== '2.23.136.1.1.1' || !suite.hash(sod.content).equals(sod.digest)) return undefined
    if (!suite.check(certificate.spki, sod.signed, sod.signature, 'der')) return undefined
    const files = [[1, reading.dg1] as const, [14, reading.dg14] as const, [15, reading.dg15] as const]
    if (!files.every(([group, file]) => sod.hashes.get(group)?.equals(suite.hash(file)))) return undefined
    const message = chipMessage(suite.hash(reading.sod))
    if (!suite.check(reading.dg15, message, reading.chipSignature, 'raw')) return undefined
    return readPerson(reading.dg1.subarray(16), reading.dg14.subarray(24), now)
  } catch {
    return undefined // What cannot be parsed is no card.
  }
}
