// Issues a receipt: the entry of a token id, the opening of its private row, and the proof that leads to the
// published checkpoint (PROTOCOL section 9). It decides nothing about HTTP and fetches no keys by itself.
import type { KeyObject } from 'node:crypto'
import { assert, present } from '../base/assert.ts'
import { sameBytes } from '../base/bytes.ts'
import { parseCheckpoint } from './checkpoint.ts'
import { hashWho, openRow, parseEntry, parsePrivate, type WhoOpening } from './entry.ts'
import { parseNote } from './note.ts'
import { checkInclusion, readInclusion } from './proof.ts'
import type { LedgerReading } from './reading.ts'
import { printReceipt } from './receipt.ts'

/** Record key of a day (Unix days); undefined once it is destroyed. Throws where that cannot be told. */
export type RecordKeyOf = (day: number) => Promise<KeyObject | undefined>

export type Issued =
  | { state: 'issued'; receipt: string }
  /** No such token id, or one of another carrier: nobody is told which. */
  | { state: 'unknown' }
  /** The asker's own, and the published checkpoint does not cover it yet. */
  | { state: 'pending' }
  /** The record key of its day is destroyed: whose it was, nobody can tell any more. */
  | { state: 'destroyed' }

export type Asked = { jti: Buffer; carrier: string }

/**
 * The receipt of a token id for the carrier that was given the token.
 * @throws Error if the ledger contradicts itself: an untrue receipt is never handed out
 */
export async function makeReceipt(
  ledger: LedgerReading,
  recordKeyOf: RecordKeyOf,
  { jti, carrier }: Asked,
): Promise<Issued> {
  const index = ledger.indexOfJti(jti)
  if (index === undefined) return { state: 'unknown' }
  const { day, blob } = present(ledger.readPrivate(index), 'the private row of an entry')
  const key = await recordKeyOf(day)
  if (!key) return { state: 'destroyed' }
  const { who } = present(
    parsePrivate(openRow(key, day, blob) ?? Buffer.alloc(0)),
    'the form of a private row',
  )
  // Before this line nobody knows whose row it is; after it, nothing of another carrier's is told.
  if (who.carrier !== carrier || !sameBytes(who.jti, jti)) return { state: 'unknown' }
  if (index >= ledger.checkpoint().size) return { state: 'pending' }
  return { state: 'issued', receipt: proveEntry(ledger, index, who) }
}

/** Everything that a checker will check is checked here first, but for the signatures. */
function proveEntry(ledger: LedgerReading, index: number, who: WhoOpening): string {
  const { size, note } = ledger.checkpoint()
  const { data, leaf } = present(ledger.readEntry(index), 'an entry that a checkpoint covers')
  const proof = readInclusion(index, size, ledger.readHashes(size))
  const { root } = present(parseCheckpoint(parseNote(note)?.text ?? ''), 'the form of a checkpoint')
  assert(checkInclusion({ index, size, leaf, root, proof }), 'a proof does not lead to the checkpoint')
  assert(
    hashWho(who).equals(present(parseEntry(data)?.who, 'who of an entry')),
    'a private row is not its own',
  )
  return printReceipt({ index, proof, data, who, note })
}
