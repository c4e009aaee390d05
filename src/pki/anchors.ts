// Card issuers that are trusted, and for which suite (PROTOCOL section 6). An anchor is trusted because an
// operator put it here; its own signature proves nothing.
import { DerError, octets, readDer } from '../base/der.ts'
import { isCa, keyUsageHex, oids, parseCertificate, type UnverifiedCertificate } from './certificate.ts'
import type { Revocations } from './revocation.ts'
import { p256, type Suite, type SuiteKey } from './suites.ts'

/** `subject` is the name with its head, `keyId` the subjectKeyIdentifier that certificates must name. */
export type Anchor = {
  subject: Buffer
  keyId: Buffer
  spki: Buffer
  key: SuiteKey
  suite: Suite
  /** When the CA itself holds, Unix ms. */
  notBeforeMs: number
  notAfterMs: number
}
export type Anchors = readonly Anchor[]

/** A card issuer, and for what it is trusted. */
export type CardAnchor = Anchor & {
  /** ISO 3166 alpha-3 of the cards that its signers may sign. */
  state: string
  /** What the record's issuing authority must begin with, one of these; an empty list: no limit. */
  authorities: readonly string[]
}

/** What cards are checked against. Another object after each change, so that memos know that there was one. */
export type CardTrust = {
  anchors: readonly CardAnchor[]
  /** From then on the anchors decide nothing, Unix ms. */
  notAfterMs: number
  /** The revocation list in use of an anchor; undefined: there is none. */
  listOf(anchor: CardAnchor): Revocations | undefined
}

const signsCertificatesAndLists = '0106' // keyCertSign and cRLSign.
const fix = 'Fix: put the DER certificate of a card issuer CA there; see certs/README.md.'

/** Loads CA certificates, DER, of one suite. Throws an Error that says which one, why, and what to do. */
export function loadAnchors(certificates: readonly Buffer[], suite: Suite = p256): Anchors {
  if (certificates.length === 0) throw new Error(`There is no card issuer to trust. ${fix}`)
  return certificates.map((der, i) => {
    try {
      return loadAnchor(der, suite)
    } catch (error) {
      if (!(error instanceof DerError)) throw error
      throw new Error(`Card issuer ${i + 1} is not accepted: ${error.message}. ${fix}`, { cause: error })
    }
  })
}

/** A CA of the suite, DER. Throws DerError. */
export function loadAnchor(der: Buffer, suite: Suite): Anchor {
  const certificate = parseCertificate(der)
  const key = suite.importKey(certificate.spki)
  if (!key) throw new DerError(`its key is not ${suite.name}`)
  if (isCa(certificate) !== true || keyUsageHex(certificate) !== signsCertificatesAndLists) {
    throw new DerError('it is not a CA for certificates and revocation lists')
  }
  const { subject, spki, notBeforeMs, notAfterMs } = certificate
  return { subject, keyId: subjectKeyId(certificate), spki, key, suite, notBeforeMs, notAfterMs }
}

function subjectKeyId(certificate: UnverifiedCertificate): Buffer {
  const extension = certificate.extensions.get(oids.subjectKeyId)
  if (!extension) throw new DerError('it has no subjectKeyIdentifier')
  return octets(readDer(extension.value))
}
