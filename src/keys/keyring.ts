// The keyring: independent random epoch keys, made ahead of use by unique insert, wrapped under the
// versioned KEK in a store of its own (PROTOCOL section 3). It knows lives, not uses.
import {
  createPrivateKey,
  createSecretKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto'
import { chmodSync } from 'node:fs'
import type { Kysely } from 'kysely'
import { present } from '../base/assert.ts'
import { u32 } from '../base/bytes.ts'
import { type Clock, epochOf } from '../base/clock.ts'
import { open, seal } from '../base/seal.ts'
import { kyselyOver, openSqlite } from '../base/sqlite.ts'
import { bind } from '../base/t2l.ts'
import { type KindName, kindNames, kindOf } from './kinds.ts'

type Tables = {
  keyring: { kind: string; epoch: number; kek_version: number; sealed: Uint8Array; made_at: number }
}

/** Key-encryption keys by version; the highest seals what is made now. */
export type KekSet = ReadonlyMap<number, KeyObject>

export type EpochKey = { epoch: number; key: KeyObject }

const aadOf = (kind: string, epoch: number, kekVersion: number) =>
  bind('keyring', kind, u32(epoch), u32(kekVersion))

const tendEveryMs = 15_000
const rereadMsMin = 1000
/** The serving thread waits no longer for another process's write; tending is tried again. */
const lockMsMax = 100

export class Keyring {
  readonly #db: Kysely<Tables>
  readonly #keks: KekSet
  readonly #clock: Clock
  readonly #keys = new Map<string, KeyObject>()
  readonly #listeners = new Set<() => void>()
  #timer: NodeJS.Timeout | undefined
  #tending: Promise<void> | undefined
  #rereadAt = Number.NEGATIVE_INFINITY
  #rereading: Promise<void> | undefined
  #onFault: ((cause: unknown) => void) | undefined
  #fault: unknown

  private constructor(db: Kysely<Tables>, keks: KekSet, clock: Clock) {
    this.#db = db
    this.#keks = keks
    this.#clock = clock
  }

  /**
   * Opens and tends the keyring.
   * @param options.adopt P-256 private keys to take in as the first of their kind, if there is none
   * @param options.onFault told when tending fails; it is tried again every 15 s
   */
  static async open(options: {
    file: string
    keks: KekSet
    clock: Clock
    adopt?: Partial<Record<KindName, KeyObject>>
    onFault?: (cause: unknown) => void
  }): Promise<Keyring> {
    const raw = openSqlite(options.file, lockMsMax)
    if (options.file !== ':memory:') chmodSync(options.file, 0o600)
    raw.exec('pragma secure_delete = on') // A deleted key leaves no bytes in free pages.
    const db = kyselyOver<Tables>(raw)
    await db.schema
      .createTable('keyring')
      .ifNotExists()
      .addColumn('kind', 'text', (c) => c.notNull())
      .addColumn('epoch', 'integer', (c) => c.notNull())
      .addColumn('kek_version', 'integer', (c) => c.notNull())
      .addColumn('sealed', 'blob', (c) => c.notNull())
      .addColumn('made_at', 'bigint', (c) => c.notNull())
      .addPrimaryKeyConstraint('keyring_pk', ['kind', 'epoch'])
      .execute()
    const ring = new Keyring(db, options.keks, options.clock)
    ring.#onFault = options.onFault
    for (const [kind, key] of Object.entries(options.adopt ?? {})) await ring.#adopt(kind as KindName, key)
    await ring.tend()
    ring.#timer = setInterval(() => {
      ring.tend().catch((cause) => options.onFault?.(cause))
    }, tendEveryMs).unref()
    return ring
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

  /** A record or tag key of one day, made if that day is today or about to begin. */
  async ofDay(kind: 'record' | 'tag', day: number): Promise<KeyObject> {
    return this.get(kind, day) ?? (await this.#makeNow(kind, day))
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
    await this.#db.destroy()
  }

  async #tendOnce(): Promise<void> {
    const now = this.#clock.now()
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

  /** Unique insert: whoever comes second reads the first one's key. */
  async #insert(kind: KindName, epoch: number, key?: KeyObject): Promise<void> {
    const version = Math.max(...this.#keks.keys())
    const kek = present(this.#keks.get(version), 'a key-encryption key')
    const plain = kindOf(kind).type === 'secret' ? randomBytes(32) : exportPrivate(key ?? makeP256())
    const sealed = seal(kek, plain, aadOf(kind, epoch, version))
    plain.fill(0)
    await this.#db
      .insertInto('keyring')
      .values({ kind, epoch, kek_version: version, sealed, made_at: this.#clock.now() })
      .onConflict((c) => c.columns(['kind', 'epoch']).doNothing())
      .execute()
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

  #unwrap(row: Tables['keyring']): KeyObject {
    const kek = this.#keks.get(row.kek_version)
    if (!kek) throw new Error(`The keyring needs KEK version ${row.kek_version}, which is not loaded.`)
    const plain = open(kek, row.sealed, aadOf(row.kind, row.epoch, row.kek_version))
    if (!plain)
      throw new Error(`Key ${row.kind}/${row.epoch} does not open under KEK version ${row.kek_version}.`)
    try {
      return kindOf(row.kind as KindName).type === 'secret'
        ? createSecretKey(plain)
        : createPrivateKey({ key: plain, format: 'der', type: 'pkcs8' })
    } finally {
      plain.fill(0)
    }
  }
}

const makeP256 = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
const exportPrivate = (key: KeyObject) => key.export({ format: 'der', type: 'pkcs8' })
