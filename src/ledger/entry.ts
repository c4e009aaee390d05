// Entries and private rows, byte by byte (PROTOCOL section 9). Pure: no store, no clock, no keys of its own.
import { isUtf8 } from 'node:buffer'
import type { KeyObject } from 'node:crypto'
import { hmacSha256, readU64, sha256, u8, u32, u64 } from '../base/bytes.ts'
import { open, seal } from '../base/seal.ts'
import { bind, bindFields, type Field, parseT2l, printT2l } from '../base/t2l.ts'

export const entryType = {
  verify: 1,
  undecided: 2,
  session: 3,
  device: 4,
  carrier: 5,
  operator: 6,
  key: 7,
  destruction: 8,
  disclosure: 9,
} as const

/** Fields of leaf data; those that a type lacks are undefined. Times in Unix ms, hashes 32 bytes. */
export type Entry = {
  type: number
  timeMs: number
  who?: Buffer
  answer?: number
  sealedHash?: Buffer
  jtiHash?: Buffer
  privateHash?: Buffer
  actHash?: Buffer
}

/** What the `who` hash of an entry opens to. */
export type WhoOpening = {
  carrier: string
  outlet: string
  device: Buffer
  courier: Buffer
  parcel: Buffer
  jti: Buffer
  blind: Buffer
}

const version = 1
const timeMsMax = BigInt(Number.MAX_SAFE_INTEGER)
const idBytes = 16
const hashBytes = 32
const prefix = bind('entry')
/** Lengths of the fields that are not hashes. */
const lengths: Record<number, number> = { 1: 1, 2: 1, 3: 8, 5: 1 }
const typesMax = entryType.disclosure

/** Where SQL finds the type of any entry, and the token's hash of a verification: fields are of fixed size. */
export const typeAt = 27
export const jtiHashAt = 116

const tagsOf = (type: number): readonly number[] => {
  if (type === entryType.verify) return [1, 2, 3, 4, 5, 6, 7, 8]
  if (type === entryType.undecided) return [1, 2, 3, 4, 5, 6, 8]
  return [1, 2, 3, 9]
}

/** Yes and no are answers of a verify entry, and undecided of an undecided one. */
export const isAnswerOf = (type: number, answer: number | undefined) =>
  type === entryType.verify ? answer === 1 || answer === 2 : answer === 3

/** The token id that follows from a request: SHA-256(jti{digest})[0..16) (PROTOCOL section 4). */
export const deriveJti = (digest: Buffer) => sha256(bind('jti', digest)).subarray(0, idBytes)

/**
 * Prints leaf data: `entry{...}`, with exactly the fields of its type.
 * @throws RangeError for a type, field, length or answer that no entry has
 */
export function printEntry(entry: Entry): Buffer {
  const values: Record<number, Uint8Array | undefined> = {
    1: u8(version),
    2: u8(entry.type),
    3: u64(entry.timeMs),
    4: entry.who,
    5: entry.answer === undefined ? undefined : u8(entry.answer),
    6: entry.sealedHash,
    7: entry.jtiHash,
    8: entry.privateHash,
    9: entry.actHash,
  }
  const fields = tagsOf(entry.type).map((tag): Field => {
    const value = values[tag]
    if (value?.length !== (lengths[tag] ?? hashBytes)) throw new RangeError(`entry field ${tag} is not right`)
    return [tag, value]
  })
  const printed = bindFields('entry', fields)
  // One reader decides what an entry is: what it would not read is never written.
  if (!parseEntry(printed)) throw new RangeError('an entry of no type that there is')
  return printed
}

/** Parses leaf data; undefined unless it is exactly what `printEntry` makes. */
export function parseEntry(data: Buffer): Entry | undefined {
  if (!data.subarray(0, prefix.length).equals(prefix)) return undefined
  const body = data.subarray(prefix.length)
  const type = body[7] // 01 0001 vv 02 0001 tt
  if (type === undefined || type < entryType.verify || type > typesMax) return undefined
  const tags = tagsOf(type)
  const values = parseT2l(body, tags)
  if (!values) return undefined
  const at = (tag: number) => values[tags.indexOf(tag)] as Buffer
  if (tags.some((tag) => at(tag).length !== (lengths[tag] ?? hashBytes))) return undefined
  if (at(1)[0] !== version || at(3).readBigUInt64BE() > timeMsMax) return undefined
  const timeMs = readU64(at(3))
  if (type > entryType.undecided) return { type, timeMs, actHash: at(9) }
  const answer = at(5).readUInt8()
  if (!isAnswerOf(type, answer)) return undefined
  const common = { type, timeMs, who: at(4), answer, sealedHash: at(6), privateHash: at(8) }
  return type === entryType.verify ? { ...common, jtiHash: at(7) } : common
}

const whoValues = (w: WhoOpening) => [w.carrier, w.outlet, w.device, w.courier, w.parcel, w.jti, w.blind]
const whoTags = [1, 2, 3, 4, 5, 6, 7]
const carrierId = /^[a-z0-9-]{2,32}$/
const outletId = /^[A-Za-z0-9-]{1,32}$/

/** Whether carrier and outlet have the form of PROTOCOL section 1. */
export const isPlace = (carrier: string, outlet: string) => carrierId.test(carrier) && outletId.test(outlet)

/** The opening of who, as private rows and receipts hold it. */
export const printWho = (who: WhoOpening) => printT2l(...whoValues(who))

/** Parses an opening of who; undefined unless it is exactly what `printWho` makes of a proper one. */
export function parseWho(bytes: Buffer): WhoOpening | undefined {
  const fields = parseT2l(bytes, whoTags)
  if (!fields) return undefined
  const [carrierBytes, outletBytes, device, courier, parcel, jti, blind] = fields as WhoFields
  if ([device, courier, jti, blind].some((id) => id.length !== idBytes)) return undefined
  const carrier = carrierBytes.toString('latin1')
  const outlet = outletBytes.toString('latin1')
  if (parcel.length !== hashBytes || !isPlace(carrier, outlet)) return undefined
  return { carrier, outlet, device, courier, parcel, jti, blind }
}
type WhoFields = [Buffer, Buffer, Buffer, Buffer, Buffer, Buffer, Buffer]

/** Field 04: `SHA-256(who{...})`; whoever holds the opening can recompute it, nobody else can guess it. */
export const hashWho = (who: WhoOpening) => sha256(bind('who', ...whoValues(who)))
/** Field 07. */
export const hashJti = (jti: Buffer) => sha256(jti)
/** Field 09: over the act as stored, UTF-8. */
export const hashAct = (act: string, blind: Buffer) => sha256(bind('act', act, blind))

/** Plain text of a verification's private blob: refusal, opening of who, bureau transaction. */
export const printPrivate = (refusal: number, who: WhoOpening, transaction: Buffer) =>
  printT2l(u8(refusal), printWho(who), transaction)

/** Parses what `printPrivate` makes; undefined for anything else. */
export function parsePrivate(
  plain: Buffer,
): { refusal: number; who: WhoOpening; transaction: Buffer } | undefined {
  const fields = parseT2l(plain, [1, 2, 3])
  if (!fields) return undefined
  const [refusal, opening, transaction] = fields as [Buffer, Buffer, Buffer]
  const who = parseWho(opening)
  if (!who || refusal.length !== 1 || transaction.length !== idBytes) return undefined
  return { refusal: refusal.readUInt8(), who, transaction }
}

/** Plain text of an act's private blob. */
export const printPrivateAct = (act: string, blind: Buffer) => printT2l(act, blind)

/** Parses what `printPrivateAct` makes; undefined for anything else. */
export function parsePrivateAct(plain: Buffer): { act: string; blind: Buffer } | undefined {
  const fields = parseT2l(plain, [1, 2])
  if (!fields) return undefined
  const [bytes, blind] = fields as [Buffer, Buffer]
  if (blind.length !== idBytes || !isUtf8(bytes)) return undefined
  return { act: bytes.toString(), blind }
}

const rowAad = (day: number) => bind('record', u32(day))
/** Seals a private blob under the record key of its day (Unix days). */
export const sealRow = (record: KeyObject, day: number, plain: Buffer) => seal(record, plain, rowAad(day))
/** Opens a private blob; undefined if altered, or under another key or day. */
export const openRow = (record: KeyObject, day: number, blob: Buffer) => open(record, blob, rowAad(day))

export type Subject = { docType: string; state: string; number: string; serial: Buffer }

const macOf = (tagKey: KeyObject, message: Uint8Array) => hmacSha256(tagKey, message).subarray(0, 16)

/** Tag by which the rows of one day about one person are found by who has the card. */
export const deriveSubjectTag = (tagKey: KeyObject, { docType, state, number }: Omit<Subject, 'serial'>) =>
  macOf(tagKey, bind('subject-tag', docType, state, number))

/** Tag by which the rows of one day about one card are found by who has it. */
export const deriveCardTag = (tagKey: KeyObject, { docType, state, serial }: Omit<Subject, 'number'>) =>
  macOf(tagKey, bind('card-tag', docType, state, serial))

/** Both tags of one day. */
export const deriveTags = (tagKey: KeyObject, subject: Subject) => ({
  subjectTag: deriveSubjectTag(tagKey, subject),
  cardTag: deriveCardTag(tagKey, subject),
})
