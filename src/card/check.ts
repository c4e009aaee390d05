// Rows 7-12 of the order of checks for cards, as a list of named steps: the first that fails sets the refusal
// (PROTOCOL section 7). Only what passes them all becomes a VerifiedCard. A memo spares parsing and signatures of what
// was found right before; times, lists and the chip are looked at on every request.
import { present } from '../base/assert.ts'
import { type DerCursor, readForward } from '../base/der-cursor.ts'
import { GatewayError } from '../base/errors.ts'
import type { TakeTurn } from '../base/turns.ts'
import type { CardTrust } from '../pki/anchors.ts'
import { findIssuer, isDocumentSigner, isInTime, periodOf } from '../pki/chain.ts'
import { p256, type Suite, type SuiteKey } from '../pki/suites.ts'
import { Memo, nameOf, type ProvenSigner, type ProvenSod, type Standing } from './memo.ts'
import { dg1Bytes, type Reading, saltBytes } from './reading.ts'
import { checkRecord } from './record.ts'
import { refusal } from './refusal.ts'
import { ldsContentType, parseSod, signedBytesOf, type UnverifiedSod } from './sod.ts'
import { runSteps, runStepsInTurns, type Step } from './steps.ts'
import { type ChipContext, type ChipVerifier, chipMessage, type Person } from './verdict.ts'

type Check = {
  reading: Reading
  context: ChipContext
  trust: CardTrust
  nowMs: number
  suite: Suite
  memo: Memo
  sodName: string
  // What the steps find, each for those after it.
  der?: DerCursor
  sod?: UnverifiedSod
  signerName?: string
  signer?: Standing & { key?: SuiteKey }
  proven?: ProvenSod
  person?: Person
}

const steps: readonly Step<Check>[] = [
  { row: 7, run: readSod, malformed: refusal.sodParse, once: true },
  { row: 7, run: checkProfile, malformed: refusal.sodProfile, once: true },
  { row: 8, run: checkAnchors, malformed: refusal.signerUntrusted },
  { row: 8, run: checkIssuer, malformed: refusal.signerUsage, once: true, slow: true },
  { row: 8, run: checkStanding, malformed: refusal.signerUsage },
  { row: 8, run: checkUsage, malformed: refusal.signerUsage, once: true },
  { row: 9, run: checkSignature, malformed: refusal.attributes, once: true, slow: true },
  { row: 10, run: checkHashes, malformed: refusal.dg1 },
  { row: 11, run: checkChip, malformed: refusal.chipKey, slow: true },
  { row: 12, run: checkText, malformed: refusal.text },
]

/** The state whose cards these suites are. */
const state = 'CHN'

/**
 * Checks the readings of cards in one suite, and remembers what it found right.
 * @param given.trust the trust in force; the same object as long as nothing of it changes
 * @param given.takeTurn awaited before each signature, for a suite whose signatures would make others wait
 * @throws GatewayError `trust_stale` when anchors or revocation list have ended (row 8)
 */
export function createCardVerifier(given: {
  suite: Suite
  trust: () => CardTrust
  takeTurn?: TakeTurn
}): ChipVerifier {
  const { suite, takeTurn } = given
  const memo = new Memo()
  const verify: ChipVerifier = (reading, { context, nowMs }) => {
    const trust = given.trust()
    memo.under(trust)
    const sodName = nameOf(reading.sod)
    const check: Check = { reading, context, nowMs, suite, trust, memo, sodName }
    const proven = memo.sod(sodName)
    if (proven) {
      check.proven = proven
      check.signer = proven.signer
    }
    const due = proven ? stepsOfKnown : steps
    if (!takeTurn) return runSteps(due, check)
    const isCurrent = () => given.trust() === trust
    return runStepsInTurns(due, check, {
      takeTurn,
      isCurrent,
      again: () => verify(reading, { context, nowMs }),
    })
  }
  return verify
}

const stepsOfKnown = steps.filter((step) => !step.once)

/** Row 7: strict DER, all the way down. */
function readSod(check: Check): number {
  check.der = readForward(check.reading.sod)
  return 0
}

/** Row 7: the profile of PROTOCOL section 6. */
function checkProfile(check: Check): number {
  check.sod = parseSod(present(check.der, 'the SOD as DER'), check.suite)
  return 0
}

const sodOf = (check: Check) => present(check.sod, 'the parsed SOD')
const signerOf = (check: Check) => present(check.signer, 'a signer whose issuer was found')

/** Row 8: what is trusted is known to be so now. */
function checkAnchors({ trust, nowMs }: Check): number {
  if (nowMs > trust.notAfterMs) throw new GatewayError('trust_stale', 'anchors_ended')
  return 0
}

/** Row 8: signed by an anchor for cards of this suite. */
function checkIssuer(check: Check): number {
  const { signer } = sodOf(check)
  check.signerName = nameOf(signer.raw)
  const known = check.memo.signer(check.signerName)
  if (known) {
    check.signer = known
    return 0
  }
  const anchor = findIssuer(signer, check.trust.anchors, check.suite)
  if (anchor?.state !== state) return refusal.signerUntrusted
  check.signer = { anchor, serial: signer.serial.toString('hex'), period: periodOf(signer) }
  return 0
}

/** Row 8, on every request: the revocation list, the times and whether it is listed. */
function checkStanding(check: Check): number {
  const { trust, nowMs } = check
  const { anchor, serial, period } = signerOf(check)
  const list = trust.listOf(anchor)
  if (!list?.isFresh(nowMs)) throw new GatewayError('trust_stale', list ? 'list_not_fresh' : 'no_list')
  if (nowMs < anchor.notBeforeMs || nowMs > anchor.notAfterMs) return refusal.signerTime
  const signedMs = check.proven ? check.proven.signedMs : sodOf(check).attributeValues?.signedMs
  // Without a signing time there is nothing to date: row 9 refuses the attributes.
  if (signedMs !== undefined && !isInTime(period, signedMs, nowMs)) return refusal.signerTime
  return list.hasHex(serial) ? refusal.signerRevoked : 0
}

/** Row 8: what the signer is for. */
function checkUsage(check: Check): number {
  const signer = signerOf(check)
  if (signer.key) return 0
  const { signer: certificate } = sodOf(check)
  const key = check.suite.importKey(certificate.spki)
  if (!key || !isDocumentSigner(certificate)) return refusal.signerUsage
  const proven: ProvenSigner = { ...signer, key }
  check.signer = proven
  check.memo.keepSigner(check.trust, present(check.signerName, 'the name of a signer'), proven)
  return 0
}

/** Row 9: signedAttrs, messageDigest, signature over the received bytes. */
function checkSignature(check: Check): number {
  const { suite } = check
  const { attributeValues, content, attributes, signature, hashes } = sodOf(check)
  if (attributeValues?.contentType !== ldsContentType) return refusal.attributes
  if (!suite.hash(content).equals(attributeValues.messageDigest)) return refusal.messageDigest
  const signer = signerOf(check) as ProvenSigner
  if (!signer.key.checkDer(signedBytesOf(attributes), signature)) return refusal.sodSignature
  const hashOf = (group: number) => present(hashes.get(group), 'a hash that row 7 found')
  const { signedMs } = attributeValues
  check.proven = { signer, signedMs, dg1: hashOf(1), dg14: hashOf(14), dg15: hashOf(15) }
  check.memo.keepSod(check.trust, check.sodName, check.proven)
  return 0
}

/** Row 10. */
function checkHashes(check: Check): number {
  const { reading, suite } = check
  const signed = present(check.proven, 'a SOD that row 9 let through')
  if (signed.dg1 !== suite.hashText(reading.dg1)) return refusal.dg1
  if (signed.dg14 !== suite.hashText(reading.dg14)) return refusal.dg14
  return signed.dg15 === suite.hashText(reading.dg15) ? 0 : refusal.dg15
}

/** Row 11: the chip key of the signed DG15 over our challenge, device, parcel and carrier. Never remembered. */
function checkChip({ reading, context, suite, sodName }: Check): number {
  const key = suite.importKey(reading.dg15)
  if (!key) return refusal.chipKey
  // Of P-256 the hash is the name that it is remembered by.
  const message = chipMessage(
    context,
    suite === p256 ? Buffer.from(sodName, 'latin1') : suite.hash(reading.sod),
  )
  return key.checkRaw(message, reading.chipSignature) ? 0 : refusal.chipSignature
}

/** Row 12, and whether the anchor may vouch for the authority that the record names. */
function checkText(check: Check): number {
  const { dg1, dg14 } = check.reading
  const serial = Buffer.from(dg14.subarray(saltBytes + 8)) // A view would keep the whole reading alive.
  const found = checkRecord(dg1.subarray(saltBytes, dg1Bytes), serial, check.nowMs)
  const { authorities } = signerOf(check).anchor
  if (found.authority !== undefined && authorities.length > 0) {
    const { authority } = found
    if (!authorities.some((prefix) => authority.startsWith(prefix))) return refusal.signerUntrusted
  }
  if (found.person) check.person = found.person
  return found.refusal
}
