// Handhelds: registered with proof of possession, rotated by both keys, suspended, revoked for good. A device key is
// never accepted twice (PROTOCOL section 10): rows are never deleted, and the hash of every key that a device has
// had is kept.
import { printBase64url, randomId, sha256 } from '../base/bytes.ts'
import { dayMs } from '../base/clock.ts'
import { checkP256, importP256Spki } from '../base/p256.ts'
import { bind } from '../base/t2l.ts'
import { change, changes, type Described, type Tx } from './changes.ts'
import { isLabel, type RegistryDb, RegistryError } from './schema.ts'

/** Life of a device key (PROTOCOL section 3). */
const deviceKeyMs = 90 * dayMs
/** A statement takes a bounded number of values. */
const rowsAtOnce = 500

const printable = /^[\x20-\x7e]{1,64}$/

/**
 * A reader that asks to be registered. `serial` and `model`: 1 to 64 printable ASCII characters each; `spki`: 91
 * bytes, P-256; `pop`: r||s by that key over `enrol{carrier, serial, spki}`.
 */
export type Enrolment = { outlet: string; serial: string; model: string; spki: Buffer; pop: Buffer }

/** Who acts and when; `operator` as in a change. */
export type By = { operator: string; nowMs: number }

/** Why an enrolment is refused whatever the registry holds: form first, then the key, then its proof. */
export function refusalOfEnrolment(carrier: string, asked: Enrolment): RegistryError | undefined {
  const { serial, model, spki, pop } = asked
  if (!printable.test(serial) || !printable.test(model)) {
    const form = 'Serial and model must be 1 to 64 printable ASCII characters each.'
    return new RegistryError(form, 'device malformed')
  }
  const key = importP256Spki(spki)
  if (!key) {
    const form = 'The device key must be an uncompressed P-256 SPKI of 91 bytes.'
    return new RegistryError(form, 'spki not P-256')
  }
  if (checkP256(key, bind('enrol', carrier, serial, spki), pop)) return undefined
  return new RegistryError(
    `The proof of possession is not by this key over enrol{"${carrier}", "${serial}", spki}; ` +
      'have the reader sign exactly these.',
    'proof of possession wrong',
  )
}

/** One result for each enrolment: the id that the gateway chose (16 bytes), or why not. */
export type Enrolled = { id: Buffer } | { refused: RegistryError; known?: Buffer }

/**
 * Registers readers of one carrier whose form and proof were checked; each stands or falls by itself. A refused key
 * that is this carrier's own device of the same serial comes with that device's id: its asker lost the first answer.
 * @throws RegistryError for an unknown carrier
 */
export async function enrol(
  tx: Tx,
  given: { carrier: string; asked: readonly Enrolment[] } & By,
): Promise<{ result: Enrolled[]; acts: Described[] }> {
  const { carrier, asked, operator, nowMs } = given
  const places = await outletsOf(tx, carrier)
  const used = await keysUsed(tx, asked)
  const suspended = await serialsSuspended(tx, carrier, asked)
  const rows: Awaited<ReturnType<typeof rowOf>>[] = []
  const result: Enrolled[] = []
  for (const one of asked) {
    const hash = sha256(one.spki).toString('hex')
    const standing = used.get(hash)
    if (!places.has(one.outlet)) result.push({ refused: outletUnknown(carrier, one.outlet) })
    else if (standing) {
      const own = standing.carrier === carrier && standing.serial === one.serial
      result.push({ refused: keyUsed(), ...(own ? { known: standing.id } : {}) })
    } else if (suspended.has(one.serial)) result.push({ refused: serialSuspended(one.serial) })
    else {
      const row = rowOf(carrier, one, nowMs)
      used.set(hash, row)
      rows.push(row)
      result.push({ id: row.id })
    }
  }
  for (let at = 0; at < rows.length; at += rowsAtOnce) {
    const some = rows.slice(at, at + rowsAtOnce)
    await tx.insertInto('devices').values(some).execute()
    const keys = some.map(({ id, spki_hash }) => ({ spki_hash, device: id }))
    await tx.insertInto('device_keys').values(keys).execute()
  }
  const acts = rows.map(({ id, outlet, serial, model, spki_hash }): Described => {
    const device = printBase64url(id)
    const key = printBase64url(spki_hash)
    const act = { act: 'device.register', device, carrier, outlet, serial, model, key }
    return { kind: 'device', subject: device, operator, nowMs, act, carrier }
  })
  return { result, acts }
}

function rowOf(carrier: string, { outlet, serial, model, spki }: Enrolment, nowMs: number) {
  const times = { registered_at: nowMs, not_after: nowMs + deviceKeyMs }
  const key = { spki, spki_hash: sha256(spki) }
  return { id: randomId(), carrier, outlet, serial, model, ...key, status: 'active', ...times }
}

async function outletsOf(tx: Tx, carrier: string): Promise<ReadonlySet<string>> {
  const admitted = await tx.selectFrom('carriers').select('id').where('id', '=', carrier).executeTakeFirst()
  if (!admitted) {
    const unknown = `Carrier "${carrier}" is unknown; see "vouchsafe carrier list".`
    throw new RegistryError(unknown, 'carrier unknown')
  }
  const rows = await tx.selectFrom('outlets').select('id').where('carrier', '=', carrier).execute()
  return new Set(rows.map((row) => row.id))
}

type KeyHolder = { id: Buffer; carrier: string; serial: string }

/** Of the keys asked for, those that any device ever had, by the hex of their hash. */
async function keysUsed(tx: Tx, asked: readonly Enrolment[]): Promise<Map<string, KeyHolder>> {
  const used = new Map<string, KeyHolder>()
  for (let at = 0; at < asked.length; at += rowsAtOnce) {
    const hashes = asked.slice(at, at + rowsAtOnce).map(({ spki }) => sha256(spki))
    const rows = await tx
      .selectFrom('device_keys')
      .innerJoin('devices', 'devices.id', 'device_keys.device')
      .select(['device_keys.spki_hash', 'devices.id', 'devices.carrier', 'devices.serial'])
      .where('device_keys.spki_hash', 'in', hashes)
      .execute()
    for (const { spki_hash, id, carrier, serial } of rows)
      used.set(Buffer.from(spki_hash).toString('hex'), { id: Buffer.from(id), carrier, serial })
  }
  return used
}

/** Of the serials asked for, those of suspended devices of the carrier: a new key does not lift a suspension. */
async function serialsSuspended(
  tx: Tx,
  carrier: string,
  asked: readonly Enrolment[],
): Promise<ReadonlySet<string>> {
  const suspended = new Set<string>()
  for (let at = 0; at < asked.length; at += rowsAtOnce) {
    const serials = asked.slice(at, at + rowsAtOnce).map(({ serial }) => serial)
    const rows = await tx
      .selectFrom('devices')
      .select('serial')
      .where('carrier', '=', carrier)
      .where('serial', 'in', serials)
      .where('status', '=', 'suspended')
      .execute()
    for (const { serial } of rows) suspended.add(serial)
  }
  return suspended
}

const outletUnknown = (carrier: string, outlet: string) =>
  new RegistryError(
    `Carrier "${carrier}" has no outlet "${outlet}"; see "vouchsafe carrier list".`,
    'outlet unknown',
  )
const serialSuspended = (serial: string) =>
  new RegistryError(
    `A device with serial "${serial}" is suspended; an operator reinstates it, a new key does not.`,
    'serial suspended',
  )
const keyUsed = () =>
  new RegistryError(
    'This device key was registered before; make a new one in the reader.',
    'key already used',
  )

/**
 * Registers one reader for an operator.
 * @returns seq of the change, and the id that the gateway chose, 16 bytes
 * @throws RegistryError that says what to do
 */
export async function registerDevice(
  db: RegistryDb,
  given: Enrolment & By & { carrier: string },
): Promise<{ seq: number; id: Buffer }> {
  const { carrier, operator, nowMs, ...asked } = given
  const refusal = refusalOfEnrolment(carrier, asked)
  if (refusal) throw refusal
  const { firstSeq, result } = await changes(db, async (tx) => {
    const { result, acts } = await enrol(tx, { carrier, asked: [asked], operator, nowMs })
    const [enrolled] = result
    if (!enrolled || 'refused' in enrolled) throw enrolled?.refused ?? keyUsed()
    return { result: enrolled.id, acts }
  })
  return { seq: firstSeq, id: result }
}

type Standing = 'active' | 'suspended' | 'revoked'
/** `carrier` narrows it to the devices of one: another's is unknown to it. */
type OfDevice = By & { id: Buffer; carrier?: string; reason?: string }

async function findDevice(tx: Tx, { id, carrier }: Pick<OfDevice, 'id' | 'carrier'>) {
  const row = await tx.selectFrom('devices').selectAll().where('id', '=', id).executeTakeFirst()
  if (row && (carrier === undefined || row.carrier === carrier)) return row
  const name = printBase64url(id)
  throw new RegistryError(`Device ${name} is unknown; see "vouchsafe device list".`, 'device unknown')
}

/** Puts a device into another standing, if `mayFollow` says so of its present one. */
export async function setDeviceStatus(
  tx: Tx,
  given: OfDevice & { act: string; status: Standing; mayFollow(standing: string): RegistryError | undefined },
): Promise<Described> {
  const { id, operator, nowMs, reason, act, status, mayFollow } = given
  if (reason !== undefined && !isLabel(reason)) {
    const form = 'The reason must be 1 to 100 characters, none of them a control character.'
    throw new RegistryError(form, 'reason malformed')
  }
  const device = await findDevice(tx, given)
  const refusal = mayFollow(device.status)
  if (refusal) throw refusal
  await tx.updateTable('devices').set({ status }).where('id', '=', id).execute()
  const subject = printBase64url(id)
  const said = { act, device: subject, ...(reason === undefined ? {} : { reason }) }
  return { kind: 'device', subject, operator, nowMs, act: said, carrier: device.carrier }
}

const act = async (db: RegistryDb, given: Parameters<typeof setDeviceStatus>[1]) => {
  const { seq } = await change(
    db,
    (described: Described) => described,
    (tx) => setDeviceStatus(tx, given),
  )
  return { seq }
}

/** What revokes a device in a transaction of the caller's. @throws RegistryError if it is unknown or revoked already */
export const revocation = (given: OfDevice): Parameters<typeof setDeviceStatus>[1] => ({
  ...given,
  ...{ act: 'device.revoke', status: 'revoked' as const },
  mayFollow(standing) {
    const name = printBase64url(given.id)
    if (standing === 'revoked') {
      return new RegistryError(
        `Device ${name} is revoked already; nothing was changed.`,
        'device already revoked',
      )
    }
    // Else its carrier could have the same handheld back under a new key.
    if (standing === 'suspended' && given.carrier !== undefined) {
      return new RegistryError(
        `Device ${name} is suspended, and does nothing; an operator decides about it.`,
        'device not active',
      )
    }
    return undefined
  },
})

/**
 * Revokes a device for good.
 * @throws RegistryError if the device is unknown or revoked already
 */
export const revokeDevice = (db: RegistryDb, given: OfDevice): Promise<{ seq: number }> =>
  act(db, revocation(given))

/**
 * Suspends a device until an operator reinstates it.
 * @throws RegistryError if the device is unknown or not active
 */
export const suspendDevice = (db: RegistryDb, given: OfDevice): Promise<{ seq: number }> =>
  act(db, {
    ...given,
    ...{ act: 'device.suspend', status: 'suspended' },
    mayFollow: (standing) => (standing === 'active' ? undefined : notActive(given.id, standing)),
  })

/** @throws RegistryError if the device is unknown or not suspended */
export const reinstateDevice = (db: RegistryDb, given: OfDevice): Promise<{ seq: number }> =>
  act(db, {
    ...given,
    ...{ act: 'device.reinstate', status: 'active' },
    mayFollow: (standing) =>
      standing === 'suspended'
        ? undefined
        : new RegistryError(
            `Device ${printBase64url(given.id)} is ${standing}, not suspended; nothing was changed.`,
            'device not suspended',
          ),
  })

const notActive = (id: Buffer, standing: string) =>
  new RegistryError(
    `Device ${printBase64url(id)} is ${standing}, not active; nothing was changed.`,
    'device not active',
  )

/** Revokes the active devices of an outlet; one act each. What is suspended is an operator's to decide about. */
export async function revokeOutlet(
  tx: Tx,
  given: By & { carrier: string; outlet: string },
): Promise<{ result: Buffer[]; acts: Described[] }> {
  const { carrier, outlet, operator, nowMs } = given
  if (!(await outletsOf(tx, carrier)).has(outlet)) throw outletUnknown(carrier, outlet)
  const rows = await tx
    .updateTable('devices')
    .set({ status: 'revoked' })
    .where('carrier', '=', carrier)
    .where('outlet', '=', outlet)
    .where('status', '=', 'active')
    .returning('id')
    .execute()
  const ids = rows.map(({ id }) => Buffer.from(id))
  const acts = ids.map((id): Described => {
    const subject = printBase64url(id)
    const said = { act: 'device.revoke', device: subject }
    return { kind: 'device', subject, operator, nowMs, act: said, carrier }
  })
  return { result: ids, acts }
}

/** `byOld` and `byNew`: r||s over `rotate{device, old spki, new spki}` by the key that goes and the one that comes. */
export type Rotation = { id: Buffer; carrier: string; spki: Buffer; byOld: Buffer; byNew: Buffer }

/**
 * Gives a device of the carrier a new key; its sessions go on. Old and new sign, so that neither a thief of the
 * old key's device record nor one who only has a new key can do it.
 * @throws RegistryError
 */
export async function rotateDevice(
  tx: Tx,
  given: Rotation & By,
): Promise<{ result: { notAfterMs: number }; acts: Described[] }> {
  const { id, carrier, spki, byOld, byNew, operator, nowMs } = given
  const device = await findDevice(tx, { id, carrier })
  if (device.status !== 'active' || Number(device.not_after) <= nowMs) {
    throw notActive(id, device.status === 'active' ? 'past the life of its key' : device.status)
  }
  const oldSpki = Buffer.from(device.spki)
  const message = bind('rotate', id, oldSpki, spki)
  const [oldKey, newKey] = [importP256Spki(oldSpki), importP256Spki(spki)]
  if (!newKey)
    throw new RegistryError('The new key must be an uncompressed P-256 SPKI of 91 bytes.', 'spki not P-256')
  if (!oldKey || !checkP256(oldKey, message, byOld) || !checkP256(newKey, message, byNew)) {
    throw new RegistryError(
      'A rotation is signed by both keys over rotate{device, old spki, new spki}; have the reader sign exactly these.',
      'rotation not proved',
    )
  }
  const hash = sha256(spki)
  const used = tx.selectFrom('device_keys').select('device').where('spki_hash', '=', hash)
  if (await used.executeTakeFirst()) throw keyUsed()
  const notAfterMs = nowMs + deviceKeyMs
  await tx.insertInto('device_keys').values({ spki_hash: hash, device: id }).execute()
  const renewed = { spki, spki_hash: hash, not_after: notAfterMs }
  await tx.updateTable('devices').set(renewed).where('id', '=', id).execute()
  const subject = printBase64url(id)
  const said = { act: 'device.rotate', device: subject, key: printBase64url(hash) }
  return {
    result: { notAfterMs },
    acts: [{ kind: 'device', subject, operator, nowMs, act: said, carrier }],
  }
}

/** At most `limit` devices by id, from after `after` (16 bytes), of one carrier or of all. */
export async function listDevices(
  db: RegistryDb,
  given: { carrier?: string; outlet?: string; after?: Buffer; limit: number },
) {
  let query = db.selectFrom('devices').selectAll().orderBy('id').limit(given.limit)
  if (given.carrier !== undefined) query = query.where('carrier', '=', given.carrier)
  if (given.outlet !== undefined) query = query.where('outlet', '=', given.outlet)
  if (given.after) query = query.where('id', '>', given.after)
  const rows = await query.execute()
  return rows.map(({ id, carrier, outlet, serial, model, status, registered_at, not_after }) => ({
    id: printBase64url(id),
    carrier,
    outlet,
    serial,
    model,
    status: status as Standing,
    registeredAtMs: Number(registered_at),
    notAfterMs: Number(not_after),
  }))
}
