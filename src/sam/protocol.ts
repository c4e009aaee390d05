// The wire between the gateway and a SAM service, and what such a service attests: ours, and no official protocol
// (docs/SAM.md). The one file that the gateway's client and the mock share.
import { type Static, Type } from 'typebox'
import { base64urlLength, sha256, u64 } from '../base/bytes.ts'
import { limits } from '../base/limits.ts'
import { type Bound, bind } from '../base/t2l.ts'

export const bindingBytes = 32
export const serialBytes = 16
export const attestationBytes = 64

/** What a card came to in the SAM; `record` is the 256 bytes of text, `serial` 16 bytes, `attestation` 64. */
export type SamRecord = { record: Buffer; serial: Buffer; readAtMs: number; attestation: Buffer }

/**
 * Whatever can hand over what a licensed SAM decoded.
 * @returns undefined where the service knows of no such reading for this binding: then the answer is no
 * @throws whatever keeps it from knowing: then nothing is answered. It must settle soon after `signal` aborts
 */
export type SamAdapter = {
  fetchRecord(transaction: Buffer, binding: Buffer, signal: AbortSignal): Promise<SamRecord | undefined>
}

/** What a reading is for: told to the SAM before it reads, and known to the gateway by itself. */
export type ReadFor = { challenge: Buffer; device: Buffer; parcel: Buffer; carrier: string }

/** 32 bytes that tell the service neither carrier, parcel nor device: `SHA-256(sam-read{...})`. */
export const bindingOf = ({ challenge, device, parcel, carrier }: ReadFor) =>
  sha256(bind('sam-read', challenge, device, parcel, carrier))

/** What the service signs, ECDSA-SHA256: `sam-record{transaction, binding, record, serial, readAt u64}`. */
export const attestedMessage = (
  transaction: Buffer,
  binding: Buffer,
  { record, serial, readAtMs }: Omit<SamRecord, 'attestation'>,
): Bound => bind('sam-record', transaction, binding, record, serial, u64(readAtMs))

const object = <T extends Parameters<typeof Type.Object>[0]>(fields: T) =>
  Type.Object(fields, { additionalProperties: false })

const Binary = (min: number, max = min) =>
  Type.String({
    minLength: base64urlLength(min),
    maxLength: base64urlLength(max),
    pattern: '^[A-Za-z0-9_-]+$',
  })

/** `POST /v1/records`. */
export const RecordRequest = object({
  transaction: Binary(limits.samTransactionBytesMin, limits.samTransactionBytesMax),
  binding: Binary(bindingBytes),
})
export type RecordRequest = Static<typeof RecordRequest>

/** 200 in both cases: that nothing was found is a statement of the service, which no proxy's 404 may make. */
export const RecordReply = Type.Union([
  object({ found: Type.Literal(false) }),
  object({
    found: Type.Literal(true),
    record: Binary(limits.recordBytes),
    serial: Binary(serialBytes),
    readAt: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    attestation: Binary(attestationBytes),
  }),
])
export type RecordReply = Static<typeof RecordReply>
