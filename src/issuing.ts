// A carrier's certificate from its request, and the end of one: what a request must be and how a certificate is made
// is src/pki, what the registry keeps of it src/registry. The carrier CA's key is needed only here.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readPem } from './base/pem.ts'
import { assertCertifiable, recordCertificate, revokeCertificate } from './registry/certificates.ts'
import type { By } from './registry/devices.ts'
import { type RegistryDb, RegistryError } from './registry/schema.ts'

const caName = 'carrier-ca'

/** Certificate and key of the carrier CA. @throws RegistryError where the key is kept elsewhere */
function readCa(certsDir: string) {
  const key = join(certsDir, `${caName}.key`)
  if (!existsSync(key)) {
    throw new RegistryError(
      `The key of the carrier CA is not at ${key}. Run the command where it is kept, with VOUCHSAFE_CERTS set to its folder.`,
    )
  }
  const { raw } = new X509Certificate(readFileSync(join(certsDir, `${caName}.crt`)))
  return { caCertificate: raw, caKey: createPrivateKey(readFileSync(key)) }
}

/**
 * Issues a certificate for the key of a request.
 * @param given.request PKCS#10, PEM or DER
 * @throws RegistryError with what is wrong with the request, or why the carrier gets none
 */
export async function certify(
  db: RegistryDb,
  given: By & { certsDir: string; carrier: string; request: Buffer },
): Promise<{ pem: string; serial: string; notAfterMs: number; seq: number }> {
  const { certsDir, carrier, request, operator, nowMs } = given
  const ca = readCa(certsDir)
  // Its library costs 20 MB: only who issues has it.
  const { checkRequest, RequestRefused } = await import('./pki/request.ts')
  const { IssueRefused, issueCarrierCertificate, KeyRefused } = await import('./pki/issue.ts')
  const refuse = (error: unknown): never => {
    const ours =
      error instanceof RequestRefused || error instanceof IssueRefused || error instanceof KeyRefused
    if (ours) throw new RegistryError(error.message, 'certificate request refused')
    throw error
  }
  const asked = await checkRequest({ bytes: request, carrier }).catch(refuse)
  await assertCertifiable(db, { carrier, keyHash: asked.keyHash })
  const made = await issueCarrierCertificate({ ...ca, carrier, spki: asked.spki, nowMs }).catch(refuse)
  const { pem, serial, notAfterMs } = made
  // Kept before it is handed out: dying here leaves a certificate on record that nobody has.
  const kept = { serial, carrier, keyHash: asked.keyHash, notAfterMs, operator, nowMs }
  const { seq } = await recordCertificate(db, kept)
  return { pem, serial, notAfterMs, seq }
}

/**
 * Revokes a certificate in the registry, which every node follows, and in the revocation list where the key of the
 * carrier CA is at hand.
 * @throws RegistryError if it is unknown or revoked already
 */
export async function decertify(
  db: RegistryDb,
  given: By & { certsDir: string; serial: string; reason: string },
): Promise<{ seq: number; carrier: string; listed: boolean; unlisted?: string }> {
  const { certsDir, serial, nowMs } = given
  const revoked = await revokeCertificate(db, given)
  if (!existsSync(join(certsDir, `${caName}.key`))) return { ...revoked, listed: false }
  const { addToRevocationList } = await import('./pki/issue.ts')
  const file = join(certsDir, `${caName}.crl`)
  try {
    const given = { ...readCa(certsDir), list: readPem(file), serials: [serial], nowMs }
    replace(file, printPem('X509 CRL', await addToRevocationList(given)))
    return { ...revoked, listed: true }
  } catch (error) {
    // In the registry it is revoked, and no node lets it in: what is wrong with the list is a sentence beside that.
    return { ...revoked, listed: false, unlisted: error instanceof Error ? error.message : String(error) }
  }
}

const printPem = (label: string, der: Buffer) => {
  const lines = der.toString('base64').replaceAll(/.{64}(?=.)/g, '$&\n')
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`
}

/** Whole or not at all: gateways read this file while it changes. */
function replace(file: string, text: string): void {
  const next = `${file}.next`
  writeFileSync(next, text, { mode: 0o644 })
  renameSync(next, file)
}
