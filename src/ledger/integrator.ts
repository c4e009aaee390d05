// Makes the tree of what was committed, and signs it: new tiles, search blocks and the checkpoint in one
// transaction with a compare-and-swap on the last checkpoint (PROTOCOL section 9). Any process may run it, at
// the start and all the time: recovery is the same code. Level 0 of the tree is `entries.leaf` itself.
import type { DatabaseSync } from 'node:sqlite'
import { present } from '../base/assert.ts'
import { parseCheckpoint, printCheckpoint } from './checkpoint.ts'
import { prepareFiling } from './finds.ts'
import { readHead, writeHead } from './head.ts'
import { checkNote, parseNote, parseVkey, printNote, printVkey, type Signer, signNote } from './note.ts'
import { emptyRoot, readRoot } from './range.ts'
import { readFromTiles } from './tile.ts'
import { prepareTiles } from './tiles.ts'

/** What is signed, and what may be shown of it. */
export type Signed = { size: number; note: string }

/** The entries, the tiles or the last checkpoint are not what was signed: nothing more may be signed. */
export class LedgerInconsistent extends Error {
  readonly reason: 'behind_head' | 'head_unreadable' | 'root_differs'
  constructor(reason: LedgerInconsistent['reason'], message: string) {
    super(message)
    this.name = 'LedgerInconsistent'
    this.reason = reason
  }
}

/** Entries that one step integrates at most: it holds the write lock, and appends wait. */
const stepMax = 16_384

export type IntegratorOptions = {
  db: DatabaseSync
  /** The ledger's name and Ed25519 private key. */
  signer: Signer
  headFile: string
  /** Witnesses come first: what is signed is not shown yet. */
  witnessed: boolean
  /** Told before each step that a crash could fall between; tests stop there. */
  onStep?: (name: 'locked' | 'swapped' | 'head' | 'committed') => void
}

type Known = { size: number; root: Buffer }

/** The integrator over the writer's handle. */
export function prepareIntegrator({ db, signer, headFile, witnessed, onStep }: IntegratorOptions) {
  const vkey = present(parseVkey(printVkey(signer.name, signer.key)), 'the vkey of the ledger')
  db.prepare("insert or ignore into checkpoints values (1, 0, ?, '', 0, '')").run(emptyRoot)
  const current = db.prepare('select size, root from checkpoints where id = 1')
  const entryCount = db.prepare('select max(idx) as last from entries')
  const swap = db.prepare('update checkpoints set size = ?, root = ?, note = ? where size = ? and root = ?')
  const publish = db.prepare(
    'update checkpoints set published_size = ?, published = ? where published_size < ?',
  )
  const tiles = prepareTiles(db)
  const fileBlocks = prepareFiling(db)

  function readCurrent(): Known {
    const row = present(current.get(), 'the checkpoint')
    return { size: Number(row['size']), root: Buffer.from(row['root'] as Uint8Array) }
  }

  /** What the head file says; undefined if nothing was ever signed. */
  function readSignedHead(): Known | undefined {
    const text = readHead(headFile)
    if (text === undefined) return undefined
    const note = parseNote(text)
    const checkpoint = note && checkNote(note, [vkey]) ? parseCheckpoint(note.text) : undefined
    if (checkpoint?.origin === signer.name) return checkpoint
    throw new LedgerInconsistent(
      'head_unreadable',
      `${headFile} does not hold a checkpoint of ${signer.name} under this ledger key. ` +
        'Fix: put back the file, or the ledger.key that it was signed with.',
    )
  }

  function assertRoot(known: Known, read: ReturnType<typeof readFromTiles>): void {
    if (readRoot(known.size, read).equals(known.root)) return
    throw new LedgerInconsistent(
      'root_differs',
      `The ledger is not the one whose first ${known.size} entries were signed. Fix: put back an unaltered ` +
        'copy; "vouchsafe ledger fsck" names the first entry that differs.',
    )
  }

  const countEntries = () => Number(present(entryCount.get(), 'a count')['last'] ?? -1) + 1

  /** How far this step goes: at least to the head, so that nothing is signed that was not held against it. */
  function sizeOfStep(from: Known, head: Known | undefined): number {
    const entries = countEntries()
    if (head && head.size > entries) {
      throw new LedgerInconsistent(
        'behind_head',
        `The ledger has ${entries} entries, but its checkpoint of ${head.size} was signed: it was put back from an ` +
          'older backup. Fix: put back a copy that is as new as the checkpoint.',
      )
    }
    return Math.min(entries, Math.max(from.size + stepMax, head?.size ?? 0))
  }

  /** Tiles, search blocks and root of the first `size` entries, from a tree that is `from` now. */
  function integrate(from: Known, head: Known | undefined, size: number): Buffer {
    tiles.extend(from.size, size)
    const read = readFromTiles(size, tiles.read)
    assertRoot(from, read)
    if (head) assertRoot(head, read)
    fileBlocks(from.size, size)
    return readRoot(size, read)
  }

  return {
    /** What stands; the note of the empty tree is ''. */
    current: readCurrent,

    /**
     * Integrates what was committed since, at most `stepMax` entries.
     * @returns the new checkpoint, and whether entries are left; undefined if there is nothing to do
     * @throws LedgerInconsistent; what SQLite or the disk throws, and then nothing has changed
     */
    step(): (Signed & { more: boolean }) | undefined {
      if (db.isTransaction) db.exec('rollback')
      db.exec('begin immediate')
      try {
        onStep?.('locked') // Dying here: nothing was written.
        const from = readCurrent()
        const head = readSignedHead()
        const size = sizeOfStep(from, head)
        if (size === from.size) {
          db.exec('rollback')
          return undefined
        }
        const root = integrate(from, head, size)
        const text = printCheckpoint({ origin: signer.name, size, root })
        const note = printNote({ text, signatures: [signNote(text, signer)] })
        // Compare and swap: whoever signs a second tree after `from` finds another one standing.
        if (swap.run(size, root, note, from.size, from.root).changes !== 1)
          throw new Error('checkpoint moved')
        if (!witnessed) publish.run(size, note, size)
        onStep?.('swapped') // Dying here rolls back: the note was shown to nobody.
        writeHead(headFile, note)
        onStep?.('head') // Dying here: the head is ahead of the tree; the next step makes the same root again.
        db.exec('commit')
        onStep?.('committed') // Dying here: all is durable, and whoever starts next shows it.
        return { size, note, more: size < countEntries() }
      } catch (error) {
        if (db.isTransaction) db.exec('rollback')
        throw error
      }
    },

    /** Stores a cosigned note as the one that may be shown; never an older one, or one not signed by us. */
    publish({ size, note }: Signed): boolean {
      const parsed = parseNote(note)
      const checkpoint = parsed && checkNote(parsed, [vkey]) ? parseCheckpoint(parsed.text) : undefined
      if (checkpoint?.size !== size || size > readCurrent().size) return false
      return publish.run(size, note, size).changes === 1
    },
  }
}
