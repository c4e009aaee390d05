// Rows 7-12 of the order of checks, as a list of named steps: the first that fails sets the refusal
// (PROTOCOL section 7). Only what passes them all becomes a VerifiedCard. No memo: every signature is checked.
import type { KeyObject } from 'node:crypto'
import { present } from '../base/assert.ts'
import type { Brand } from '../base/brand.ts'
import { type Der, DerError, readDer } from '../base/der.ts'
import { GatewayError } from '../base/errors.ts'
import { bind } from '../base/t2l.ts'
import type { CardTrust } from '../pki/anchors.ts'
import { isDocumentSigner, isInTime, isTrusted } from '../pki/chain.ts'
import { dg1Bytes, type Reading, saltBytes } from './reading.ts'
import { checkRecord, type Person } from './record.ts'
import { refusal } from './refusal.ts'
import { ldsContentType, parseSod, signedBytesOf, type UnverifiedSod } from './sod.ts'
import { type CardSuite, p256 } from './suites/p256.ts'

export type { Person } from './record.ts'

/** A person whose card and chip were found right; made by `checkCard` alone. */
export type VerifiedCard = Brand<Person, 'VerifiedCard'>

/** What the chip had to sign for, as the gateway knows it: never what the reading says. */
export type ChipContext = { challenge: Buffer; device: Buffer; parcel: Buffer; carrier: string }

export type CardVerdict =
  | { refusal: 0; card: VerifiedCard }
  /** `person` once rows 7-11 passed and number and text are right: for the private tags only. */
  | { refusal: number; person?: Person }

type Check = {
  reading: Reading
  context: ChipContext
  trust: CardTrust
  nowMs: number
  suite: CardSuite
  // What the steps find, each for those after it.
  der?: Der
  sod?: UnverifiedSod
  signerKey?: KeyObject
  person?: Person
}

const suites: ReadonlyMap<number, CardSuite> = new Map([[p256.id, p256]])

/** Each step returns 0 or its refusal; a DER error in it is the refusal beside it. */
type Step = { row: number; run: (check: Check) => number; malformed: number }

const steps: readonly Step[] = [
  { row: 7, run: readSod, malformed: refusal.sodParse },
  { row: 7, run: checkProfile, malformed: refusal.sodProfile },
  { row: 8, run: checkSigner, malformed: refusal.signerUsage },
  { row: 9, run: checkSignature, malformed: refusal.attributes },
  { row: 10, run: checkHashes, malformed: refusal.dg1 },
  { row: 11, run: checkChip, malformed: refusal.chipKey },
  { row: 12, run: checkText, malformed: refusal.text },
]

/**
 * Checks a reading, of a suite that row 6 found enabled, against our own context.
 * @param options.nowMs Unix ms
 * @throws GatewayError `trust_stale` when the revocation list is not fresh (row 8)
 */
export function checkCard(
  reading: Reading,
  options: { context: ChipContext; trust: CardTrust; nowMs: number },
): CardVerdict {
  const suite = present(suites.get(reading.suite), 'the suite of a reading that row 6 let through')
  const check: Check = { reading, ...options, suite }
  for (const step of steps) {
    const found = runStep(step, check)
    if (found !== 0) return { refusal: found, ...(check.person ? { person: check.person } : {}) }
  }
  return { refusal: 0, card: check.person as VerifiedCard }
}

function runStep(step: Step, check: Check): number {
  try {
    return step.run(check)
  } catch (error) {
    if (error instanceof DerError) return step.malformed
    throw error
  }
}

/** Row 7: strict DER, all the way down. */
function readSod(check: Check): number {
  check.der = readDer(check.reading.sod)
  return 0
}

/** Row 7: the profile of PROTOCOL section 6. */
function checkProfile(check: Check): number {
  check.sod = parseSod(present(check.der, 'the SOD as DER'), check.suite)
  return 0
}

const sodOf = (check: Check) => present(check.sod, 'the parsed SOD')

/** Row 8: anchor and signature, times, revocation, usage. */
function checkSigner(check: Check): number {
  const { trust, nowMs, suite } = check
  const { signer, attributeValues } = sodOf(check)
  if (!trust.crl.isFresh(nowMs)) throw new GatewayError('trust_stale', 'crl_not_fresh')
  if (!isTrusted(signer, trust.anchors, suite.id)) return refusal.signerUntrusted
  // Nothing says that this signer is not revoked: we cannot decide.
  if (!trust.crl.covers(signer.issuer)) throw new GatewayError('trust_stale', 'crl_of_another_issuer')
  // Without a signing time there is nothing to date: row 9 refuses the attributes.
  if (attributeValues && !isInTime(signer, attributeValues.signedMs, nowMs)) return refusal.signerTime
  if (trust.crl.has(signer.serial)) return refusal.signerRevoked
  const key = suite.importKey(signer.spki)
  if (!key || !isDocumentSigner(signer)) return refusal.signerUsage
  check.signerKey = key
  return 0
}

/** Row 9: signedAttrs, messageDigest, signature over the received bytes. */
function checkSignature(check: Check): number {
  const { suite } = check
  const { attributeValues, content, attributes, signature } = sodOf(check)
  if (attributeValues?.contentType !== ldsContentType) return refusal.attributes
  if (!suite.hash(content).equals(attributeValues.messageDigest)) return refusal.messageDigest
  const key = present(check.signerKey, 'the key of a signer that row 8 let through')
  return suite.checkDer(key, signedBytesOf(attributes), signature) ? 0 : refusal.sodSignature
}

/** Row 10. */
function checkHashes(check: Check): number {
  const { reading, suite } = check
  const { hashes } = sodOf(check)
  const matches = (group: number, file: Buffer) => hashes.get(group)?.equals(suite.hash(file)) === true
  if (!matches(1, reading.dg1)) return refusal.dg1
  if (!matches(14, reading.dg14)) return refusal.dg14
  return matches(15, reading.dg15) ? 0 : refusal.dg15
}

/** Row 11: the chip key of the signed DG15 over our challenge, device, parcel and carrier. */
function checkChip({ reading, context, suite }: Check): number {
  const key = suite.importKey(reading.dg15)
  if (!key) return refusal.chipKey
  const message = chipMessage(context, suite.hash(reading.sod))
  return suite.checkRaw(key, message, reading.chipSignature) ? 0 : refusal.chipSignature
}

/** Row 12. */
function checkText(check: Check): number {
  const { dg1, dg14 } = check.reading
  const serial = Buffer.from(dg14.subarray(saltBytes + 8)) // A view would keep the whole reading alive.
  const found = checkRecord(dg1.subarray(saltBytes, dg1Bytes), serial, check.nowMs)
  if (found.person) check.person = found.person
  return found.refusal
}

/** `chip{challenge, device, parcel, carrier, H(SOD)}`. */
export const chipMessage = (c: ChipContext, sodHash: Buffer) =>
  bind('chip', c.challenge, c.device, c.parcel, c.carrier, sodHash)
