// A carrier's certificate from its request, and the end of one: what a request must be and how a certificate is made
// is src/pki, what the registry keeps of it src/registry. The carrier CA's key is needed only here.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { syncFolder, withFolderLock, writeWhole } from './base/folder.ts'
import { printPem, readPem } from './base/pem.ts'
import { KeyRefused } from './pki/carrier-key.ts'
import {
  assertCertifiable,
  recordCertificate,
  revokeCertificate,
  revokedSerials,
} from './registry/certificates.ts'
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
  const { IssueRefused, issueCarrierCertificate } = await import('./pki/issue.ts')
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

type Revocation = By & { certsDir: string; serial: string; reason: string }
/** Whether the serial is on the revocation list; `unlisted` is what is wrong with that. */
type Listing = { listed: boolean; unlisted?: string }

/**
 * Revokes a certificate in the registry, which every node follows, and in the revocation list where the key of the
 * carrier CA is at hand.
 * @throws RegistryError if it is unknown or revoked already; of the latter the list is made to tell all the same
 */
export async function decertify(
  db: RegistryDb,
  given: Revocation,
): Promise<{ seq: number; carrier: string } & Listing> {
  const revoked = await revokeCertificate(db, given).catch(async (error: unknown) => {
    throw error instanceof RegistryError && error.reason === 'certificate already revoked'
      ? await relisted(db, given, error)
      : error
  })
  // In the registry it is revoked, and no node lets it in: what is wrong with the list is a sentence beside that.
  // Dying here: the list lacks it until the next revocation, or the same again, lists all that are revoked.
  return { ...revoked, ...(await listRevoked(db, given)) }
}

async function relisted(db: RegistryDb, given: Revocation, error: RegistryError): Promise<RegistryError> {
  const { listed, unlisted } = await listRevoked(db, given)
  if (listed) return new RegistryError(`${error.message} It is on the revocation list too.`, error.reason)
  if (unlisted === undefined) return error
  return new RegistryError(`${error.message} It is not on the revocation list: ${unlisted}`, error.reason)
}

/** Puts all that the registry holds revoked on the list, so that what one call could not list the next one does. */
async function listRevoked(db: RegistryDb, { certsDir, serial, nowMs }: Revocation): Promise<Listing> {
  if (!existsSync(join(certsDir, `${caName}.key`))) return { listed: false }
  try {
    const { addToRevocationList } = await import('./pki/issue.ts')
    // The lock of whoever renews the lists, and all of what the registry holds: no call undoes another's.
    await withFolderLock(certsDir, async () => {
      const file = `${caName}.crl`
      const serials = [...(await revokedSerials(db, nowMs)), serial]
      const list = readPem(join(certsDir, file))
      const next = await addToRevocationList({ ...readCa(certsDir), list, serials, nowMs })
      writeWhole(certsDir, file, { text: printPem('X509 CRL', next), mode: 0o644 })
      syncFolder(certsDir)
    })
    return { listed: true }
  } catch (error) {
    return { listed: false, unlisted: error instanceof Error ? error.message : String(error) }
  }
}
