// The last checkpoint that was signed, in a file beside the ledger: a ledger that was put back from an older
// backup must not sign another tree of a size that others have seen. The idea is sunlight's lock backend.
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { parseCheckpoint } from './checkpoint.ts'
import { checkNote, parseNote, type Vkey } from './note.ts'

/** Where the head of a ledger lies: `ledger.db` has `ledger-head.note` beside it. */
export const headFileOf = (ledgerFile: string) => ledgerFile.replace(/(\.db)?$/, '-head.note')

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
  // Dying before this line leaves the old head, and a note that nobody has seen. The folder is not synced: a power
  // cut may bring back the head before, which is still one that the ledger must agree with.
  renameSync(next, file)
}

/** The entries, the tiles or the last checkpoint are not what was signed: nothing more may be signed. */
export class LedgerInconsistent extends Error {
  readonly reason: 'behind_head' | 'head_unreadable' | 'root_differs'
  constructor(reason: LedgerInconsistent['reason'], message: string) {
    super(message)
    this.name = 'LedgerInconsistent'
    this.reason = reason
  }
}

/** What was signed last; undefined if nothing ever was. @throws LedgerInconsistent if the file is not ours */
export function readSignedHead(file: string, ledger: Vkey): { size: number; root: Buffer } | undefined {
  const text = readHead(file)
  if (text === undefined) return undefined
  const note = parseNote(text)
  const checkpoint = note && checkNote(note, [ledger]) ? parseCheckpoint(note.text) : undefined
  if (checkpoint?.origin === ledger.name) return checkpoint
  throw new LedgerInconsistent(
    'head_unreadable',
    `${file} does not hold a checkpoint of ${ledger.name} under this ledger key. ` +
      'Fix: put back the file, or the ledger.key that it was signed with.',
  )
}
