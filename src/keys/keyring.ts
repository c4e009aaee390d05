// The keyring: independent random epoch keys, made ahead of use by unique insert, wrapped under the
// versioned KEK in a store of its own (PROTOCOL section 3). It knows lives, not uses.
import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { type Kysely, sql } from 'kysely'
import { present } from '../base/assert.ts'
import { type Clock, epochOf } from '../base/clock.ts'
import { kyselyOver } from '../base/kysely.ts'
import { type Holder, reportHolder } from './holders.ts'
import { type KindName, kindNames, kindOf } from './kinds.ts'
import { importKey, type KekSet, type KeyRow, type KeyringTables, openKeyringFile, sealKey } from './store.ts'

export type { KekSet }
export type EpochKey = { epoch: number; key: KeyObject }

const tendEveryMs = 15_000
const rereadMsMin = 1000
/** The serving thread waits no longer for another process's write; tending is tried again. */
const lockMsMax = 100
const insertTriesMax = 3

export class Keyring {
  readonly #db: Kysely<KeyringTables>
  readonly #loadKeks: () => KekSet
  readonly #clock: Clock
  readonly #keys = new Map<string, KeyObject>()
  readonly #listeners = new Set<() => void>()
  #keks: KekSet
  #holder: Holder | undefined
  #timer: NodeJS.Timeout | undefined
  #tending: Promise<void> | undefined
  #rereadAt = Number.NEGATIVE_INFINITY
  #rereading: Promise<void> | undefined
  #onFault: ((cause: unknown) => void) | undefined
  #fault: unknown

  private constructor(db: Kysely<KeyringTables>, loadKeks: () => KekSet, clock: Clock) {
    this.#db = db
    this.#loadKeks = loadKeks
    this.#keks = loadKeks()
    this.#clock = clock
  }

  /**
   * Opens and tends the keyring.
   * @param options.keks the key-encryption keys, or what reads them: then a new version is found while tending
   * @param options.node name of a gateway, which then reports the newest version that it holds
   * @param options.adopt P-256 private keys to take in as the first of their kind, if there is none
   * @param options.onFault told when tending fails; it is tried again every 15 s
   */
  static async open(options: {
    file: string
    keks: KekSet | (() => KekSet)
    clock: Clock
    node?: string
    adopt?: Partial<Record<KindName, KeyObject>>
    onFault?: (cause: unknown) => void
  }): Promise<Keyring> {
    const { file, keks, clock, node, onFault } = options
    const db = kyselyOver<KeyringTables>(openKeyringFile(file, lockMsMax))
    let ring: Keyring | undefined
    try {
      ring = new Keyring(db, typeof keks === 'function' ? keks : () => keks, clock)
      ring.#onFault = onFault
      // Before any key is read: from here on a destruction waits for this node.
      if (node !== undefined) ring.#holder = reportHolder(db, { node, clock })
      await ring.#report()
      for (const [kind, key] of Object.entries(options.adopt ?? {})) await ring.#adopt(kind as KindName, key)
      await ring.tend()
      ring.#keepTending()
      return ring
    } catch (error) {
      if (ring) await ring.#forgetHolder()
      await db.destroy()
      throw error
    }
  }

  #keepTending(): void {
    this.#timer = setInterval(() => {
      this.tend().catch((cause) => this.#onFault?.(cause))
    }, tendEveryMs).unref()
  }

  epochNow(kind: KindName): number {
    return epochOf(this.#clock.now(), kindOf(kind).lengthMs)
  }

  /** The key of an epoch that is in memory: current, previous or next, or a day's key still kept. */
  get(kind: KindName, epoch: number): KeyObject | undefined {
    return this.#keys.get(`${kind}/${epoch}`)
  }

  /** The key of the current epoch; made now if it is missing. */
  async current(kind: KindName): Promise<EpochKey> {
    const epoch = this.epochNow(kind)
    return { epoch, key: this.get(kind, epoch) ?? (await this.#makeNow(kind, epoch)) }
  }

  /** As `get`, with one reading of the store (at most one a second) before it gives up. */
  async find(kind: KindName, epoch: number): Promise<KeyObject | undefined> {
    const known = this.get(kind, epoch)
    if (known) return known
    const distance = Math.abs(epoch - this.epochNow(kind))
    if (kindOf(kind).keepMs !== undefined && distance > 1) return undefined
    const now = this.#clock.mono()
    if (now - this.#rereadAt >= rereadMsMin) {
      this.#rereadAt = now
      this.#rereading = this.#read(this.#clock.now())
    }
    try {
      await this.#rereading // Those who come meanwhile wait for the reading under way.
    } catch (cause) {
      this.#onFault?.(cause) // Unread is unknown: the asker is refused and may ask again.
    }
    return this.get(kind, epoch)
  }

  /** Keys in memory of a kind, oldest epoch first. */
  all(kind: KindName): EpochKey[] {
    const found: EpochKey[] = []
    for (const [name, key] of this.#keys) {
      const [of, epoch] = name.split('/')
      if (of === kind) found.push({ epoch: Number(epoch), key })
    }
    return found.sort((a, b) => a.epoch - b.epoch)
  }

  /**
   * A record or tag key of one day, made if that day has just ended, is today or is still to come.
   * @throws Error if it is of an earlier day and not there: what was destroyed is never made again
   */
  async ofDay(kind: 'record' | 'tag', day: number): Promise<KeyObject> {
    const key = this.get(kind, day)
    if (key) return key
    if (day >= this.epochNow(kind) - 1) return this.#makeNow(kind, day)
    return present(await this.find(kind, day), `key ${kind} of epoch ${day}`)
  }

  isUsable(): boolean {
    return this.#fault === undefined
  }

  /** Told after keys came or went. Returns the function that ends it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Makes what is due, deletes what has ended, reads what others made. Single flight. */
  tend(): Promise<void> {
    this.#tending ??= this.#tendOnce()
      .then(
        () => {
          this.#fault = undefined
        },
        (cause) => {
          this.#fault = cause
          throw cause
        },
      )
      .finally(() => {
        this.#tending = undefined
      })
    return this.#tending
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#tending?.catch(() => {}) // It was reported to whoever asked for it.
    await this.#forgetHolder()
    await this.#db.destroy()
  }

  async #tendOnce(): Promise<void> {
    const now = this.#clock.now()
    this.#rereadKeks()
    await this.#report()
    for (const kind of kindNames) {
      const { lengthMs, aheadMs } = kindOf(kind)
      const epoch = epochOf(now, lengthMs)
      if (!this.get(kind, epoch)) await this.#insert(kind, epoch)
      const next = epochOf(now + aheadMs, lengthMs)
      if (next > epoch && !this.get(kind, next)) await this.#insert(kind, next)
    }
    await this.#deleteEnded(now)
    await this.#read(now)
  }

  async #makeNow(kind: KindName, epoch: number): Promise<KeyObject> {
    await this.#insert(kind, epoch)
    await this.#read(this.#clock.now())
    return present(this.get(kind, epoch), `key ${kind} of epoch ${epoch}`)
  }

  async #adopt(kind: KindName, key: KeyObject): Promise<void> {
    const any = await this.#db
      .selectFrom('keyring')
      .select('epoch')
      .where('kind', '=', kind)
      .executeTakeFirst()
    if (!any) await this.#insert(kind, this.epochNow(kind), key)
  }

  /** A version that came is held from here on, one that went is forgotten. */
  #rereadKeks(): void {
    try {
      this.#keks = this.#loadKeks()
    } catch (cause) {
      this.#onFault?.(cause) // What is held stays good until the folder can be read again.
    }
  }

  async #report(): Promise<void> {
    try {
      await this.#holder?.report(Math.max(...this.#keks.keys()))
    } catch (cause) {
      this.#onFault?.(cause) // Told again at the next tending; a destruction waits until then.
    }
  }

  async #forgetHolder(): Promise<void> {
    await this.#holder?.remove().catch(() => {}) // A report that stays is no longer live 3 minutes later.
  }

  /** Unique insert: whoever comes second reads the first one's key. */
  async #insert(kind: KindName, epoch: number, key?: KeyObject): Promise<void> {
    const plain = kindOf(kind).type === 'secret' ? randomBytes(32) : exportPrivate(key ?? makeP256())
    try {
      for (let tries = 0; tries < insertTriesMax; tries++) {
        if (await this.#insertSealed({ kind, epoch }, plain)) return
      }
    } finally {
      plain.fill(0)
    }
    throw new Error('The keyring was wrapped anew whenever a key was being made.')
  }

  /**
   * Seals under the version that the other rows have, not the newest: who has not loaded that yet must be able to
   * open this key. False if a destruction wrapped the rows anew meanwhile: its old version is about to be erased.
   */
  async #insertSealed(of: { kind: KindName; epoch: number }, plain: Uint8Array): Promise<boolean> {
    const { kind, epoch } = of
    const { version } = await this.#db
      .selectFrom('keyring')
      .select((eb) => eb.fn.max('kek_version').as('version'))
      .executeTakeFirstOrThrow()
    const kek_version = Number(version ?? Math.max(...this.#keks.keys()))
    if (!this.#keks.has(kek_version)) this.#rereadKeks()
    const sealed = sealKey(this.#keks, { kind, epoch, kek_version }, plain)
    await sql`
      insert into keyring (kind, epoch, kek_version, sealed, made_at)
      select ${kind}, ${epoch}, ${kek_version}, ${sealed}, ${this.#clock.now()}
      where coalesce((select max(kek_version) from keyring), ${kek_version}) = ${kek_version}
      on conflict (kind, epoch) do nothing`.execute(this.#db)
    const standing = await this.#db
      .selectFrom('keyring')
      .select('epoch')
      .where('kind', '=', kind)
      .where('epoch', '=', epoch)
      .executeTakeFirst()
    return standing !== undefined
  }

  async #deleteEnded(now: number): Promise<void> {
    for (const kind of kindNames) {
      const { lengthMs, keepMs } = kindOf(kind)
      if (keepMs === undefined) continue
      const oldest = epochOf(now - keepMs, lengthMs)
      const ended = await this.#db
        .selectFrom('keyring')
        .select('epoch')
        .where('kind', '=', kind)
        .where('epoch', '<', oldest)
        .executeTakeFirst()
      if (!ended) continue // A delete would take the write lock for nothing.
      await this.#db.deleteFrom('keyring').where('kind', '=', kind).where('epoch', '<', oldest).execute()
    }
  }

  async #read(now: number): Promise<void> {
    const rows = await this.#db.selectFrom('keyring').selectAll().execute()
    const standing = new Set<string>()
    let changed = false
    for (const row of rows) {
      const kind = row.kind as KindName
      const { lengthMs, keepMs } = kindOf(kind)
      if (keepMs !== undefined && row.epoch < epochOf(now - keepMs, lengthMs)) continue
      const name = `${kind}/${row.epoch}`
      standing.add(name)
      if (this.#keys.has(name)) continue
      this.#keys.set(name, this.#unwrap(row))
      changed = true
    }
    for (const name of this.#keys.keys()) {
      if (standing.has(name)) continue
      this.#keys.delete(name)
      changed = true
    }
    if (changed) for (const listener of this.#listeners) listener()
  }

  /** A version not held yet, or no longer the one that was read, is looked for once in the folder. */
  #unwrap(row: KeyRow): KeyObject {
    try {
      return importKey(this.#keks, row)
    } catch {
      this.#rereadKeks() // If it was not for that, the next line throws the same again.
      return importKey(this.#keks, row)
    }
  }
}

const makeP256 = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
const exportPrivate = (key: KeyObject) => key.export({ format: 'der', type: 'pkcs8' })
