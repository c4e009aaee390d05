// Whom passports are trusted by: the country signing CAs (CSCA) of states, and the document signers below them
// (ICAO 9303-12). A CSCA is trusted because an operator put it there, for the state that the operator said.
import { childrenOf, type Der, DerError, octets, oidHex, readDer, tags } from '../../base/der.ts'
import {
  isCa,
  keyUsageHex,
  oids,
  parseCertificate,
  type ReadAlgorithm,
  type UnverifiedCertificate,
  usagePeriodMs,
} from '../../pki/certificate.ts'
import { parseSignedList, type Revocations, type SignedList } from '../../pki/revocation.ts'
import { checkSigned, parseScheme } from './algorithms.ts'
import { importPassportKey, type PassportKey } from './keys.ts'

/** A CSCA, and the state whose passports its signers may sign. */
export type PassportAnchor = {
  /** ISO 3166 alpha-3, as configured. */
  state: string
  /** Two letters: what the names of its signers must say. */
  country: string
  /** Name with its head. */
  subject: Buffer
  keyId: Buffer | undefined
  spki: Buffer
  key: PassportKey
  notBeforeMs: number
  notAfterMs: number
}

/** What passports are checked against. Another object after each change, so that memos know that there was one. */
export type PassportTrust = {
  anchors: readonly PassportAnchor[]
  /** From then on the anchors decide nothing, Unix ms. */
  notAfterMs: number
  /** The revocation list in use of an anchor; undefined: there is none. */
  listOf(anchor: PassportAnchor): Revocations | undefined
}

/** An AlgorithmIdentifier as a whole: its parameters decide as much as its name. */
const readAlgorithm: ReadAlgorithm = (cursor) => cursor.raw(tags.sequence).toString('hex')

/** Throws DerError. */
export const parsePassportCertificate = (der: Buffer) => parseCertificate(der, readAlgorithm)

const countryName = '550406' // 2.5.4.6
const textTags: readonly number[] = [0x0c, 0x13] // UTF8String, PrintableString.

/** The country of a name, in capitals: some states write theirs in small letters. Throws DerError. */
export function countryOf(name: Buffer): string | undefined {
  const found = childrenOf(readDer(name), tags.sequence)
    .flatMap((set) => childrenOf(set, tags.set))
    .map((pair) => childrenOf(pair, tags.sequence))
    .filter(([type]) => oidHex(type) === countryName)
  const value = found[0]?.[1]
  if (found.length !== 1 || !value || !textTags.includes(value.tag)) return undefined
  const text = value.body.toString('latin1').toUpperCase()
  return /^[A-Z]{2}$/.test(text) ? text : undefined
}

const signsCertificatesAndLists = '0106' // keyCertSign and cRLSign.

/** A CSCA, DER, for the passports of a state. Throws DerError. */
export function loadCsca(der: Buffer, state: string): PassportAnchor {
  const certificate = parsePassportCertificate(der)
  const key = importPassportKey(certificate.spki)
  if (!key) throw new DerError('its key is none that passports may have')
  if (isCa(certificate) !== true || keyUsageHex(certificate) !== signsCertificatesAndLists) {
    throw new DerError('it is not a CA for certificates and revocation lists')
  }
  const { subject, spki, notBeforeMs, notAfterMs, extensions } = certificate
  const country = countryOf(subject)
  if (!country) throw new DerError('its name has no country')
  const id = extensions.get(oids.subjectKeyId)
  const keyId = id && octets(readDer(id.value))
  return { state, country, subject, keyId, spki, key, notBeforeMs, notAfterMs }
}

const isSignedBy = (signed: Omit<SignedList, 'issuer'>, { key }: PassportAnchor) =>
  checkSigned(signed.tbs, signed.signature, {
    key,
    scheme: parseScheme(readDer(Buffer.from(signed.algorithm, 'hex'))),
  })

/** A state's list, DER. Throws an Error with what to do if it is malformed or signed by none of the anchors. */
export const parsePassportList = (der: Buffer, anchors: readonly PassportAnchor[]): Revocations =>
  parseSignedList(der, {
    readAlgorithm,
    isSigned: (list) =>
      anchors.some((anchor) => anchor.subject.equals(list.issuer) && isSignedBy(list, anchor)),
  })

const keyIdentifierTag = 0x80 // [0] IMPLICIT OCTET STRING (RFC 5280 section 4.2.1.1).

/** The CSCA that signed it and that it names as issuer, of its own country. Throws DerError. */
export function findCsca(
  certificate: UnverifiedCertificate,
  anchors: readonly PassportAnchor[],
): PassportAnchor | undefined {
  const extension = certificate.extensions.get(oids.authorityKeyId)
  const first = extension && childrenOf(readDer(extension.value), tags.sequence)[0]
  const keyId = first?.tag === keyIdentifierTag ? first.body : undefined
  const country = countryOf(certificate.subject)
  const named = anchors.filter(
    (anchor) =>
      anchor.subject.equals(certificate.issuer) &&
      anchor.country === country &&
      (!keyId || !anchor.keyId || anchor.keyId.equals(keyId)),
  )
  // Which of several keys signed must be said (9303-12 section 7.1): to try them all is work that anybody could ask for.
  const [only, ...more] = named
  return only && more.length === 0 && isSignedBy(certificate, only) ? only : undefined
}

const documentTypeList = '67810801010602' // 2.23.136.1.1.6.2
const known = new Set<string>([
  oids.basicConstraints,
  oids.keyUsage,
  oids.privateKeyUsagePeriod,
  oids.subjectKeyId,
  oids.authorityKeyId,
  documentTypeList,
])
const digitalSignatureOnly = '0780'
const notCa = '3000' // `cA` is DEFAULT FALSE, which DER leaves out.

/**
 * Not a CA (basicConstraints may be left out), digitalSignature only, no extKeyUsage (who signs master lists has
 * one), nothing critical that we do not know. Throws DerError.
 */
export function isPassportSigner(certificate: UnverifiedCertificate): boolean {
  const constraints = certificate.extensions.get(oids.basicConstraints)
  if (constraints && constraints.value.toString('hex') !== notCa) return false
  if (keyUsageHex(certificate) !== digitalSignatureOnly) return false
  for (const [oid, { critical }] of certificate.extensions) {
    if (oid === oids.extKeyUsage || (critical && !known.has(oid))) return false
  }
  return true
}

/** What document codes a signer may sign; undefined: of every kind (9303-12 section 7.1.1.6). Throws DerError. */
export function documentTypesOf(certificate: UnverifiedCertificate): readonly string[] | undefined {
  const extension = certificate.extensions.get(documentTypeList)
  if (!extension) return undefined
  const [, list] = childrenOf(readDer(extension.value), tags.sequence)
  return childrenOf(list as Der, tags.set).map(({ body }) => body.toString('latin1').replace(/<+$/, ''))
}

/** When a signer's certificate holds, and its key may sign where it says so, Unix ms. Throws DerError. */
export function signerPeriod(certificate: UnverifiedCertificate) {
  const isLimited = certificate.extensions.has(oids.privateKeyUsagePeriod)
  const usage = usagePeriodMs(certificate)
  if (isLimited && !usage) throw new DerError('usage period malformed')
  const { notBeforeMs, notAfterMs } = certificate
  return { notBeforeMs, notAfterMs, usage }
}
export type SignerPeriod = ReturnType<typeof signerPeriod>
