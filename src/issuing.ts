// A carrier's certificate from its request, and the end of one: what a request must be and how a certificate is made
// is src/pki, what the registry keeps of it src/registry. The carrier CA's key is needed only here.
import { createPrivateKey, randomBytes, X509Certificate } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fchmodSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { readPem } from './base/pem.ts'
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
    await locked(certsDir, async () => {
      const file = `${caName}.crl`
      const serials = [...(await revokedSerials(db, nowMs)), serial]
      const list = readPem(join(certsDir, file))
      const next = await addToRevocationList({ ...readCa(certsDir), list, serials, nowMs })
      replace(certsDir, file, printPem('X509 CRL', next))
    })
    return { listed: true }
  } catch (error) {
    return { listed: false, unlisted: error instanceof Error ? error.message : String(error) }
  }
}

const printPem = (label: string, der: Buffer) => {
  const lines = der.toString('base64').replaceAll(/.{64}(?=.)/g, '$&\n')
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`
}

/**
 * Whole or not at all: gateways, some of them of other users, read this file while it changes. Under the lock, and
 * by a name that `vouchsafe pki` takes away if we die before the renaming.
 */
function replace(folder: string, file: string, text: string): void {
  const temporary = join(folder, `.${file}.${randomBytes(6).toString('hex')}.tmp`)
  try {
    const fd = openSync(temporary, 'wx')
    try {
      fchmodSync(fd, 0o644) // Whatever the umask.
      writeFileSync(fd, text)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    renameSync(temporary, join(folder, file))
  } finally {
    rmSync(temporary, { force: true })
  }
  const fd = openSync(folder, 'r')
  fsyncSync(fd)
  closeSync(fd)
}

const lockTries = 500
const lockTryMs = 20
const sqliteBusy = 5

/**
 * Runs `work` alone among all that write the lists of this folder: the lock is that of certs/generate.ts, which
 * renews them. It is SQLite's on an empty file, so it ends with its process however that ends. Waits without
 * blocking, because the holder may be another call of this process.
 */
async function locked(folder: string, work: () => Promise<void>): Promise<void> {
  const lock = new DatabaseSync(join(folder, '.lock'), { timeout: 0 })
  try {
    for (let tries = 1; !begins(lock); tries++) {
      if (tries === lockTries) {
        const seconds = (lockTries * lockTryMs) / 1000
        throw new Error(`${folder} has been locked by another process for ${seconds} s; try again.`)
      }
      await sleep(lockTryMs)
    }
    await work()
  } finally {
    lock.close()
  }
}

function begins(lock: DatabaseSync): boolean {
  try {
    lock.exec('begin exclusive')
    return true
  } catch (error) {
    if ((error as { errcode?: number }).errcode === sqliteBusy) return false
    throw error
  }
}
