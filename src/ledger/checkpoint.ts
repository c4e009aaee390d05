// Checkpoints: what the ledger says of itself, as the text of a note (c2sp.org/tlog-checkpoint), and how many
// witnesses say that it says the same to everyone.
import { assert } from '../base/assert.ts'
import { isLines, parseBase64, parseDecimal } from '../base/text.ts'
import { checkNote, isSameKey, keyType, parseNote, type Signed, type Vkey } from './note.ts'

/** The tree of `size` leaves of the log called `origin`. */
export type Checkpoint = { origin: string; size: number; root: Buffer }

const hashBytes = 32

/** Origin, size and root, a line each. */
export function printCheckpoint({ origin, size, root }: Checkpoint): string {
  const printed = `${origin}\n${size}\n${root.toString('base64')}\n`
  // As with notes: what the reader would not read is never written.
  assert(parseCheckpoint(printed)?.origin === origin, 'a checkpoint that cannot be read back')
  return printed
}

/** Parses what `printCheckpoint` prints; undefined for any other text, extension lines included. */
export function parseCheckpoint(text: string): Checkpoint | undefined {
  const [origin, sizeText, rootText, ...rest] = text.split('\n', 5)
  if (!origin || !isLines(origin) || sizeText === undefined || rootText === undefined) return undefined
  const size = parseDecimal(sizeText)
  const root = parseBase64(rootText, hashBytes)
  if (size === undefined || !root || rest.length !== 1 || rest[0] !== '') return undefined
  return { origin, size, root }
}

/** Opens a checkpoint of the log whose key and name we know; undefined if it is not one of its. */
export function openCheckpoint(printed: string, log: Vkey): Checkpoint | undefined {
  const note = parseNote(printed)
  if (!note || !checkNote(note, [log])) return undefined
  const checkpoint = parseCheckpoint(note.text)
  return checkpoint?.origin === log.name ? checkpoint : undefined
}

/**
 * How many of the witnesses cosigned, after `checkNote` with their keys. A key counts once, however often it
 * signed and under however many names.
 */
export function countWitnesses(signed: readonly Signed[], witnesses: readonly Vkey[]): number {
  const counted: Vkey[] = []
  for (const { by } of signed) {
    if (by.type !== keyType.cosignature || !witnesses.includes(by)) continue
    if (!counted.some((other) => isSameKey(other, by))) counted.push(by)
  }
  return counted.length
}
