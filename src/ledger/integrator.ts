// Makes the tree of what was committed, and signs it: new tiles and the checkpoint in one
// transaction with a compare-and-swap on the last checkpoint (PROTOCOL section 9). Any process may run it, at
// the start and all the time: recovery is the same code. Level 0 of the tree is `entries.leaf` itself.
import type { DatabaseSync } from 'node:sqlite'
import { present } from '../base/assert.ts'
import { openCheckpoint, parseCheckpoint, printCheckpoint } from './checkpoint.ts'
import { LedgerInconsistent, readSignedHead, writeHead } from './head.ts'
import {
  checkNote,
  parseNote,
  parseVkey,
  printNote,
  printVkey,
  type Signer,
  signNote,
  type Vkey,
} from './note.ts'
import { emptyRoot, type ReadHashes, readRoot } from './range.ts'
import { readFromTiles } from './tile.ts'
import { prepareTiles } from './tiles.ts'

/** What is signed, and what may be shown of it. */
export type Signed = { size: number; note: string }

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

const altered = (what: string) =>
  new LedgerInconsistent(
    'root_differs',
    `${what} Fix: put back an unaltered copy; "vouchsafe ledger fsck" names the first entry that differs.`,
  )

/**
 * What `work` makes of entries and tiles; one that is missing, or shorter than it was, is a difference like any other.
 * What SQLite says of a disk or a lock is not, and is thrown on.
 */
function fromTree<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof LedgerInconsistent || (error instanceof Error && 'errcode' in error)) throw error
    throw altered('An entry or a tile of the ledger is missing.')
  }
}

/** @throws LedgerInconsistent unless the tree that `read` reads begins with the one that was signed */
function assertRoot(known: Known, read: ReadHashes): void {
  if (readRoot(known.size, read).equals(known.root)) return
  throw altered(`The ledger is not the one whose first ${known.size} entries were signed.`)
}

/** How far a step goes: at least to what was signed, so that nothing is signed that was not held against it. */
function sizeOfStep(from: Known, signed: number, entries: number): number {
  if (signed <= entries) return Math.min(entries, Math.max(from.size + stepMax, signed))
  throw new LedgerInconsistent(
    'behind_head',
    `The ledger has ${entries} entries, but its checkpoint of ${signed} was signed: it was put back from an ` +
      'older backup. Fix: put back a copy that is as new as the checkpoint.',
  )
}

/** The row of the checkpoint, and how many entries there are. */
function prepareStanding(db: DatabaseSync) {
  db.prepare("insert or ignore into checkpoints values (1, 0, ?, '', 0, '')").run(emptyRoot)
  const current = db.prepare('select size, root from checkpoints where id = 1')
  const notes = db.prepare('select size, note, published_size, published from checkpoints where id = 1')
  const last = db.prepare('select max(idx) as last from entries')
  const swap = db.prepare('update checkpoints set size = ?, root = ?, note = ? where size = ? and root = ?')
  const publish = db.prepare(
    'update checkpoints set published_size = ?, published = ? where published_size < ?',
  )
  return {
    current(): Known {
      const row = present(current.get(), 'the checkpoint')
      return { size: Number(row['size']), root: Buffer.from(row['root'] as Uint8Array) }
    },
    /** What is kept as signed, and as shown; none of size 0. */
    notes(): Signed[] {
      const row = present(notes.get(), 'the checkpoint')
      const signed = { size: Number(row['size']), note: String(row['note']) }
      const shown = { size: Number(row['published_size']), note: String(row['published']) }
      return [signed, shown].filter(({ size, note }) => size !== 0 || note !== '')
    },
    entries: () => Number(present(last.get(), 'a count')['last'] ?? -1) + 1,
    /** Compare and swap: whoever signs a second tree after `from` finds another one standing. */
    swap(from: Known, to: Known & { note: string }): void {
      const { size, root, note } = to
      if (swap.run(size, root, note, from.size, from.root).changes !== 1) throw new Error('checkpoint moved')
    },
    /** Never goes back. */
    publish: ({ size, note }: Signed): boolean => publish.run(size, note, size).changes === 1,
  }
}

type Standing = ReturnType<typeof prepareStanding>

/** @throws LedgerInconsistent unless what is kept of the last checkpoint is that of the tree that `read` reads */
function assertStanding(standing: Standing, ledger: Vkey, read: ReadHashes): void {
  const from = standing.current()
  assertRoot(from, read)
  for (const { size, note } of standing.notes()) {
    const kept = openCheckpoint(note, ledger)
    if (kept?.size !== size || size > from.size) throw altered('A checkpoint is not the one that was signed.')
    assertRoot(kept, read)
  }
}

/** Makes tiles and checkpoint of the next entries, within the lock; undefined if there is nothing to do. */
function prepareStep(options: IntegratorOptions, standing: Standing, ledger: Vkey) {
  const { db, signer, headFile, witnessed } = options
  const tiles = prepareTiles(db)
  /** True once what a start finds was held against the tree: before that nothing is signed or answered. */
  let held = false

  return (): Signed | undefined => {
    const from = standing.current()
    const head = readSignedHead(headFile, ledger)
    const size = sizeOfStep(from, Math.max(from.size, head?.size ?? 0), standing.entries())
    if (size === from.size && held) return undefined
    const root = fromTree(() => {
      tiles.extend(from.size, size)
      const read = readFromTiles(size, tiles.read)
      if (held) assertRoot(from, read)
      else assertStanding(standing, ledger, read)
      // The head is what stands, unless a process died between the two.
      if (head && !(head.size === from.size && head.root.equals(from.root))) assertRoot(head, read)
      return readRoot(size, read)
    })
    held = true
    if (size === from.size) return undefined
    const text = printCheckpoint({ origin: signer.name, size, root })
    const note = printNote({ text, signatures: [signNote(text, signer)] })
    standing.swap(from, { size, root, note })
    if (!witnessed) standing.publish({ size, note })
    return { size, note }
  }
}

/** The integrator over the writer's handle. */
export function prepareIntegrator(options: IntegratorOptions) {
  const { db, signer, headFile, onStep } = options
  const vkey = present(parseVkey(printVkey(signer.name, signer.key)), 'the vkey of the ledger')
  const standing = prepareStanding(db)
  const integrate = prepareStep(options, standing, vkey)

  return {
    /** How many entries are committed. */
    size: standing.entries,

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
        const signed = integrate()
        if (!signed) {
          db.exec('rollback')
          return undefined
        }
        onStep?.('swapped') // Dying here rolls back: the note was shown to nobody.
        writeHead(headFile, signed.note)
        onStep?.('head') // Dying here: the head is ahead of the tree; the next step makes the same root again.
        db.exec('commit')
        onStep?.('committed') // Dying here: all is durable, and whoever starts next shows it.
        return { ...signed, more: signed.size < standing.entries() }
      } catch (error) {
        if (db.isTransaction) db.exec('rollback')
        throw error
      }
    },

    /** Stores a cosigned note as the one that may be shown; never an older one, or one not signed by us. */
    publish({ size, note }: Signed): boolean {
      const parsed = parseNote(note)
      const checkpoint = parsed && checkNote(parsed, [vkey]) ? parseCheckpoint(parsed.text) : undefined
      return checkpoint?.size === size && size <= standing.current().size && standing.publish({ size, note })
    },
  }
}
