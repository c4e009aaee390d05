// Whether a certificate is a document signer of a trusted issuer, for cards (PROTOCOL section 6). Revocation
// and the time of signing are the caller's next questions.
import { verify } from 'node:crypto'
import { childrenOf, readDer, tags } from '../base/der.ts'
import type { Anchors } from './anchors.ts'
import { keyUsageHex, oids, type UnverifiedCertificate, usagePeriodMs } from './certificate.ts'

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

/** Signed by an anchor of the suite, which it names as issuer both by name and by key. Throws DerError. */
export function isTrusted(certificate: UnverifiedCertificate, anchors: Anchors, suite: number): boolean {
  if (certificate.algorithm !== oids.ecdsaSha256) return false
  const keyId = authorityKeyId(certificate)
  return anchors.some(
    (anchor) =>
      anchor.suite === suite &&
      anchor.subject.equals(certificate.issuer) &&
      keyId !== undefined &&
      anchor.keyId.equals(keyId) &&
      verify('sha256', certificate.tbs, anchor.key, certificate.signature),
  )
}

const keyIdentifierTag = 0x80 // [0] IMPLICIT OCTET STRING (RFC 5280 section 4.2.1.1).

function authorityKeyId(certificate: UnverifiedCertificate): Buffer | undefined {
  const extension = certificate.extensions.get(oids.authorityKeyId)
  if (!extension) return undefined
  const [first] = childrenOf(readDer(extension.value), tags.sequence)
  return first?.tag === keyIdentifierTag ? first.body : undefined
}

/** CA=false, digitalSignature only, no extKeyUsage, nothing critical that we do not know. Throws DerError. */
export function isDocumentSigner(certificate: UnverifiedCertificate): boolean {
  const constraints = certificate.extensions.get(oids.basicConstraints)
  if (constraints?.value.toString('hex') !== notCa) return false
  if (keyUsageHex(certificate) !== digitalSignatureOnly) return false
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
