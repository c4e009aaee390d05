// Certificates of carriers: issued from a carrier's request, revoked at once on every node. Which request is good
// and how a certificate is made is src/pki.
import { sameBytes } from '../base/bytes.ts'
import { change } from './changes.ts'
import type { By } from './devices.ts'
import { isLabel, type RegistryDb, RegistryError } from './schema.ts'

/** `serial` is hex as node prints it; `keyHash` SHA-256 of the SPKI. */
type Certificate = { serial: string; carrier: string; keyHash: Buffer; notAfterMs: number }

/**
 * Throws unless the key may be certified for the carrier: never one of another carrier's, and never one again
 * whose certificate was revoked.
 * @throws RegistryError
 */
export async function assertCertifiable(
  db: RegistryDb,
  { carrier, keyHash }: Pick<Certificate, 'carrier' | 'keyHash'>,
): Promise<void> {
  const known = await db.selectFrom('carriers').select('status').where('id', '=', carrier).executeTakeFirst()
  if (!known) {
    throw new RegistryError(
      `Carrier "${carrier}" is unknown; see "vouchsafe carrier list".`,
      'carrier unknown',
    )
  }
  if (known.status === 'expelled')
    throw new RegistryError(`Carrier "${carrier}" is expelled.`, 'carrier expelled')
  const rows = await db.selectFrom('certificates').selectAll().execute()
  const same = rows.filter((row) => sameBytes(Buffer.from(row.key_hash), keyHash))
  if (same.some((row) => row.carrier !== carrier || row.status === 'revoked')) {
    throw new RegistryError(
      'This key was certified before, for another carrier or in a certificate that is revoked; make a new key.',
      'certificate key refused',
    )
  }
}

/** Keeps that a certificate was issued. @throws RegistryError as `assertCertifiable` */
export async function recordCertificate(db: RegistryDb, given: Certificate & By): Promise<{ seq: number }> {
  const { serial, carrier, keyHash, notAfterMs, operator, nowMs } = given
  const act = { act: 'certificate.issue', carrier, serial, notAfter: notAfterMs }
  const described = () => ({ kind: 'certificate' as const, subject: serial, operator, nowMs, act, carrier })
  const { seq } = await change(db, described, async (tx) => {
    await assertCertifiable(tx, given)
    const row = { serial, carrier, key_hash: keyHash, not_after: notAfterMs, status: 'active' }
    await tx.insertInto('certificates').values(row).execute()
  })
  return { seq }
}

/**
 * Revokes a certificate for good: no node lets it in once it has read the change, at most 1 s later.
 * @throws RegistryError if it is unknown or revoked already
 */
export async function revokeCertificate(
  db: RegistryDb,
  given: By & { serial: string; reason: string },
): Promise<{ seq: number; carrier: string }> {
  const { serial, reason, operator, nowMs } = given
  if (!isLabel(reason)) {
    throw new RegistryError(
      'The reason must be 1 to 100 characters, none of them a control character.',
      'reason malformed',
    )
  }
  const described = (carrier: string) => {
    const act = { act: 'certificate.revoke', carrier, serial, reason }
    return { kind: 'certificate' as const, subject: serial, operator, nowMs, act, carrier }
  }
  const { seq, result } = await change(db, described, async (tx) => {
    const row = await tx
      .selectFrom('certificates')
      .selectAll()
      .where('serial', '=', serial)
      .executeTakeFirst()
    if (!row) {
      throw new RegistryError(
        `Certificate ${serial} is unknown; see "vouchsafe carrier certificates".`,
        'certificate unknown',
      )
    }
    if (row.status === 'revoked') {
      throw new RegistryError(`Certificate ${serial} is revoked already.`, 'certificate already revoked')
    }
    await tx.updateTable('certificates').set({ status: 'revoked' }).where('serial', '=', serial).execute()
    return row.carrier
  })
  return { seq, carrier: result }
}

/** Certificates of one carrier or of all, those that end first before the others. */
export async function listCertificates(db: RegistryDb, carrier?: string) {
  let query = db.selectFrom('certificates').selectAll().orderBy('not_after').orderBy('serial')
  if (carrier !== undefined) query = query.where('carrier', '=', carrier)
  const rows = await query.execute()
  return rows.map(({ serial, carrier, not_after, status }) => ({
    ...{ serial, carrier, notAfterMs: Number(not_after) },
    status: status as 'active' | 'revoked',
  }))
}

/** Serials of every revoked certificate that has not ended by itself. */
export async function revokedSerials(db: RegistryDb, nowMs: number): Promise<ReadonlySet<string>> {
  const rows = await db
    .selectFrom('certificates')
    .select('serial')
    .where('status', '=', 'revoked')
    .where('not_after', '>', nowMs)
    .execute()
  return new Set(rows.map((row) => row.serial))
}

/** When what carriers hold comes to an end: active certificates, and reviews of active carriers; Unix ms. */
export async function readEnds(db: RegistryDb): Promise<{ certificate: number[]; review: number[] }> {
  const certificates = await db
    .selectFrom('certificates')
    .select('not_after')
    .where('status', '=', 'active')
    .execute()
  const reviews = await db
    .selectFrom('carriers')
    .select('review_at')
    .where('status', '=', 'active')
    .where('review_at', 'is not', null)
    .execute()
  return {
    certificate: certificates.map((row) => Number(row.not_after)),
    review: reviews.map((row) => Number(row.review_at)),
  }
}
