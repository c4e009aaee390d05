// Receipts: one entry with all that shows, offline and for ever, that it is in the ledger and what it says
// (c2sp.org/tlog-proof). `extra` = T2L{01 leaf data, 02 opening of who} (PROTOCOL section 9).
// Nothing in a receipt is believed before its check, and `extra` only through the hashes that lead to the root.
import { assert } from '../base/assert.ts'
import { sameBytes } from '../base/bytes.ts'
import { parseT2l, printT2l } from '../base/t2l.ts'
import { parseBase64, parseDecimal } from '../base/text.ts'
import { type Checkpoint, countWitnesses, parseCheckpoint } from './checkpoint.ts'
import {
  type Entry,
  entryType,
  hashJti,
  hashWho,
  parseEntry,
  parseWho,
  printWho,
  type WhoOpening,
} from './entry.ts'
import { leafHash } from './hash.ts'
import { checkNote, keyType, type Note, parseNote, parseVkey, type Vkey } from './note.ts'
import { checkInclusion } from './proof.ts'

/** What a receipt is made of; `note` is the checkpoint with its signatures, as printed. */
export type ReceiptParts = {
  index: number
  proof: readonly Buffer[]
  data: Buffer
  who: WhoOpening
  note: string
}

/** Why a receipt cannot be read: not of the form, or about an act, which nobody gets a receipt for. */
export type Unreadable = 'form' | 'extra' | 'checkpoint' | 'entry' | 'act' | 'who'
/** What in a receipt is not so. */
export type Untrue = 'who' | 'jti' | 'origin' | 'signature' | 'inclusion' | 'quorum'
/** What a true receipt says; `jti` is 16 zeros where the answer is undecided. Bytes are views into the receipt. */
export type Statement = {
  carrier: string
  outlet: string
  device: Buffer
  parcel: Buffer
  courier: Buffer
  jti: Buffer
  answer: 'yes' | 'no' | 'undecided'
  timeMs: number
  index: number
  size: number
  leaf: Buffer
  witnesses: number
}
export type Verdict =
  | ({ state: 'true' } & Statement)
  | { state: 'false'; why: Untrue }
  | { state: 'unreadable'; why: Unreadable }

/** Whom the checker trusts, as vkeys: the ledger, and witnesses of which `quorum` (default 0) must have signed. */
export type Trust = { ledger: string; witnesses?: readonly string[]; quorum?: number }

const header = 'c2sp.org/tlog-proof@v1'
const extraPrefix = 'extra '
const indexPrefix = 'index '
const hashBytes = 32
/** A tree of 2^53 leaves has no longer proof. */
const proofHashesMax = 53
const receiptCharsMax = 96 * 1024
const noJti = Buffer.alloc(16)
const answers = { 1: 'yes', 2: 'no', 3: 'undecided' } as const

/**
 * Prints a receipt.
 * @throws Error for parts that the reader would not read
 */
export function printReceipt({ index, proof, data, who, note }: ReceiptParts): string {
  const extra = printT2l(data, printWho(who)).toString('base64')
  const hashes = proof.map((hash) => `${hash.toString('base64')}\n`).join('')
  const printed = `${header}\n${extraPrefix}${extra}\n${indexPrefix}${index}\n${hashes}\n${note}`
  assert(parseReceipt(printed).why === undefined, 'a receipt that cannot be read back')
  return printed
}

type Parsed = {
  why?: undefined
  index: number
  proof: Buffer[]
  data: Buffer
  entry: Entry
  who: WhoOpening
  note: Note
  checkpoint: Checkpoint
}

/** Parses what `printReceipt` prints, without any check of what it says; `why` if it is not that. */
export function parseReceipt(text: string): Parsed | { why: Unreadable } {
  const end = text.length <= receiptCharsMax ? text.indexOf('\n\n') : -1
  if (end < 0) return { why: 'form' }
  const [first, extraLine, indexLine, ...hashLines] = text.slice(0, end).split('\n', 3 + proofHashesMax + 1)
  if (first !== header || !extraLine?.startsWith(extraPrefix)) return { why: 'form' }
  if (!indexLine?.startsWith(indexPrefix) || hashLines.length > proofHashesMax) return { why: 'form' }
  const index = parseDecimal(indexLine.slice(indexPrefix.length))
  const proof = hashLines.map((line) => parseBase64(line, hashBytes))
  if (index === undefined || !isComplete(proof)) return { why: 'form' }
  const extra = parseExtra(extraLine.slice(extraPrefix.length))
  if ('why' in extra) return extra
  const note = parseNote(text.slice(end + 2))
  const checkpoint = note && parseCheckpoint(note.text)
  return checkpoint ? { index, proof, ...extra, note, checkpoint } : { why: 'checkpoint' }
}

const isComplete = (proof: (Buffer | undefined)[]): proof is Buffer[] => !proof.includes(undefined)

function parseExtra(text: string): { data: Buffer; entry: Entry; who: WhoOpening } | { why: Unreadable } {
  const fields = parseT2l(parseBase64(text) ?? Buffer.alloc(0), [1, 2])
  if (!fields) return { why: 'extra' }
  const [data, opening] = fields as [Buffer, Buffer]
  const entry = parseEntry(data)
  if (!entry) return { why: 'entry' }
  if (!entry.who) return { why: 'act' }
  const who = parseWho(opening)
  return who ? { data, entry, who } : { why: 'who' }
}

/** The token id is the one the entry was made for; an undecided entry has none. */
const isJtiOf = (entry: Entry, jti: Buffer) =>
  entry.type === entryType.undecided
    ? sameBytes(jti, noJti)
    : sameBytes(hashJti(jti), entry.jtiHash as Buffer)

function readTrust({ ledger, witnesses = [], quorum = 0 }: Trust): { log: Vkey; others: Vkey[] } {
  const log = parseVkey(ledger)
  if (log?.type !== keyType.ed25519) throw new RangeError('the ledger key is not a vkey of type 1')
  const others = witnesses.map((text) => {
    const witness = parseVkey(text)
    if (witness?.type !== keyType.cosignature) throw new RangeError('a witness key is not a vkey of type 4')
    return witness
  })
  if (!Number.isSafeInteger(quorum) || quorum < 0 || quorum > others.length) {
    throw new RangeError('the quorum is not a number from 0 to that of the witnesses')
  }
  return { log, others }
}

/**
 * Checks a receipt with nothing but the keys one trusts.
 * @param text - the receipt as a stranger handed it over
 * @throws RangeError if a vkey or the quorum (the checker's own, never the stranger's) is not one
 */
export function checkReceipt(text: string, trust: Trust): Verdict {
  const { log, others } = readTrust(trust)
  const parsed = parseReceipt(text)
  if (parsed.why !== undefined) return { state: 'unreadable', why: parsed.why }
  const { index, proof, data, entry, who, note, checkpoint } = parsed
  const untrue = (why: Untrue) => ({ state: 'false', why }) as const

  if (!sameBytes(hashWho(who), entry.who as Buffer)) return untrue('who')
  if (!isJtiOf(entry, who.jti)) return untrue('jti')
  // The opening is the one the entry was made with; whether the entry is in any tree is not known yet.
  const leaf = leafHash(data)
  const { size, root, origin } = checkpoint
  if (!checkInclusion({ index, size, leaf, root, proof })) return untrue('inclusion')
  // The entry is in the tree of that root; whether the root is the ledger's is not known yet.
  if (origin !== log.name) return untrue('origin')
  const signed = checkNote(note, [log, ...others])
  if (!signed?.some(({ by }) => by === log)) return untrue('signature')
  const witnesses = countWitnesses(signed, others)
  if (witnesses < (trust.quorum ?? 0)) return untrue('quorum')

  const answer = answers[entry.answer as keyof typeof answers]
  const { carrier, outlet, device, parcel, courier, jti } = who
  const said = { carrier, outlet, device, parcel, courier, jti, answer, timeMs: entry.timeMs }
  return { state: 'true', ...said, index, size, leaf, witnesses }
}
