// The opened reading: exactly 2048 bytes of a card or 4096 of a passport, `u16 length || T2L || zeros` (PROTOCOL
// section 6). Only its shape is checked here; nothing in it is believed.
import { u8, u16 } from '../base/bytes.ts'
import { limits } from '../base/limits.ts'
import { parseT2l, printT2l } from '../base/t2l.ts'
import { dg1Sizes } from './passport/mrz.ts'

export type Reading = {
  suite: number
  sod: Buffer
  dg1: Buffer
  dg14: Buffer
  dg15: Buffer
  chipSignature: Buffer
  flags: number
}

export const saltBytes = 16
export const dg1Bytes = saltBytes + limits.recordBytes
export const dg14Bytes = saltBytes + 8 + 16
const fieldTags = [1, 2, 3, 4, 5, 6, 7]
const lengthBytes = 2

/** Whose chip a passport's is; all other suites are of cards. */
export const passportSuite = 3

/** A card read through a licensed SAM (docs/SAM.md): no files, and in the place of the SOD the SAM's transaction. */
export const samSuite = 4

type Sizes = {
  plain: number
  sod: [number, number]
  dg1: readonly number[]
  dg14: [number, number]
  dg15: [number, number]
  chipSignature: [number, number]
}
const anySize: [number, number] = [0, limits.passportReadingBytes]
const noBytes: [number, number] = [0, 0]
const ofCard: Sizes = {
  plain: limits.readingBytes,
  sod: anySize,
  dg1: [dg1Bytes],
  dg14: [dg14Bytes, dg14Bytes],
  dg15: anySize,
  chipSignature: [64, 64],
}
/** EF.DG14 may be left out; signatures from r||s on P-256 to RSA of 4096 bits. */
const ofPassport: Sizes = {
  plain: limits.passportReadingBytes,
  sod: anySize,
  dg1: dg1Sizes,
  dg14: anySize,
  dg15: anySize,
  chipSignature: [64, 512],
}
const ofSam: Sizes = {
  plain: limits.readingBytes,
  sod: [limits.samTransactionBytesMin, limits.samTransactionBytesMax],
  dg1: [0],
  dg14: noBytes,
  dg15: noBytes,
  chipSignature: noBytes,
}
/** Of suites that are not known as of cards: whether one is enabled is asked elsewhere. */
const sizesOf = (suite: number) => {
  if (suite === passportSuite) return ofPassport
  return suite === samSuite ? ofSam : ofCard
}
const isWithin = (bytes: Buffer, [min, max]: [number, number]) => min <= bytes.length && bytes.length <= max

const zeros = Buffer.alloc(limits.passportReadingBytes)

/** Undefined unless length, T2L, padding and field sizes are exactly as documented. */
export function parseReading(plain: Buffer): Reading | undefined {
  if (plain.length !== ofCard.plain && plain.length !== ofPassport.plain) return undefined
  const end = lengthBytes + plain.readUInt16BE(0)
  if (end > plain.length || !plain.subarray(end).equals(zeros.subarray(end, plain.length))) return undefined
  const values = parseT2l(plain.subarray(lengthBytes, end), fieldTags)
  if (!values) return undefined
  const [suite, sod, dg1, dg14, dg15, chipSignature, flags] = values as [
    Buffer,
    Buffer,
    Buffer,
    Buffer,
    Buffer,
    Buffer,
    Buffer,
  ]
  if (suite.length !== 1 || flags.length !== 1 || flags[0] !== 0) return undefined
  const sizes = sizesOf(suite.readUInt8())
  if (plain.length !== sizes.plain || !sizes.dg1.includes(dg1.length)) return undefined
  if (!isWithin(sod, sizes.sod) || !isWithin(dg14, sizes.dg14) || !isWithin(dg15, sizes.dg15))
    return undefined
  if (!isWithin(chipSignature, sizes.chipSignature)) return undefined
  return { suite: suite.readUInt8(), sod, dg1, dg14, dg15, chipSignature, flags: 0 }
}

/** The 2048 or 4096 bytes of a reading, by its suite. Throws RangeError if it does not fit. */
export function printReading(reading: Reading): Buffer {
  const { suite, sod, dg1, dg14, dg15, chipSignature, flags } = reading
  const body = printT2l(u8(suite), sod, dg1, dg14, dg15, chipSignature, u8(flags))
  const bytes = sizesOf(suite).plain
  if (lengthBytes + body.length > bytes) throw new RangeError('the reading does not fit')
  return Buffer.concat([u16(body.length), body], bytes)
}
