// Handhelds: registered with proof of possession, revoked for good. A device key is never accepted twice
// (PROTOCOL section 10): rows are never deleted, and the hash of the key is unique among all of them.
import type { Transaction } from 'kysely'
import { printBase64url, randomId, sha256 } from '../base/bytes.ts'
import { dayMs } from '../base/clock.ts'
import { checkP256, importP256Spki } from '../base/p256.ts'
import { bind } from '../base/t2l.ts'
import { change } from './changes.ts'
import { type RegistryDb, RegistryError, type RegistryTables } from './schema.ts'

/** Life of a device key (PROTOCOL section 3). */
const deviceKeyMs = 90 * dayMs

const printable = /^[\x20-\x7e]{1,64}$/

type Registration = {
  carrier: string
  outlet: string
  serial: string
  model: string
  spki: Buffer
  pop: Buffer
  operator: string
  nowMs: number
}

/**
 * Registers a handheld's reader.
 * @param given.serial 1 to 64 printable ASCII characters, as `given.model`
 * @param given.spki 91 bytes, P-256
 * @param given.pop r||s by the device key over `enrol{carrier, serial, spki}` (PROTOCOL section 10)
 * @returns seq of the change, and the id that the gateway chose, 16 bytes
 * @throws RegistryError that says what to do
 */
export async function registerDevice(
  db: RegistryDb,
  given: Registration,
): Promise<{ seq: number; id: Buffer }> {
  const { carrier, outlet, serial, model, spki, operator, nowMs } = given
  assertProven(given)
  const id = randomId()
  const subject = printBase64url(id)
  const spkiHash = sha256(spki)
  const key = printBase64url(spkiHash)
  const act = { act: 'device.register', device: subject, carrier, outlet, serial, model, key }
  const described = () => ({ kind: 'device' as const, subject, operator, nowMs, act })
  const { seq } = await change(db, described, async (tx) => {
    await assertPlaceFor(tx, { carrier, outlet, spkiHash })
    const times = { registered_at: nowMs, not_after: nowMs + deviceKeyMs }
    const row = { id, carrier, outlet, serial, model, spki, spki_hash: spkiHash, status: 'active', ...times }
    await tx.insertInto('devices').values(row).execute()
  })
  return { seq, id }
}

/** Form first, then the key, then that its holder wants exactly this. Throws RegistryError. */
function assertProven({ carrier, serial, model, spki, pop }: Registration): void {
  if (!printable.test(serial) || !printable.test(model)) {
    throw new RegistryError(
      'Serial and model must be 1 to 64 printable ASCII characters each.',
      'device malformed',
    )
  }
  const key = importP256Spki(spki)
  if (!key) {
    throw new RegistryError(
      'The device key must be an uncompressed P-256 SPKI of 91 bytes.',
      'spki not P-256',
    )
  }
  if (!checkP256(key, bind('enrol', carrier, serial, spki), pop)) {
    throw new RegistryError(
      `The proof of possession is not by this key over enrol{"${carrier}", "${serial}", spki}; ` +
        'have the reader sign exactly these.',
      'proof of possession wrong',
    )
  }
}

async function assertPlaceFor(
  tx: Transaction<RegistryTables>,
  given: { carrier: string; outlet: string; spkiHash: Buffer },
): Promise<void> {
  const { carrier, outlet, spkiHash } = given
  const admitted = await tx.selectFrom('carriers').select('id').where('id', '=', carrier).executeTakeFirst()
  if (!admitted) {
    throw new RegistryError(
      `Carrier "${carrier}" is unknown; see "vouchsafe carrier list".`,
      'carrier unknown',
    )
  }
  const place = await tx
    .selectFrom('outlets')
    .select('id')
    .where('carrier', '=', carrier)
    .where('id', '=', outlet)
    .executeTakeFirst()
  if (!place) {
    throw new RegistryError(
      `Carrier "${carrier}" has no outlet "${outlet}"; see "vouchsafe carrier list".`,
      'outlet unknown',
    )
  }
  const used = await tx
    .selectFrom('devices')
    .select('id')
    .where('spki_hash', '=', spkiHash)
    .executeTakeFirst()
  if (used) {
    throw new RegistryError(
      'This device key was registered before; make a new one in the reader.',
      'key already used',
    )
  }
}

/**
 * Revokes a device for good.
 * @param given.id 16 bytes
 * @throws RegistryError if the device is unknown or revoked already
 */
export async function revokeDevice(
  db: RegistryDb,
  given: { id: Buffer; operator: string; nowMs: number },
): Promise<{ seq: number }> {
  const { id, operator, nowMs } = given
  const subject = printBase64url(id)
  const act = { act: 'device.revoke', device: subject }
  const described = () => ({ kind: 'device' as const, subject, operator, nowMs, act })
  const { seq } = await change(db, described, async (tx) => {
    const known = await tx.selectFrom('devices').select('status').where('id', '=', id).executeTakeFirst()
    if (!known) {
      throw new RegistryError(`Device ${subject} is unknown; see "vouchsafe device list".`, 'device unknown')
    }
    if (known.status === 'revoked') {
      throw new RegistryError(
        `Device ${subject} is revoked already; nothing was changed.`,
        'device already revoked',
      )
    }
    await tx.updateTable('devices').set({ status: 'revoked' }).where('id', '=', id).execute()
  })
  return { seq }
}

/** At most `limit` devices by id, from after `after` (16 bytes), of one carrier or of all. */
export async function listDevices(
  db: RegistryDb,
  given: { carrier?: string; after?: Buffer; limit: number },
) {
  let query = db.selectFrom('devices').selectAll().orderBy('id').limit(given.limit)
  if (given.carrier !== undefined) query = query.where('carrier', '=', given.carrier)
  if (given.after) query = query.where('id', '>', given.after)
  const rows = await query.execute()
  return rows.map(({ id, carrier, outlet, serial, model, status, registered_at, not_after }) => ({
    id: printBase64url(id),
    carrier,
    outlet,
    serial,
    model,
    status,
    registeredAtMs: Number(registered_at),
    notAfterMs: Number(not_after),
  }))
}
