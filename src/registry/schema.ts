// Tables of the registry as code sees them, how its database is opened, and what it refuses (PROTOCOL section 12).
import { setTimeout as sleep } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import { Migrator } from 'kysely/migration'
import { kyselyOver } from '../base/kysely.ts'
import { openSqlite } from '../base/sqlite.ts'
import { migrations } from './migrations.ts'

export type RegistryTables = {
  carriers: {
    id: string
    name: string
    /** 'active' | 'suspended' | 'expelled' */
    status: string
    admitted_at: number
    /** The carrier that tries out its back end under this id; null: none. */
    sandbox_of: string | null
    /** The carrier whose suspension took this sandbox along, and whose reinstatement brings it back; null: none. */
    fell_with: string | null
    conditions: string | null
    /** Answers a calendar month; null: no quota. */
    quota: number | null
    /** When its standing is to be reviewed, Unix ms; null: never. */
    review_at: number | null
  }
  outlets: { carrier: string; id: string; name: string }
  applications: {
    id: string
    /** Counts how often this id was applied for: reviews are of one round. */
    round: number
    name: string
    contact: string
    /** JSON: [{id, name}] */
    outlets: string
    /** JSON: [{name, sha256}] */
    evidence: string
    filed_by: string
    filed_at: number
    /** 'filed' | 'approved' | 'rejected' | 'admitted' */
    status: string
  }
  /** Who filed each round: none of them reviews any. */
  filings: { application: string; round: number; operator: string }
  reviews: { application: string; round: number; operator: string; verdict: string; note: string; at: number }
  conformance: { carrier: string; outcome: string; evidence: string; at: number }
  certificates: {
    /** Hex as node prints it. */
    serial: string
    carrier: string
    key_hash: Uint8Array
    not_after: number
    /** 'active' | 'revoked' */
    status: string
  }
  devices: {
    id: Uint8Array
    carrier: string
    outlet: string
    serial: string
    model: string
    spki: Uint8Array
    spki_hash: Uint8Array
    /** 'active' | 'suspended' | 'revoked' */
    status: string
    registered_at: number
    not_after: number
  }
  /** Every device key that was ever accepted: never again (PROTOCOL section 10). */
  device_keys: { spki_hash: Uint8Array; device: Uint8Array }
  /** Tokens that their carrier has redeemed. Days are of carrierDay (src/base/clock.ts). */
  redemptions: { jti: Uint8Array; carrier: string; outlet: string; day: number; at: number }
  /** Parcels accepted, as the carrier tells them. */
  acceptances: { carrier: string; day: number; outlet: string; count: number }
  /** How many tokens of a day and outlet were redeemed. */
  redeemed: { carrier: string; day: number; outlet: string; count: number }
  /** Tokens whose person or card the bureau named since; seq is that of the change. */
  revoked_tokens: { jti: Uint8Array; carrier: string; seq: number; ends_at: number }
  /** What a mutating call of a carrier was answered, by its Idempotency-Key. */
  calls: { carrier: string; key: string; digest: Uint8Array; status: number; body: string; ends_at: number }
  operators: { name: string; role: string; secret_hash: Uint8Array; status: string }
  changes: {
    seq: number
    time: number
    kind: string
    subject: string
    operator: string
    act: string
    /** Whose news this is; null: no carrier's. */
    carrier: string | null
  }
  /** 'changes', how many; 'feed', how far it was followed; 'production', when this was first served in it, Unix ms. */
  counters: { name: string; value: number }
}

export type RegistryDb = Kysely<RegistryTables>

/** Why the registry refused: a fixed word for code and the log, which holds nothing that was given. */
export type RegistryReason =
  | 'refused'
  | 'act too large'
  | 'carrier malformed'
  | 'carrier known already'
  | 'carrier unknown'
  | 'carrier expelled'
  | 'carrier of sandbox not active'
  | 'direct admission refused'
  | 'carrier status unchanged'
  | 'reason malformed'
  | 'outlet malformed'
  | 'outlet repeated'
  | 'outlet unknown'
  | 'application malformed'
  | 'application unknown'
  | 'application not open'
  | 'application not approved'
  | 'reviewer not independent'
  | 'conformance not proved'
  | 'sandbox not active'
  | 'certificate unknown'
  | 'certificate already revoked'
  | 'certificate key refused'
  | 'certificate request refused'
  | 'device malformed'
  | 'spki not P-256'
  | 'proof of possession wrong'
  | 'key already used'
  | 'serial suspended'
  | 'device unknown'
  | 'device already revoked'
  | 'device not active'
  | 'device not suspended'
  | 'rotation not proved'
  | 'operator malformed'
  | 'operator known already'
  | 'operator unknown'
  | 'role not allowed'
  | 'first operator not admin'

/** What the registry refuses: `message` for the person who asked, `reason` for code. */
export class RegistryError extends Error {
  readonly reason: RegistryReason
  constructor(message: string, reason: RegistryReason = 'refused') {
    super(message)
    this.name = 'RegistryError'
    this.reason = reason
  }
}

/** A name or reason as people write it: 1 to 100 characters, no control characters (lists are printed by line). */
export const isLabel = (text: string) => /^\P{Cc}{1,100}$/u.test(text) && text.trim() !== ''

let lastTurn: Promise<unknown> = Promise.resolve()

/**
 * Runs writers of this process one after another. SQLite waits for a lock inside the call, so that a second
 * handle of one process would stop the event loop which the first needs to commit.
 */
export function inTurn<T>(write: () => Promise<T>): Promise<T> {
  const turn = lastTurn.then(write)
  lastTurn = turn.catch(() => {}) // The one who asked is told by `turn`; the next only waits.
  return turn
}

const triesMax = 20
const tryAgainMs = 50
const sqliteBusy = 5

/** SQLITE_BUSY and its extended codes, whose low byte it is. */
const isBusy = (error: unknown) =>
  error instanceof Error && 'errcode' in error && (Number(error.errcode) & 0xff) === sqliteBusy

/**
 * Opens the registry's database and brings its tables up to date; several processes may do so at once.
 * @param file made if absent; its folder must exist
 * @throws what SQLite says if the file cannot be opened, or stays locked for more than 5 s
 */
export async function openRegistry(file: string): Promise<RegistryDb> {
  for (let tries = 1; ; tries++) {
    try {
      return await inTurn(() => openMigrated(file))
    } catch (error) {
      // Two first openers meet in the switch to WAL, where SQLite does not wait by itself.
      if (!isBusy(error) || tries === triesMax) throw error
      await sleep(tryAgainMs)
    }
  }
}

/** One write transaction around the migrations: a crash in it leaves nothing, a second opener waits for it. */
async function openMigrated(file: string): Promise<RegistryDb> {
  const raw = openSqlite(file)
  const db = kyselyOver<RegistryTables>(raw)
  try {
    raw.exec('begin immediate')
    const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } })
    const { error } = await migrator.migrateToLatest()
    if (error) throw error
    raw.exec('commit')
    return db
  } catch (error) {
    raw.close() // Rolls back what was begun.
    throw error
  }
}
