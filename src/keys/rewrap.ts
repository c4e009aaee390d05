// The one transaction of a destruction: its targets are deleted and all other keys sealed under the new KEK, or
// nothing at all (PROTOCOL section 3). And what must be so before the old KEK may go.
import type { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { liveHolders, type Seen } from './holders.ts'
import type { KindName } from './kinds.ts'
import { type KekSet, type KeyRow, openKey, readKeys, sealKey } from './store.ts'
import { isTarget, type Targets } from './targets.ts'

const foldTriesMax = 100
const foldTryMs = 50

/** Live gateways that do not hold `version` yet. */
export const findLate = (db: DatabaseSync, version: number, nowMs: number): Seen[] =>
  liveHolders(db, nowMs).filter(({ kekVersion }) => kekVersion < version)

/**
 * @param also what else belongs in the transaction
 * @returns who came meanwhile without the new version; then nothing was done
 * @throws Error if a key that stays does not open: nothing was done, and nothing is given up
 */
export function rewrap(
  db: DatabaseSync,
  given: { keks: KekSet; version: number; targets: Targets; nowMs: number; also(): void },
): Seen[] {
  const { keks, version, targets, nowMs, also } = given
  db.exec('begin immediate')
  try {
    // Under the write lock, so that no report and no new key can come between here and the commit.
    const late = findLate(db, version, nowMs)
    if (late.length > 0) {
      db.exec('rollback')
      return late
    }
    deleteTargets(db, targets)
    const update = db.prepare('update keyring set kek_version = ?, sealed = ? where kind = ? and epoch = ?')
    for (const row of readKeys(db)) update.run(version, reseal(keks, row, version), row.kind, row.epoch)
    also()
    db.exec('commit')
    return []
  } catch (error) {
    if (db.isTransaction) db.exec('rollback')
    throw error
  }
}

/** @throws Error if a key that would stay does not open: better told before anything is promised */
export function assertOpens(db: DatabaseSync, keks: KekSet, targets: Targets): void {
  for (const row of readKeys(db)) {
    if (!isTarget(targets, row.kind as KindName, row.epoch)) openKey(keks, row).fill(0)
  }
}

function deleteTargets(db: DatabaseSync, targets: Targets): void {
  const remove = db.prepare('delete from keyring where kind = ? and epoch between ? and ?')
  for (const [kind, runs] of Object.entries(targets) as [KindName, [number, number][]][]) {
    for (const [first, last] of runs) remove.run(kind, first, last)
  }
}

function reseal(keks: KekSet, row: KeyRow, version: number): Buffer {
  const plain = openKey(keks, row)
  try {
    return sealKey(keks, { kind: row.kind, epoch: row.epoch, kek_version: version }, plain)
  } finally {
    plain.fill(0)
  }
}

/**
 * Folds the log into the file and cuts it off: what was sealed under the old KEK is in neither.
 * @returns false if others were reading all the time
 */
export async function fold(db: DatabaseSync): Promise<boolean> {
  for (let tries = 0; tries < foldTriesMax; tries++) {
    if (Number(db.prepare('pragma wal_checkpoint(truncate)').get()?.['busy']) === 0) return true
    await sleep(foldTryMs)
  }
  return false
}

/** @throws Error unless every key in the file opens under this version, as it lies in the folder now */
export function assertWrapped(db: DatabaseSync, keks: KekSet, version: number): void {
  for (const row of readKeys(db)) {
    if (row.kek_version !== version) {
      throw new Error(`Key ${row.kind}/${row.epoch} is under KEK version ${row.kek_version}, not ${version}.`)
    }
    openKey(keks, row).fill(0)
  }
}
