// A folder of files that several processes write and read: one writer at a time, every file whole or not at all. It
// knows nothing of what the files hold.
import { randomBytes } from 'node:crypto'
import { closeSync, fchmodSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'

const lockTries = 500
const lockTryMs = 20
const sqliteBusy = 5

/** Names that `writeWhole` leaves behind when its process dies; under the lock they are nobody's. */
export const temporaryPattern = /^\..+\.[0-9a-f]{12}\.tmp$/

/**
 * Runs `work` while holding an exclusive lock on the folder. The lock is SQLite's on an empty file: the kernel drops
 * it when its process dies, so there are no stale locks to detect. Waits without blocking, because the holder may be
 * another call of this very process.
 * @throws Error if the lock is held for 10 s, or what `work` throws
 */
export async function withFolderLock(folder: string, work: () => Promise<void>): Promise<void> {
  const lock = new DatabaseSync(join(folder, '.lock'), { timeout: 0 })
  try {
    for (let tries = 1; !begins(lock); tries++) {
      if (tries === lockTries) {
        const seconds = (lockTries * lockTryMs) / 1000
        throw new Error(`${folder} has been locked by another process for ${seconds} s; try again.`)
      }
      await sleep(lockTryMs)
    }
    await work()
  } finally {
    lock.close()
  }
}

function begins(lock: DatabaseSync): boolean {
  try {
    lock.exec('begin exclusive')
    return true
  } catch (error) {
    if ((error as { errcode?: number }).errcode === sqliteBusy) return false
    throw error
  }
}

/** Writes a file whole, with this mode whatever the umask: no reader and no crash ever sees half of it. */
export function writeWhole(folder: string, file: string, given: { text: string; mode: number }): void {
  const temporary = join(folder, `.${file}.${randomBytes(6).toString('hex')}.tmp`)
  try {
    const handle = openSync(temporary, 'wx', 0o600)
    try {
      fchmodSync(handle, given.mode)
      writeFileSync(handle, given.text)
      fsyncSync(handle)
    } finally {
      closeSync(handle)
    }
    renameSync(temporary, join(folder, file))
  } finally {
    rmSync(temporary, { force: true })
  }
}

/** Makes new names and renamings in the folder durable. */
export function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}
