// Whether a certificate is a document signer of a trusted issuer, for cards (PROTOCOL section 6). Revocation
// and the time of signing are the caller's next questions.
import { tags } from '../base/der.ts'
import { readForward } from '../base/der-cursor.ts'
import type { Anchor } from './anchors.ts'
import { keyUsageHex, oids, type UnverifiedCertificate, usagePeriodMs } from './certificate.ts'
import type { Suite } from './suites.ts'

const known = new Set<string>([
  oids.basicConstraints,
  oids.keyUsage,
  oids.privateKeyUsagePeriod,
  oids.subjectKeyId,
  oids.authorityKeyId,
])
const digitalSignatureOnly = '0780'
// `cA` is DEFAULT FALSE, which DER leaves out: only the empty SEQUENCE says CA=false.
const notCa = '3000'

/** The anchor of the suite that signed it, which it names as issuer both by name and by key. Throws DerError. */
export function findIssuer<A extends Anchor>(
  certificate: UnverifiedCertificate,
  anchors: readonly A[],
  suite: Suite,
): A | undefined {
  if (certificate.algorithm !== suite.signatureOid) return undefined
  const keyId = authorityKeyId(certificate)
  return anchors.find(
    (anchor) =>
      anchor.suite === suite &&
      anchor.subject.equals(certificate.issuer) &&
      keyId !== undefined &&
      anchor.keyId.equals(keyId) &&
      anchor.key.checkDer(certificate.tbs, certificate.signature),
  )
}

const keyIdentifierTag = 0x80 // [0] IMPLICIT OCTET STRING (RFC 5280 section 4.2.1.1).

function authorityKeyId(certificate: UnverifiedCertificate): Buffer | undefined {
  const extension = certificate.extensions.get(oids.authorityKeyId)
  if (!extension) return undefined
  const identifier = readForward(extension.value).into(tags.sequence)
  return identifier.tag === keyIdentifierTag ? identifier.body(keyIdentifierTag) : undefined
}

/** CA=false, digitalSignature only, no extKeyUsage, nothing critical that we do not know. Throws DerError. */
export function isDocumentSigner(certificate: UnverifiedCertificate): boolean {
  const constraints = certificate.extensions.get(oids.basicConstraints)
  if (constraints?.value.toString('hex') !== notCa) return false
  if (keyUsageHex(certificate) !== digitalSignatureOnly) return false
  for (const oid of certificate.extensions.keys()) {
    if (oid === oids.extKeyUsage) return false
    if (!known.has(oid) && certificate.extensions.get(oid)?.critical) return false
  }
  return true
}

/** When a certificate holds and when its key may sign, Unix ms; no `usage`: never. */
export type Period = {
  notBeforeMs: number
  notAfterMs: number
  usage: { fromMs: number; toMs: number } | undefined
}

/** Throws DerError. */
export const periodOf = (certificate: UnverifiedCertificate): Period => ({
  notBeforeMs: certificate.notBeforeMs,
  notAfterMs: certificate.notAfterMs,
  usage: usagePeriodMs(certificate),
})

/** The certificate holds now, and its key was allowed to sign at `signedMs`, which has passed. */
export function isInTime({ notBeforeMs, notAfterMs, usage }: Period, signedMs: number, nowMs: number) {
  if (!usage || signedMs > nowMs || signedMs < usage.fromMs || signedMs > usage.toMs) return false
  return notBeforeMs <= nowMs && nowMs <= notAfterMs
}
