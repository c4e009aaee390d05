// Card issuers that are trusted, and for which suite (PROTOCOL section 6). An anchor is trusted because an
// operator put it here; its own signature proves nothing.
import type { KeyObject } from 'node:crypto'
import { importP256Spki } from '../base/p256.ts'
import { isCa, keyUsageHex, parseCertificate } from './certificate.ts'
import type { Revocations } from './revocation.ts'

export type Anchor = { subject: Buffer; key: KeyObject; suite: 1 }
export type Anchors = readonly Anchor[]
export type CardTrust = { anchors: Anchors; crl: Revocations }

const signsCertificatesAndLists = '0106' // keyCertSign and cRLSign.

/** Loads issuer certificates, DER. Throws an Error that says which one and why. */
export function loadAnchors(certificates: readonly Buffer[]): Anchors {
  return certificates.map((der, i) => {
    const certificate = parseCertificate(der)
    const key = importP256Spki(certificate.spki)
    if (!key) throw new Error(`Card issuer ${i + 1} has a key that is not P-256.`)
    if (!isCa(certificate) || keyUsageHex(certificate) !== signsCertificatesAndLists) {
      throw new Error(`Card issuer ${i + 1} is not a CA for certificates and revocation lists.`)
    }
    return { subject: certificate.subject, key, suite: 1 as const }
  })
}
