// Entries and private rows, byte by byte (PROTOCOL section 9). Pure: no store, no clock, no keys of its own.
import { createHmac, type KeyObject } from 'node:crypto'
import { readU64, sha256, u8, u32, u64 } from '../base/bytes.ts'
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
const prefix = bind('entry').subarray(0)
const tagsOf = (type: number): readonly number[] => {
  if (type === entryType.verify) return [1, 2, 3, 4, 5, 6, 7, 8]
  if (type === entryType.undecided) return [1, 2, 3, 4, 5, 6, 8]
  return [1, 2, 3, 9]
}

/** The token id that follows from a request: SHA-256(jti{digest})[0..16) (PROTOCOL section 4). */
export const deriveJti = (digest: Buffer) => sha256(bind('jti', digest)).subarray(0, 16)

/** Leaf data: `entry{...}`. */
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
    if (!value) throw new RangeError(`an entry of type ${entry.type} needs field ${tag}`)
    return [tag, value]
  })
  return bindFields('entry', fields)
}

/** Parses leaf data; undefined unless it is exactly what `printEntry` makes. */
export function parseEntry(data: Buffer): Entry | undefined {
  if (!data.subarray(0, prefix.length).equals(prefix)) return undefined
  const body = data.subarray(prefix.length)
  const type = body[7] // 01 0001 vv 02 0001 tt
  if (type === undefined || type < 1 || type > 9) return undefined
  const tags = tagsOf(type)
  const values = parseT2l(body, tags)
  if (!values) return undefined
  const at = (tag: number) => values[tags.indexOf(tag)] as Buffer
  const sizes: Record<number, number> = { 1: 1, 2: 1, 3: 8, 5: 1 }
  if (tags.some((tag) => at(tag).length !== (sizes[tag] ?? 32)) || at(1)[0] !== version) return undefined
  const timeMs = readU64(at(3))
  if (type > entryType.undecided) return { type, timeMs, actHash: at(9) }
  const answer = at(5).readUInt8()
  const common = { type, timeMs, who: at(4), answer, sealedHash: at(6), privateHash: at(8) }
  return type === entryType.verify ? { ...common, jtiHash: at(7) } : common
}

const whoValues = (w: WhoOpening) => [w.carrier, w.outlet, w.device, w.courier, w.parcel, w.jti, w.blind]

export const hashWho = (who: WhoOpening) => sha256(bind('who', ...whoValues(who)))
export const hashJti = (jti: Buffer) => sha256(jti)
export const hashAct = (act: string, blind: Buffer) => sha256(bind('act', act, blind))

/** Plain text of a verification's private blob: refusal, opening of who, bureau transaction. */
export const printPrivate = (refusal: number, who: WhoOpening, transaction: Buffer) =>
  printT2l(u8(refusal), printT2l(...whoValues(who)), transaction)

export function parsePrivate(plain: Buffer) {
  const fields = parseT2l(plain, [1, 2, 3])
  const who = fields?.[1] && parseT2l(fields[1], [1, 2, 3, 4, 5, 6, 7])
  if (!fields || !who || fields[0]?.length !== 1) return undefined
  const [carrier, outlet, device, courier, parcel, jti, blind] = who as [
    Buffer,
    Buffer,
    Buffer,
    Buffer,
    Buffer,
    Buffer,
    Buffer,
  ]
  const opening: WhoOpening = {
    carrier: carrier.toString(),
    outlet: outlet.toString(),
    device,
    courier,
    parcel,
    jti,
    blind,
  }
  return { refusal: (fields[0] as Buffer).readUInt8(), who: opening, transaction: fields[2] as Buffer }
}

/** Plain text of an act's private blob. */
export const printPrivateAct = (act: string, blind: Buffer) => printT2l(act, blind)

const rowAad = (day: number) => bind('record', u32(day))
export const sealRow = (record: KeyObject, day: number, plain: Buffer) => seal(record, plain, rowAad(day))
export const openRow = (record: KeyObject, day: number, blob: Buffer) => open(record, blob, rowAad(day))

export type Subject = { docType: string; state: string; number: string; serial: Buffer }

/** Tags by which the rows of one day about one person or card are found by who has the card. */
export function deriveTags(tagKey: KeyObject, subject: Subject): { subjectTag: Buffer; cardTag: Buffer } {
  const { docType, state, number, serial } = subject
  const mac = (message: Uint8Array) => createHmac('sha256', tagKey).update(message).digest().subarray(0, 16)
  return {
    subjectTag: mac(bind('subject-tag', docType, state, number)),
    cardTag: mac(bind('card-tag', docType, state, serial)),
  }
}
