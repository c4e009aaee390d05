// Whether a certificate is a document signer of a trusted issuer, for cards (PROTOCOL section 6). Revocation
// and the time of signing are the caller's next questions.
import { verify } from 'node:crypto'
import type { Anchors } from './anchors.ts'
import { isCa, keyUsageHex, oids, type UnverifiedCertificate, usagePeriodMs } from './certificate.ts'

const known = new Set<string>([
  oids.basicConstraints,
  oids.keyUsage,
  oids.privateKeyUsagePeriod,
  oids.subjectKeyId,
  oids.authorityKeyId,
])
const digitalSignatureOnly = '0780'

/** Signed by an anchor of the suite, which it names as issuer. */
export const isTrusted = (certificate: UnverifiedCertificate, anchors: Anchors, suite: number) =>
  certificate.algorithm === oids.ecdsaSha256 &&
  anchors.some(
    (anchor) =>
      anchor.suite === suite &&
      anchor.subject.equals(certificate.issuer) &&
      verify('sha256', certificate.tbs, anchor.key, certificate.signature),
  )

/** CA=false, digitalSignature only, no extKeyUsage, nothing critical that we do not know. */
export function isDocumentSigner(certificate: UnverifiedCertificate): boolean {
  if (isCa(certificate) !== false || keyUsageHex(certificate) !== digitalSignatureOnly) return false
  for (const [oid, { critical }] of certificate.extensions) {
    if (oid === oids.extKeyUsage || (critical && !known.has(oid))) return false
  }
  return true
}

/** The certificate holds now, and its key was allowed to sign at `signedMs`, which has passed. */
export function isInTime(certificate: UnverifiedCertificate, signedMs: number, nowMs: number): boolean {
  const usage = usagePeriodMs(certificate)
  if (!usage || signedMs > nowMs || signedMs < usage.fromMs || signedMs > usage.toMs) return false
  return certificate.notBeforeMs <= nowMs && nowMs <= certificate.notAfterMs
}
