// Card issuers that are trusted, and for which suite (PROTOCOL section 6). An anchor is trusted because an
// operator put it here; its own signature proves nothing.
import type { KeyObject } from 'node:crypto'
import { DerError, octets, readDer } from '../base/der.ts'
import { importP256Spki } from '../base/p256.ts'
import { isCa, keyUsageHex, oids, parseCertificate, type UnverifiedCertificate } from './certificate.ts'
import type { Revocations } from './revocation.ts'

/** `subject` is the name with its head, `keyId` the subjectKeyIdentifier that signers must name. */
export type Anchor = { subject: Buffer; keyId: Buffer; key: KeyObject; suite: 1 }
export type Anchors = readonly Anchor[]
export type CardTrust = { anchors: Anchors; crl: Revocations }

const signsCertificatesAndLists = '0106' // keyCertSign and cRLSign.
const fix = 'Fix: put the DER certificate of a card issuer CA there; see certs/README.md.'

/** Loads issuer certificates, DER. Throws an Error that says which one, why, and what to do. */
export function loadAnchors(certificates: readonly Buffer[]): Anchors {
  if (certificates.length === 0) throw new Error(`There is no card issuer to trust. ${fix}`)
  return certificates.map((der, i) => {
    try {
      return loadAnchor(der)
    } catch (error) {
      if (!(error instanceof DerError)) throw error
      throw new Error(`Card issuer ${i + 1} is not accepted: ${error.message}. ${fix}`, { cause: error })
    }
  })
}

function loadAnchor(der: Buffer): Anchor {
  const certificate = parseCertificate(der)
  const key = importP256Spki(certificate.spki)
  if (!key) throw new DerError('its key is not P-256')
  if (isCa(certificate) !== true || keyUsageHex(certificate) !== signsCertificatesAndLists) {
    throw new DerError('it is not a CA for certificates and revocation lists')
  }
  return { subject: certificate.subject, keyId: subjectKeyId(certificate), key, suite: 1 }
}

function subjectKeyId(certificate: UnverifiedCertificate): Buffer {
  const extension = certificate.extensions.get(oids.subjectKeyId)
  if (!extension) throw new DerError('it has no subjectKeyIdentifier')
  return octets(readDer(extension.value))
}
