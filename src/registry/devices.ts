// Handhelds: registered with proof of possession, revoked for good. A device key is never accepted twice.
import { printBase64url, randomId, sha256 } from '../base/bytes.ts'
import { dayMs } from '../base/clock.ts'
import { checkP256, importP256Spki } from '../base/p256.ts'
import { bind } from '../base/t2l.ts'
import { change } from './changes.ts'
import { type RegistryDb, RegistryError } from './schema.ts'

/** Life of a device key (PROTOCOL section 3). */
const deviceKeyMs = 90 * dayMs

/**
 * Registers a handheld's reader.
 * @param given.spki 91 bytes, P-256
 * @param given.pop r||s by the device key over `enrol{carrier, serial, spki}` (PROTOCOL section 10)
 * @returns the id that the gateway chose, 16 bytes
 * @throws RegistryError that says what to do
 */
export async function registerDevice(
  db: RegistryDb,
  given: {
    carrier: string
    outlet: string
    serial: string
    model: string
    spki: Buffer
    pop: Buffer
    operator: string
    nowMs: number
  },
): Promise<{ seq: number; id: Buffer }> {
  const { carrier, outlet, serial, model, spki, pop, operator, nowMs } = given
  const key = importP256Spki(spki)
  if (!key) throw new RegistryError('The device key must be an uncompressed P-256 SPKI of 91 bytes.')
  if (!checkP256(key, bind('enrol', carrier, serial, spki), pop)) {
    throw new RegistryError(
      'The proof of possession is not the device key’s over enrol{carrier, serial, spki}.',
    )
  }
  const id = randomId()
  const subject = printBase64url(id)
  const spkiHash = sha256(spki)
  const act = {
    act: 'device.register',
    device: subject,
    carrier,
    outlet,
    serial,
    model,
    key: printBase64url(spkiHash),
  }
  const described = () => ({ kind: 'device' as const, subject, operator, nowMs, act })
  const { seq } = await change(db, described, async (tx) => {
    const place = await tx
      .selectFrom('outlets')
      .select('id')
      .where('carrier', '=', carrier)
      .where('id', '=', outlet)
      .executeTakeFirst()
    if (!place) throw new RegistryError(`Carrier "${carrier}" has no outlet "${outlet}".`)
    const used = await tx
      .selectFrom('devices')
      .select('id')
      .where('spki_hash', '=', spkiHash)
      .executeTakeFirst()
    if (used) throw new RegistryError('This device key was registered before; make a new one in the reader.')
    const times = { registered_at: nowMs, not_after: nowMs + deviceKeyMs }
    const row = { id, carrier, outlet, serial, model, spki, spki_hash: spkiHash, status: 'active', ...times }
    await tx.insertInto('devices').values(row).execute()
  })
  return { seq, id }
}

/** @throws RegistryError if the device is unknown or revoked already */
export async function revokeDevice(
  db: RegistryDb,
  given: { id: Buffer; operator: string; nowMs: number },
): Promise<{ seq: number }> {
  const { id, operator, nowMs } = given
  const subject = printBase64url(id)
  const act = { act: 'device.revoke', device: subject }
  const described = () => ({ kind: 'device' as const, subject, operator, nowMs, act })
  return change(db, described, async (tx) => {
    const { numUpdatedRows } = await tx
      .updateTable('devices')
      .set({ status: 'revoked' })
      .where('id', '=', id)
      .where('status', '=', 'active')
      .executeTakeFirst()
    if (numUpdatedRows === 0n) throw new RegistryError(`Device ${subject} is unknown or revoked already.`)
  })
}

/** Devices by id, from after `after`. */
export async function listDevices(
  db: RegistryDb,
  given: { carrier?: string; after?: Buffer; limit: number },
) {
  let query = db.selectFrom('devices').selectAll().orderBy('id').limit(given.limit)
  if (given.carrier !== undefined) query = query.where('carrier', '=', given.carrier)
  if (given.after) query = query.where('id', '>', given.after)
  const rows = await query.execute()
  return rows.map(({ id, carrier, outlet, serial, model, status, not_after }) => ({
    id: printBase64url(id),
    carrier,
    outlet,
    serial,
    model,
    status,
    notAfterMs: Number(not_after),
  }))
}
