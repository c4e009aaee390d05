// The sealed reading: who it is bound to, and the one name of a request (PROTOCOL sections 4, 7).
import type { KeyObject } from 'node:crypto'
import { sha256 } from '../base/bytes.ts'
import { open, seal } from '../base/seal.ts'
import { bind } from '../base/t2l.ts'

export type ReadingContext = {
  device: Buffer
  sid: Buffer
  challenge: Buffer
  parcel: Buffer
  carrier: string
}

const aadOf = (c: ReadingContext) => bind('seal', c.device, c.sid, c.challenge, c.parcel, c.carrier)

export const sealReading = (key: KeyObject, plain: Buffer, context: ReadingContext) =>
  seal(key, plain, aadOf(context))

/** The bytes of a reading, or undefined if the seal was not made for this context. */
export const openReading = (key: KeyObject, sealed: Buffer, context: ReadingContext) =>
  open(key, sealed, aadOf(context))

/** SHA-256(request{device, sid, challenge, parcel, sealed}): every id of the answer follows from it. */
export const requestDigest = (c: Omit<ReadingContext, 'carrier'>, sealed: Buffer) =>
  sha256(bind('request', c.device, c.sid, c.challenge, c.parcel, sealed))

/** The commitment to a waybill; carrier keeps waybill and salt. */
export const commitParcel = (carrier: string, waybill: string, salt: Buffer) =>
  sha256(bind('parcel', carrier, waybill, salt))
