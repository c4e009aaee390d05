// Which KEK version each gateway holds, told by themselves in the keyring's database: a destruction re-wraps
// only once every live one has the new version (PROTOCOL section 3).
import type { DatabaseSync } from 'node:sqlite'
import type { Kysely } from 'kysely'
import { type Clock, dayMs } from '../base/clock.ts'
import type { KeyringTables } from './store.ts'

const reportEveryMs = 45_000 // Looked at every 15 s: so at least once a minute.
/** Who was not seen for this long is taken for gone. If it was only slow, it finds the new version itself. */
export const holderLifeMs = 3 * 60_000

export type Holder = {
  /** Tells that this node lives and holds `version`; written if that changed or the last time is long ago. */
  report(version: number): Promise<void>
  remove(): Promise<void>
}

export function reportHolder(db: Kysely<KeyringTables>, of: { node: string; clock: Clock }): Holder {
  const { node, clock } = of
  let last: { version: number; atMs: number } | undefined
  return {
    async report(version) {
      const atMs = clock.mono()
      if (last?.version === version && atMs - last.atMs < reportEveryMs) return
      const seen = { kek_version: version, seen_at: clock.now() }
      await db
        .insertInto('holders')
        .values({ node, ...seen })
        .onConflict((c) => c.column('node').doUpdateSet(seen))
        .execute()
      if (!last) await removeLongGone(db, clock.now())
      last = { version, atMs }
    },
    async remove() {
      await db.deleteFrom('holders').where('node', '=', node).execute()
    },
  }
}

/** Those that were killed left their row. */
async function removeLongGone(db: Kysely<KeyringTables>, nowMs: number): Promise<void> {
  await db
    .deleteFrom('holders')
    .where('seen_at', '<', nowMs - dayMs)
    .execute()
}

export type Seen = { node: string; kekVersion: number; seenAtMs: number }

/** Gateways seen in the last 3 minutes, by name. */
export function liveHolders(db: DatabaseSync, nowMs: number): Seen[] {
  const rows = db
    .prepare('select node, kek_version, seen_at from holders where seen_at > ? order by node')
    .all(nowMs - holderLifeMs)
  return rows.map((row) => ({
    node: String(row['node']),
    kekVersion: Number(row['kek_version']),
    seenAtMs: Number(row['seen_at']),
  }))
}
