// One process's view of the registry: bounded records in memory, kept honest by polling the change feed
// (PROTOCOL sections 0.5, 12). News counts from when its poll began, not from when it ended.
import type { KeyObject } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { printBase64url } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { importP256Spki } from '../base/p256.ts'
import { type Change, changesAfter, headOfChanges } from './changes.ts'
import type { RegistryDb } from './schema.ts'

export type CarrierRecord = { id: string; name: string; status: string }
export type DeviceRecord = {
  id: Buffer
  carrier: string
  outlet: string
  key: KeyObject
  status: string
  notAfterMs: number
}

const nothing = Symbol('nothing')
const pageMax = 1000

/** Records by id, unknown ids included; a read that a change overtook is answered but not kept. */
class Records<T extends object> {
  readonly #kept = new LRUCache<string, T | typeof nothing>({ max: limits.registryRecordsMax })
  readonly #reading = new Map<string, number>()
  readonly #read: (id: string) => Promise<T | undefined>

  constructor(read: (id: string) => Promise<T | undefined>) {
    this.#read = read
  }

  async get(id: string): Promise<T | undefined> {
    const kept = this.#kept.get(id)
    if (kept) return kept === nothing ? undefined : kept
    const changesSeen = this.#reading.get(id) ?? 0
    this.#reading.set(id, changesSeen)
    const found = await this.#read(id)
    if (this.#reading.get(id) === changesSeen) {
      this.#kept.set(id, found ?? nothing)
      this.#reading.delete(id)
    }
    return found
  }

  forget(id: string): void {
    this.#kept.delete(id)
    const reading = this.#reading.get(id)
    if (reading !== undefined) this.#reading.set(id, reading + 1)
  }
}

const carrierRecords = (db: RegistryDb) =>
  new Records<CarrierRecord>((id) =>
    db.selectFrom('carriers').select(['id', 'name', 'status']).where('id', '=', id).executeTakeFirst(),
  )

const deviceRecords = (db: RegistryDb) =>
  new Records<DeviceRecord>(async (name) => {
    const id = Buffer.from(name, 'base64url')
    const row = await db.selectFrom('devices').selectAll().where('id', '=', id).executeTakeFirst()
    const key = row && importP256Spki(Buffer.from(row.spki))
    if (!row || !key) return undefined
    const { carrier, outlet, status } = row
    return { id, carrier, outlet, status, key, notAfterMs: Number(row.not_after) }
  })

export type RegistryReader = ReturnType<typeof createRegistryReader>

export function createRegistryReader(options: {
  db: RegistryDb
  clock: Clock
  onError?: (cause: unknown) => void
}) {
  const { db, clock, onError } = options
  const listeners = new Set<(change: Change) => void>()
  let seq = 0
  let freshFrom = Number.NEGATIVE_INFINITY
  let polling: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined

  const carriers = carrierRecords(db)
  const devices = deviceRecords(db)

  function apply(change: Change): void {
    if (change.kind === 'carrier') carriers.forget(change.subject)
    if (change.kind === 'device') devices.forget(change.subject)
    seq = change.seq
    for (const listener of listeners) listener(change)
  }

  async function pollOnce(): Promise<void> {
    const begun = clock.mono()
    for (;;) {
      const changes = await changesAfter(db, seq, pageMax)
      for (const change of changes) apply(change)
      if (changes.length < pageMax) break
    }
    freshFrom = begun
  }

  function poll(): Promise<void> {
    polling ??= pollOnce().finally(() => {
      polling = undefined
    })
    return polling
  }

  return {
    /** Reads from the present head on, then every 250 ms. */
    async start(): Promise<void> {
      seq = await headOfChanges(db)
      await poll()
      timer = setInterval(() => {
        poll().catch((cause) => onError?.(cause))
      }, limits.registryPollMs)
    },
    poll,
    isFresh: () => clock.mono() - freshFrom < limits.registryFreshMs,
    carrier: (id: string) => carriers.get(id),
    device: (id: Buffer) => devices.get(printBase64url(id)),
    seq: () => seq,
    /** Told of each change once it is applied. Returns the function that ends it. */
    onChange(listener: (change: Change) => void): () => void {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    async close(): Promise<void> {
      clearInterval(timer)
      await polling?.catch(() => {}) // It was told to onError.
    },
  }
}
