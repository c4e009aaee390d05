// The last checkpoint that was signed, in a file beside the ledger: a ledger that was put back from an older
// backup must not sign another tree of a size that others have seen. The idea is sunlight's lock backend.
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

/** The printed note; undefined if nothing was signed yet. */
export const readHead = (file: string): string | undefined =>
  existsSync(file) ? readFileSync(file, 'utf8') : undefined

/** Replaces the file whole and durably. Called only under the ledger's write lock. */
export function writeHead(file: string, note: string): void {
  const next = `${file}.next`
  const fd = openSync(next, 'w', 0o600)
  try {
    writeSync(fd, note)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  // Dying before this line leaves the old head, and a note that nobody has seen.
  renameSync(next, file)
  const folder = openSync(dirname(file), 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}
