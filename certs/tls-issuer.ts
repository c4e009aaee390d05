// Makes the TLS side of the development PKI: CAs, servers, clients and CRLs (P-256) with @peculiar/x509.
// It knows no file and not what a certificate is for beyond server or client. RFC 5280; PROTOCOL section 3.
import 'reflect-metadata'
import { createPublicKey, generateKeyPairSync, type KeyObject, type webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import { printSpki } from '../src/pki/signing.ts'
import { isSignedBy } from '../src/pki/suites.ts'
import { type CrlContent, type Issued, organization, printInteger, randomSerial } from './card-issuer.ts'

type CryptoKey = webcrypto.CryptoKey

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const crlNumberOid = '2.5.29.20'

/** Names that a TLS certificate vouches for. */
export type AltNames = { dns?: readonly string[]; ip?: readonly string[]; uri?: readonly string[] }

/** Validity in Unix ms. */
export type Validity = { notBeforeMs: number; notAfterMs: number }

export type LeafOptions = Validity & { commonName: string; use: 'server' | 'client'; names: AltNames }

const nameOf = (commonName: string) => new x509.Name([{ O: [organization] }, { CN: [commonName] }])
const newKey = () => generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey
const signingKeyOf = (key: KeyObject) => key.toCryptoKey(algorithm, false, ['sign'])
const verifyKeyOf = (key: KeyObject) =>
  (key.type === 'private' ? createPublicKey(key) : key).toCryptoKey(algorithm, true, ['verify'])

type Certificate = Validity & {
  subject: x509.Name
  issuer: x509.Name
  publicKey: CryptoKey
  signingKey: KeyObject
  extensions: x509.Extension[]
}

async function issue(certificate: Certificate): Promise<Buffer> {
  const made = await x509.X509CertificateGenerator.create({
    serialNumber: randomSerial().toString('hex'),
    subject: certificate.subject,
    issuer: certificate.issuer,
    notBefore: new Date(certificate.notBeforeMs),
    notAfter: new Date(certificate.notAfterMs),
    publicKey: certificate.publicKey,
    signingKey: signingKeyOf(certificate.signingKey),
    signingAlgorithm: algorithm,
    extensions: [
      ...certificate.extensions,
      await x509.SubjectKeyIdentifierExtension.create(certificate.publicKey),
    ],
  })
  return Buffer.from(made.rawData)
}

const issuerIdentifier = (issuer: Issued) =>
  x509.AuthorityKeyIdentifierExtension.create(verifyKeyOf(issuer.privateKey))

const issuerName = (issuer: Issued) => new x509.X509Certificate(issuer.certificateDer).subjectName

/** Makes a self-signed CA that may sign leaves and CRLs only (pathLen 0). */
export async function makeTlsCa(options: Validity & { commonName: string }): Promise<Issued> {
  const privateKey = newKey()
  const name = nameOf(options.commonName)
  const { keyCertSign, cRLSign } = x509.KeyUsageFlags
  const certificateDer = await issue({
    ...options,
    subject: name,
    issuer: name,
    publicKey: verifyKeyOf(privateKey),
    signingKey: privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(keyCertSign | cRLSign, true),
    ],
  })
  return { certificateDer, privateKey }
}

/** Makes a server or client certificate for a new key. */
export async function makeTlsLeaf(issuer: Issued, options: LeafOptions): Promise<Issued> {
  const privateKey = newKey()
  const { serverAuth, clientAuth } = x509.ExtendedKeyUsage
  const { dns = [], ip = [], uri = [] } = options.names
  const names = [
    ...dns.map((value) => ({ type: x509.DNS, value }) as const),
    ...ip.map((value) => ({ type: x509.IP, value }) as const),
    ...uri.map((value) => ({ type: x509.URL, value }) as const),
  ]
  const certificateDer = await issue({
    ...options,
    subject: nameOf(options.commonName),
    issuer: issuerName(issuer),
    publicKey: verifyKeyOf(privateKey),
    signingKey: issuer.privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([options.use === 'server' ? serverAuth : clientAuth]),
      new x509.SubjectAlternativeNameExtension(names),
      await issuerIdentifier(issuer),
    ],
  })
  return { certificateDer, privateKey }
}

/** Makes a v2 CRL (DER) with authorityKeyIdentifier and CRLNumber. */
export async function makeTlsCrl(issuer: Issued, content: CrlContent): Promise<Buffer> {
  const made = await x509.X509CrlGenerator.create({
    issuer: issuerName(issuer),
    thisUpdate: new Date(content.thisUpdateMs),
    nextUpdate: new Date(content.nextUpdateMs),
    signingKey: signingKeyOf(issuer.privateKey),
    signingAlgorithm: algorithm,
    entries: content.revoked.map((one) => ({
      serialNumber: one.serial.toString('hex'),
      revocationDate: new Date(one.atMs),
    })),
    extensions: [
      await issuerIdentifier(issuer),
      new x509.Extension(crlNumberOid, false, printInteger(content.number)),
    ],
  })
  return Buffer.from(made.rawData)
}

/**
 * Reads a CRL of ours, card or TLS, to go on from it.
 * @returns undefined unless `publicKey` signed it
 * @throws Error if it is not a CRL
 */
export function readCrl(der: Buffer, publicKey: KeyObject): CrlContent | undefined {
  const crl = new x509.X509Crl(der)
  if (!isSignedBy(der, printSpki(publicKey))) return undefined
  const number = crl.getExtension(crlNumberOid)
  return {
    thisUpdateMs: crl.thisUpdate.getTime(),
    nextUpdateMs: crl.nextUpdate?.getTime() ?? 0,
    // The value is a DER INTEGER: its bytes follow tag and length.
    number: number ? Number.parseInt(Buffer.from(number.value).subarray(2).toString('hex'), 16) : 0,
    revoked: crl.entries.map((one) => ({
      serial: Buffer.from(one.serialNumber, 'hex'),
      atMs: one.revocationDate.getTime(),
    })),
  }
}
