// What the serving thread posts to the ledger's worker: all appends of one turn in one own ArrayBuffer, which
// is transferred. A pooled Buffer would be cloned with its whole pool, and with whatever else lies in it.
import { present } from '../base/assert.ts'
import { readU64, u8, u64 } from '../base/bytes.ts'
import { limits } from '../base/limits.ts'
import { parseT2l, printT2l } from '../base/t2l.ts'
import { entryType, isAnswerOf, isPlace, type Subject } from './entry.ts'
import type { LedgerInconsistent } from './head.ts'

export type VerifyEntry = {
  type: 'verify' | 'undecided'
  digest: Buffer
  challenge: Buffer
  /** End of the challenge, Unix ms: its row in `consumed` is kept until 1 h after. */
  expiresMs: number
  answer: 1 | 2 | 3
  carrier: string
  outlet: string
  device: Buffer
  courier: Buffer
  parcel: Buffer
  sealedHash: Buffer
  refusal: number
  transaction: Buffer
  /** Undefined where rows 7-11 refused: the tags are random then. */
  subject: Subject | undefined
}
export type SessionEntry = {
  type: 'session'
  digest: Buffer
  challenge: Buffer
  expiresMs: number
  /** UTF-8 JSON. */
  act: string
}
/** `seq` of the registry's change that this act records: at most one entry for each. */
export type ActEntry = { type: 'act'; kind: 4 | 5 | 6 | 7 | 8 | 9; act: string; seq?: number }
export type Append = VerifyEntry | SessionEntry | ActEntry

const shape = { verify: 1, undecided: 2, session: 3, act: 4 } as const
const noSubject = Buffer.alloc(0)

/** Refuses at the door what could not be written later, where it would take its whole group with it. */
function assertForm(append: Append): void {
  const sized: [value: Uint8Array, bytes: number][] = []
  let right: boolean
  if (append.type === 'act') {
    const { kind, seq } = append
    right = kind >= entryType.device && kind <= entryType.disclosure
    right &&= seq === undefined || (Number.isSafeInteger(seq) && seq > 0)
  } else {
    right = Number.isSafeInteger(append.expiresMs) && append.expiresMs >= 0
    sized.push([append.digest, 32], [append.challenge, limits.challengeBytes])
  }
  if (append.type === 'act' || append.type === 'session') {
    right &&= Buffer.byteLength(append.act) <= limits.actBytesMax
  } else {
    const { device, courier, transaction, parcel, sealedHash, carrier, outlet, refusal } = append
    sized.push([device, 16], [courier, 16], [transaction, 16], [parcel, 32], [sealedHash, 32])
    right &&= isPlace(carrier, outlet) && isAnswerOf(entryType[append.type], append.answer)
    right &&= Number.isInteger(refusal) && refusal >= 0 && refusal <= 255
  }
  if (!right || sized.some(([value, bytes]) => value.length !== bytes)) {
    throw new RangeError('an append that no entry can hold')
  }
}

/**
 * Prints one append for the worker.
 * @throws RangeError if no entry could hold it
 */
export function printAppend(append: Append): Buffer {
  assertForm(append)
  const kind = u8(shape[append.type])
  if (append.type === 'act') return printT2l(kind, u8(append.kind), append.act, u64(append.seq ?? 0))
  const { digest, challenge } = append
  const expires = u64(append.expiresMs)
  if (append.type === 'session') return printT2l(kind, digest, challenge, expires, append.act)
  const { answer, carrier, outlet, device, courier, parcel, sealedHash, refusal, transaction, subject } =
    append
  const who = [carrier, outlet, device, courier, parcel] as const
  const person = subject
    ? printT2l(subject.docType, subject.state, subject.number, subject.serial)
    : noSubject
  const head = [kind, digest, challenge, expires, u8(answer)] as const
  return printT2l(...head, ...who, sealedHash, u8(refusal), transaction, person)
}

function parseSubject(bytes: Buffer): Subject | undefined {
  const fields = parseT2l(bytes, [1, 2, 3, 4])
  if (!fields) return undefined
  const [docType, state, number, serial] = fields as [Buffer, Buffer, Buffer, Buffer]
  return { docType: docType.toString(), state: state.toString(), number: number.toString(), serial }
}

function parseAppend(bytes: Buffer): Append {
  const kind = bytes[3]
  const count = kind === shape.act ? 4 : kind === shape.session ? 5 : 14
  const tags = Array.from({ length: count }, (_, i) => i + 1)
  const fields = present(parseT2l(bytes, tags), 'the form of a message to the ledger')
  const at = (i: number) => fields[i] as Buffer
  if (kind === shape.act) {
    const seq = readU64(at(3))
    return {
      type: 'act',
      kind: at(1).readUInt8() as ActEntry['kind'],
      act: at(2).toString(),
      ...(seq > 0 ? { seq } : {}),
    }
  }
  const consumed = { digest: at(1), challenge: at(2), expiresMs: readU64(at(3)) }
  if (kind === shape.session) return { type: 'session', ...consumed, act: at(4).toString() }
  return {
    type: kind === shape.verify ? 'verify' : 'undecided',
    ...consumed,
    answer: at(4).readUInt8() as 1 | 2 | 3,
    carrier: at(5).toString(),
    outlet: at(6).toString(),
    device: at(7),
    courier: at(8),
    parcel: at(9),
    sealedHash: at(10),
    refusal: at(11).readUInt8(),
    transaction: at(12),
    subject: at(13).length > 0 ? parseSubject(at(13)) : undefined,
  }
}

/** Packs printed appends, each after its length as u32, into one ArrayBuffer of their own. */
export function packAppends(parts: readonly Buffer[]): ArrayBuffer {
  const size = parts.reduce((sum, part) => sum + 4 + part.length, 0)
  const out = new ArrayBuffer(size)
  const bytes = Buffer.from(out)
  let at = 0
  for (const part of parts) {
    bytes.writeUInt32BE(part.length, at)
    part.copy(bytes, at + 4)
    at += 4 + part.length
  }
  return out
}

/** The appends of one message, in order; throws on a form that `packAppends` does not make. */
export function unpackAppends(packed: ArrayBuffer): Append[] {
  const bytes = Buffer.from(packed)
  const appends: Append[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at)
    appends.push(parseAppend(bytes.subarray(at + 4, at + 4 + length)))
    at += 4 + length
  }
  return appends
}

/** `id` counts the posts. Times in Unix ms, days in Unix days, keys 32 bytes. */
export type ToWorker =
  | { kind: 'append'; id: number; nowMs: number; packed: ArrayBuffer }
  | { kind: 'keys'; day: number; record: Uint8Array<ArrayBuffer>; tag: Uint8Array<ArrayBuffer> }
  | { kind: 'noKeys'; day: number }
  | { kind: 'publish'; size: number; note: string }
  | { kind: 'close' }

/** `index` is that of the entry; a lost append has the winner's digest (empty for an act). */
export type Committed =
  | { index: number; timeMs: number; leaf: Uint8Array }
  | { index: number; lost: Uint8Array }

/** Results speak of the next appends of post `id` that have none yet, in order. */
export type FromWorker =
  | { kind: 'ready' }
  | {
      kind: 'done'
      results: { id: number; committed: Committed[] }[]
      size: number
      ms: number
    }
  | { kind: 'failed'; results: { id: number; count: number }[]; reason: string }
  | { kind: 'needKeys'; day: number }
  | { kind: 'checkpoint'; size: number; note: string }
  /** Entries are durable but not signed yet; it is tried again. */
  | { kind: 'unsigned'; reason: string }
  /** Nothing more is taken: the file is not the ledger that was signed. */
  | { kind: 'inconsistent'; reason: LedgerInconsistent['reason']; message: string }
