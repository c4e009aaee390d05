// What the reading of a chip comes to, whatever document it is of, and the seam behind which each kind is checked
// (PROTOCOL sections 0.6 and 7, rows 7-12).
import type { Brand } from '../base/brand.ts'
import { bind } from '../base/t2l.ts'
import type { Reading } from './reading.ts'

/** Whom a document is about, in the strings that bureau, cache and tags use. */
export type Person = {
  docType: 'ID' | 'P'
  /** ISO 3166 alpha-3 of the state that issued it. */
  state: string
  number: string
  name: string
  /** 16 bytes. */
  serial: Buffer
  /** YYYYMMDD; 99991231 for no end. */
  validTo: string
}

/** A person whose document and chip were found right; made by a ChipVerifier alone. */
export type VerifiedCard = Brand<Person, 'VerifiedCard'>

/** What the chip had to sign for, as the gateway knows it: never what the reading says. */
export type ChipContext = { challenge: Buffer; device: Buffer; parcel: Buffer; carrier: string }

export type CardVerdict =
  | { refusal: 0; card: VerifiedCard }
  /** `person` once rows 7-11 passed and number and text are right: for the private tags only. */
  | { refusal: number; person?: Person }

/**
 * Checks a reading, of a suite that is its own, against our own context.
 * @throws GatewayError where it cannot be decided, such as `trust_stale`
 */
export type ChipVerifier = (
  reading: Reading,
  given: { context: ChipContext; nowMs: number },
) => CardVerdict | Promise<CardVerdict>

/** `chip{challenge, device, parcel, carrier, H(SOD)}`. */
export const chipMessage = (c: ChipContext, sodHash: Buffer) =>
  bind('chip', c.challenge, c.device, c.parcel, c.carrier, sodHash)
