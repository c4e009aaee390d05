// The opened reading: exactly 2048 bytes, `u16 length || T2L || zeros` (PROTOCOL section 6). Only its shape is
// checked here; nothing in it is believed.
import { u8, u16 } from '../base/bytes.ts'
import { limits } from '../base/limits.ts'
import { parseT2l, printT2l } from '../base/t2l.ts'

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
const chipSignatureBytes = 64
const lengthBytes = 2

/** A card read through a licensed SAM (docs/SAM.md): no files, and in the place of the SOD the SAM's transaction. */
export const samSuite = 4

const isOfSam = ({ sod, dg1, dg14, dg15, chipSignature }: Omit<Reading, 'suite' | 'flags'>) =>
  sod.length >= limits.samTransactionBytesMin &&
  sod.length <= limits.samTransactionBytesMax &&
  [dg1, dg14, dg15, chipSignature].every((field) => field.length === 0)

/** Undefined unless length, T2L, padding and field sizes are exactly as documented. */
export function parseReading(plain: Buffer): Reading | undefined {
  if (plain.length !== limits.readingBytes) return undefined
  const end = lengthBytes + plain.readUInt16BE(0)
  if (end > plain.length || plain.subarray(end).some((byte) => byte !== 0)) return undefined
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
  const sizes =
    suite.readUInt8() === samSuite
      ? isOfSam({ sod, dg1, dg14, dg15, chipSignature })
      : dg1.length === dg1Bytes && dg14.length === dg14Bytes && chipSignature.length === chipSignatureBytes
  if (!sizes) return undefined
  return { suite: suite.readUInt8(), sod, dg1, dg14, dg15, chipSignature, flags: 0 }
}

/** The 2048 bytes of a reading. Throws RangeError if it does not fit. */
export function printReading(reading: Reading): Buffer {
  const { suite, sod, dg1, dg14, dg15, chipSignature, flags } = reading
  const body = printT2l(u8(suite), sod, dg1, dg14, dg15, chipSignature, u8(flags))
  if (lengthBytes + body.length > limits.readingBytes) throw new RangeError('the reading does not fit')
  return Buffer.concat([u16(body.length), body], limits.readingBytes)
}
