// A card read through a licensed SAM: the SAM authenticates the chip and decodes the record, and its service attests
// to both for our own challenge, device, parcel and carrier (docs/SAM.md). What stands in for rows 7-11; row 12 as ever.
import type { KeyObject } from 'node:crypto'
import { GatewayError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { checkP256 } from '../base/p256.ts'
import { attestedMessage, bindingOf, type SamRecord, serialBytes } from '../sam/protocol.ts'
import { checkRecord } from './record.ts'
import { refusal } from './refusal.ts'
import type { CardVerdict, ChipVerifier, VerifiedCard } from './verdict.ts'

/** An answer of the service that nobody but the service can be the cause of. */
export type Doubt = 'attestation' | 'time'

type Given = {
  /** Rejects with a GatewayError where it cannot be known. */
  fetchRecord: (transaction: Buffer, binding: Buffer) => Promise<SamRecord | undefined>
  /** P-256, pinned: what the service attests with. */
  attestationKey: KeyObject
  /** When a challenge began and ends, Unix ms. */
  lifeOf: (challenge: Buffer) => { issuedMs: number; expiresMs: number }
  onDoubt: (doubt: Doubt) => void
}

const noChip: CardVerdict = { refusal: refusal.chipSignature }

/** Checks readings of suite 4, which carry nothing but the SAM's transaction. */
export function createSamVerifier(given: Given): ChipVerifier {
  const { fetchRecord, attestationKey, lifeOf, onDoubt } = given
  return async (reading, { context, nowMs }) => {
    const transaction = reading.sod
    const binding = bindingOf(context)
    const found = await fetchRecord(transaction, binding)
    if (!found) return noChip // Unknown, or read for another request: which of the two is not told.
    assertShape(found)
    // Not verified so far: that the service said so, that it said so of this request, and when it read.
    if (!checkP256(attestationKey, attestedMessage(transaction, binding, found), found.attestation)) {
      onDoubt('attestation')
      return noChip
    }
    if (!isInTime(found.readAtMs, { ...lifeOf(context.challenge), nowMs })) {
      onDoubt('time')
      return noChip
    }
    return checkText(found, nowMs)
  }
}

/** An adapter need not be ours. @throws GatewayError sam_unavailable */
function assertShape({ record, serial, readAtMs }: SamRecord): void {
  const isRight =
    record.length === limits.recordBytes && serial.length === serialBytes && Number.isSafeInteger(readAtMs)
  if (!isRight || readAtMs < 0) throw new GatewayError('sam_unavailable', 'record_shape')
}

const skewMs = limits.clockSkewS * 1000

/** Within the life of our challenge, which nobody could know before, and not in the future. */
function isInTime(readAtMs: number, given: { issuedMs: number; expiresMs: number; nowMs: number }): boolean {
  const { issuedMs, expiresMs, nowMs } = given
  return readAtMs >= issuedMs - skewMs && readAtMs <= Math.min(expiresMs, nowMs) + skewMs
}

/** Row 12. */
function checkText({ record, serial }: SamRecord, nowMs: number): CardVerdict {
  const found = checkRecord(record, serial, nowMs)
  if (found.refusal === 0) return { refusal: 0, card: found.person as VerifiedCard }
  return { refusal: found.refusal, ...(found.person ? { person: found.person } : {}) }
}
