// One process's view of the registry: bounded records in memory, kept honest by polling the change feed
// (PROTOCOL sections 0.5, 12). News counts from when its poll began, not from when it ended.
import type { KeyObject } from 'node:crypto'
import { base64urlLength, ownCopies, printBase64url, sha256 } from '../base/bytes.ts'
import { type Clock, dayMs } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { importP256Spki } from '../base/p256.ts'
import { revokedSerials } from './certificates.ts'
import { type Change, changesAfter, headOfChanges } from './changes.ts'
import { Records } from './records.ts'
import { readRevokedTokens } from './revoked-tokens.ts'
import type { RegistryDb } from './schema.ts'

export type CarrierRecord = {
  id: string
  name: string
  status: 'active' | 'suspended'
  /** The carrier whose sandbox this is; null: none's. */
  sandboxOf: string | null
  conditions: string | null
  /** Answers a calendar month; null: no quota. */
  quota: number | null
  reviewAtMs: number | null
}
export type DeviceRecord = {
  id: Buffer
  carrier: string
  outlet: string
  key: KeyObject
  status: 'active' | 'revoked'
  notAfterMs: number
}

export type RegistryReader = {
  /** Takes the present head as known and follows it every `limits.registryPollMs`. Throws if it cannot be read. */
  start(): Promise<void>
  /** Whether a poll that succeeded was begun less than `limits.registryFreshMs` ago. */
  isFresh(): boolean
  carrier(id: string): Promise<CarrierRecord | undefined>
  /** @param id 16 bytes */
  device(id: Buffer): Promise<DeviceRecord | undefined>
  /** Whether a certificate (serial, hex as node prints it) is revoked. */
  isCertificateRevoked(serial: string): boolean
  /** Whether an answer token (jti, base64url) is revoked. */
  isTokenRevoked(jti: string): boolean
  /** The last change applied. */
  seq(): number
  /** Told of each change once it is applied. Returns the function that ends it. */
  onChange(listener: (change: Change) => void): () => void
  /** A poll begun after this call, after the one under way if there is one. Throws if it failed. */
  poll(): Promise<void>
  close(): Promise<void>
}

const pageMax = 1000
/** Ids known not to exist. They come from outside unsigned, so they get little room, and room of their own. */
const unknownMax = 5000
const room = { recordsMax: limits.registryRecordsMax, unknownMax }

const carrierRecords = (db: RegistryDb) =>
  new Records<CarrierRecord>({
    ...room,
    async load(id) {
      const row = await db.selectFrom('carriers').selectAll().where('id', '=', id).executeTakeFirst()
      if (!row) return undefined
      const { name, conditions } = row
      const numberOf = (value: number | null) => (value === null ? null : Number(value))
      return {
        ...{ id, name, conditions, status: row.status === 'active' ? 'active' : 'suspended' },
        ...{ sandboxOf: row.sandbox_of, quota: numberOf(row.quota), reviewAtMs: numberOf(row.review_at) },
      }
    },
  })

const deviceRecords = (db: RegistryDb) =>
  new Records<DeviceRecord>({
    ...room,
    async load(subject) {
      const id = Buffer.from(subject, 'base64url')
      const row = await db.selectFrom('devices').selectAll().where('id', '=', id).executeTakeFirst()
      const key = row && importP256Spki(Buffer.from(row.spki))
      if (!row || !key) return undefined
      const { carrier, outlet } = row
      const status = row.status === 'active' ? 'active' : 'revoked'
      const [ownId] = ownCopies(id)
      return { id: ownId, carrier, outlet, status, key, notAfterMs: Number(row.not_after) }
    },
  })

const jtiChars = base64urlLength(16)
const isHash = (id: string) => id.length > jtiChars

/**
 * What is revoked and has not ended by itself, whole and in memory: it is looked at with every request. Read once,
 * then kept by the changes; read anew when changes are missing.
 */
function followRevoked(db: RegistryDb, clock: Clock) {
  let certificates = new Set<string>()
  let tokens = new Set<string>()
  /** Of changes applied while a read runs, which may not have found them. */
  let meanwhile: { certificates: string[]; tokens: string[] } | undefined
  let dueAt = Number.NEGATIVE_INFINITY
  /** How many of the tokens are known by hash alone: next to never any, so that none is hashed for nothing. */
  let hashed = 0
  return {
    /** Reads all anew if it is due: at first, after a gap, and once a day to forget those that have ended. */
    async load(): Promise<void> {
      if (clock.mono() < dueAt) return
      const added = { certificates: [], tokens: [] }
      meanwhile = added
      try {
        const nowMs = clock.now()
        const serials = await revokedSerials(db, nowMs)
        const jtis = await readRevokedTokens(db, nowMs)
        certificates = new Set([...serials, ...added.certificates])
        tokens = new Set([...jtis, ...added.tokens])
        hashed = [...tokens].filter(isHash).length
        dueAt = clock.mono() + dayMs
      } finally {
        meanwhile = undefined
      }
    },
    addToken(jti: string): void {
      tokens.add(jti)
      if (isHash(jti)) hashed++
      meanwhile?.tokens.push(jti)
    },
    addCertificate(serial: string, act: string): void {
      if ((JSON.parse(act) as { act: string }).act !== 'certificate.revoke') return
      certificates.add(serial)
      meanwhile?.certificates.push(serial)
    },
    forgetAll(): void {
      dueAt = Number.NEGATIVE_INFINITY
    },
    hasCertificate: (serial: string) => certificates.has(serial),
    hasToken(jti: string): boolean {
      if (tokens.has(jti)) return true
      return hashed > 0 && tokens.has(printBase64url(sha256(Buffer.from(jti, 'base64url'))))
    },
  }
}

/** @param options.onError told of a poll or a listener that failed; the next poll is tried all the same */
export function createRegistryReader(options: {
  db: RegistryDb
  clock: Clock
  onError?: (cause: unknown) => void
}): RegistryReader {
  const { db, clock } = options
  const onError = options.onError ?? (() => {})
  const carriers = carrierRecords(db)
  const devices = deviceRecords(db)
  const revoked = followRevoked(db, clock)
  const listeners = new Set<(change: Change) => void>()
  let seq = 0
  let freshFrom = Number.NEGATIVE_INFINITY
  let running: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined

  function apply(change: Change): void {
    if (change.kind === 'carrier') carriers.forget(change.subject)
    if (change.kind === 'device') devices.forget(change.subject)
    if (change.kind === 'token') revoked.addToken(change.subject)
    if (change.kind === 'certificate') revoked.addCertificate(change.subject, change.act)
    seq = change.seq
    for (const listener of listeners) {
      try {
        listener(change)
      } catch (cause) {
        onError(cause) // One listener's fault keeps the news from nobody else.
      }
    }
  }

  /** Nothing kept can be trusted when changes are missing. */
  function restartFrom(head: number): void {
    carriers.forgetAll()
    devices.forgetAll()
    revoked.forgetAll()
    seq = head
  }

  async function readNews(): Promise<void> {
    const begun = clock.mono()
    const head = await headOfChanges(db)
    if (head < seq) restartFrom(head) // The database was restored from a backup.
    await revoked.load()
    while (seq < head) {
      const changes = await changesAfter(db, seq, pageMax)
      if (changes.length === 0)
        throw new Error(`The registry counts ${head} changes but has none after ${seq}`)
      for (const change of changes) {
        if (change.seq !== seq + 1) restartFrom(change.seq - 1)
        apply(change)
      }
    }
    await revoked.load() // Of use after a gap in the changes; else it was read above.
    freshFrom = begun
  }

  function begin(): Promise<void> {
    running ??= readNews().finally(() => {
      running = undefined
    })
    return running
  }

  return {
    async start() {
      restartFrom(await headOfChanges(db))
      await begin()
      timer ??= setInterval(() => {
        if (!running) begin().catch(onError) // A slow poll is waited for: polls never overlap.
      }, limits.registryPollMs)
    },
    async poll() {
      await running?.catch(() => {}) // Who began it is told; this caller wants news of its own.
      return begin()
    },
    isFresh: () => clock.mono() - freshFrom < limits.registryFreshMs,
    carrier: (id) => carriers.get(id),
    device: (id) => devices.get(printBase64url(id)),
    isCertificateRevoked: revoked.hasCertificate,
    isTokenRevoked: revoked.hasToken,
    seq: () => seq,
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    async close() {
      clearInterval(timer)
      timer = undefined
      await running?.catch(() => {}) // Who began it is told.
    },
  }
}
