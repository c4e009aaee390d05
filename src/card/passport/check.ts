// Rows 7-12 of the order of checks for passports, as a list of named steps: the first that fails sets the refusal
// (PROTOCOL section 7; ICAO 9303-11 sections 5.1 and 6.1). The numbers are those of cards, read so: R03 also a CSCA of
// another state than the zone's, or a signer of other documents; R04 also a CSCA that has ended; R06 also a signer whose
// certificate is signed in no way of the table; R20 also a check digit of expiry, optional data or the whole. R24 never
// comes: a passport has no first day.
import { hash } from 'node:crypto'
import { present } from '../../base/assert.ts'
import { sha256 } from '../../base/bytes.ts'
import { type Der, DerError, readDer } from '../../base/der.ts'
import { GatewayError } from '../../base/errors.ts'
import { limits } from '../../base/limits.ts'
import { RecentMap } from '../../base/recent.ts'
import { bind } from '../../base/t2l.ts'
import type { TakeTurn } from '../../base/turns.ts'
import type { Reading } from '../reading.ts'
import { shanghaiDay } from '../record.ts'
import { refusal } from '../refusal.ts'
import { signedBytesOf } from '../sod.ts'
import { runSteps, runStepsInTurns, type Step } from '../steps.ts'
import { type ChipContext, type ChipVerifier, chipMessage, type Person } from '../verdict.ts'
import { checkChip, importChipKey, readerChallenge } from './active-authentication.ts'
import { checkSigned, hashWith } from './algorithms.ts'
import {
  ldsContentType,
  parseAttributes,
  parseEfSod,
  type SignedAttributes,
  type UnverifiedEfSod,
} from './ef-sod.ts'
import { importPassportKey, type PassportKey } from './keys.ts'
import { expiryDay, isBirth, type Mrz, parseDg1 } from './mrz.ts'
import {
  documentTypesOf,
  findCsca,
  isPassportSigner,
  type PassportAnchor,
  type PassportTrust,
  type SignerPeriod,
  signerPeriod,
} from './trust.ts'

/** A document signer whose CSCA was found. `serial` is the body of its INTEGER, in hex. */
type Signer = {
  anchor: PassportAnchor
  serial: string
  period: SignerPeriod
  /** Once what it is for was found right. */
  key?: PassportKey
  documentTypes?: readonly string[] | undefined
}

type Check = {
  reading: Reading
  context: ChipContext
  trust: PassportTrust
  nowMs: number
  known: KnownSigners
  // What the steps find, each for those after it.
  der?: Der
  sod?: UnverifiedEfSod
  signer?: Signer
  signerName?: string
  attributes?: SignedAttributes | undefined
  person?: Person
}

const steps: readonly Step<Check>[] = [
  { row: 7, run: readSod, malformed: refusal.sodParse },
  { row: 7, run: checkProfile, malformed: refusal.sodProfile },
  { row: 8, run: checkAnchors, malformed: refusal.signerUntrusted },
  { row: 8, run: checkIssuer, malformed: refusal.signerUsage, slow: true },
  { row: 8, run: checkStanding, malformed: refusal.signerUsage },
  { row: 8, run: checkUsage, malformed: refusal.signerUsage },
  { row: 9, run: checkSignature, malformed: refusal.attributes, slow: true },
  { row: 10, run: checkHashes, malformed: refusal.dg1 },
  { row: 11, run: checkPresence, malformed: refusal.chipKey, slow: true },
  { row: 12, run: checkText, malformed: refusal.text },
]

/** Signers that were found right, by SHA-256 of their certificate: positive only, forgotten with each change of trust. */
class KnownSigners {
  readonly #signers = new RecentMap<Signer>(limits.signersKnownMax)
  #trust: PassportTrust | undefined

  under(trust: PassportTrust): this {
    if (trust !== this.#trust) this.#signers.clear()
    this.#trust = trust
    return this
  }

  get = (name: string): Signer | undefined => this.#signers.get(name)
  /** Kept only if that is still the trust: a check may have begun before it changed. */
  keep(under: PassportTrust, name: string, signer: Signer): void {
    if (under === this.#trust) this.#signers.set(name, signer)
  }
}

/**
 * Checks the readings of passports, and remembers the document signers that it found right: a state has few. Times,
 * lists, the security object and the chip are looked at on every request.
 * @param given.trust the trust in force; the same object as long as nothing of it changes
 * @param given.takeTurn awaited before each signature: on the larger curves one takes a millisecond
 * @throws GatewayError `trust_stale` when anchors or the state's revocation list have ended (row 8)
 */
export function createPassportVerifier(given: {
  trust: () => PassportTrust
  takeTurn?: TakeTurn
}): ChipVerifier {
  const { takeTurn } = given
  const known = new KnownSigners()
  const verify: ChipVerifier = (reading, { context, nowMs }) => {
    const trust = given.trust()
    const check: Check = { reading, context, nowMs, trust, known: known.under(trust) }
    if (!takeTurn) return runSteps(steps, check)
    const isCurrent = () => given.trust() === trust
    return runStepsInTurns(steps, check, {
      takeTurn,
      isCurrent,
      again: () => verify(reading, { context, nowMs }),
    })
  }
  return verify
}

/** Row 7: strict DER, all the way down. */
function readSod(check: Check): number {
  check.der = readDer(check.reading.sod)
  return 0
}

/** Row 7: what ef-sod.ts makes of it. */
function checkProfile(check: Check): number {
  check.sod = parseEfSod(present(check.der, 'the SOD as DER'))
  return 0
}

const sodOf = (check: Check) => present(check.sod, 'the parsed SOD')
const signerOf = (check: Check) => present(check.signer, 'a signer whose CSCA was found')

/** Row 8: what is trusted is known to be so now. */
function checkAnchors({ trust, nowMs }: Check): number {
  if (nowMs > trust.notAfterMs) throw new GatewayError('trust_stale', 'anchors_ended')
  return 0
}

/** Row 8: signed by a CSCA of its country. */
function checkIssuer(check: Check): number {
  const { signer: certificate } = sodOf(check)
  check.signerName = hash('sha256', certificate.raw, 'latin1')
  const known = check.known.get(check.signerName)
  if (known) {
    check.signer = known
    return 0
  }
  const anchor = findCsca(certificate, check.trust.anchors)
  if (!anchor) return refusal.signerUntrusted
  check.signer = { anchor, serial: certificate.serial.toString('hex'), period: signerPeriod(certificate) }
  return 0
}

type Times = { notBeforeMs: number; notAfterMs: number }
const isInForce = ({ notBeforeMs, notAfterMs }: Times, nowMs: number) =>
  notBeforeMs <= nowMs && nowMs <= notAfterMs

/** Row 8, on every request: the revocation list, the times of CSCA and signer, and whether it is listed. */
function checkStanding(check: Check): number {
  const { trust, nowMs } = check
  const { anchor, serial, period } = signerOf(check)
  const list = trust.listOf(anchor)
  if (!list?.isFresh(nowMs)) throw new GatewayError('trust_stale', list ? 'list_not_fresh' : 'no_list')
  if (!isInForce(anchor, nowMs) || !isInForce(period, nowMs)) return refusal.signerTime
  check.attributes = attributesOf(sodOf(check))
  const signedMs = check.attributes?.signedMs
  // Many passports do not say when they were signed: then there is nothing to hold against the usage period.
  if (signedMs !== undefined) {
    const { fromMs, toMs } = period.usage ?? { fromMs: period.notBeforeMs, toMs: period.notAfterMs }
    if (signedMs > nowMs || signedMs < fromMs || signedMs > toMs) return refusal.signerTime
  }
  return list.hasHex(serial) ? refusal.signerRevoked : 0
}

/** Undefined if they are not in their form: row 9 refuses by it, after the signer's row. */
function attributesOf(sod: UnverifiedEfSod): SignedAttributes | undefined {
  try {
    return parseAttributes(sod.attributes)
  } catch (error) {
    if (error instanceof DerError) return undefined
    throw error
  }
}

/** Row 8: what the signer is for. */
function checkUsage(check: Check): number {
  const signer = signerOf(check)
  if (signer.key) return 0
  const { signer: certificate } = sodOf(check)
  const key = importPassportKey(certificate.spki)
  if (!key || !isPassportSigner(certificate)) return refusal.signerUsage
  check.signer = { ...signer, key, documentTypes: documentTypesOf(certificate) }
  check.known.keep(check.trust, present(check.signerName, 'the name of a signer'), check.signer)
  return 0
}

/** Row 9: signedAttrs, messageDigest, signature over the received bytes. */
function checkSignature(check: Check): number {
  const { content, digest, scheme, attributes, signature } = sodOf(check)
  if (check.attributes?.contentType !== ldsContentType) return refusal.attributes
  if (!hashWith(digest, content).equals(check.attributes.messageDigest)) return refusal.messageDigest
  const key = present(signerOf(check).key, 'the key of a signer that may sign')
  return checkSigned(signedBytesOf(attributes), signature, { scheme, key }) ? 0 : refusal.sodSignature
}

/** Row 10. EF.DG14 is where active authentication names its digest: one that is signed for must be there. */
function checkHashes(check: Check): number {
  const { dg1, dg14, dg15 } = check.reading
  const { hashes, fileDigest } = sodOf(check)
  const isSigned = (group: number, file: Buffer) =>
    hashes.get(group)?.equals(hashWith(fileDigest, file)) === true
  if (!isSigned(1, dg1)) return refusal.dg1
  if ((hashes.has(14) || dg14.length > 0) && !isSigned(14, dg14)) return refusal.dg14
  return isSigned(15, dg15) ? 0 : refusal.dg15
}

/** Row 11: the chip key of the signed EF.DG15 over our challenge, device, parcel and carrier. Never remembered. */
function checkPresence({ reading, context }: Check): number {
  const chip = importChipKey(reading.dg15, reading.dg14)
  if (!chip) return refusal.chipKey
  const challenge = readerChallenge(chipMessage(context, sha256(reading.sod)))
  return checkChip(chip, challenge, reading.chipSignature) ? 0 : refusal.chipSignature
}

const serialBytes = 16

/** Stands in for a card's serial, which a passport has not: by state and number, which name one passport. */
const serialOf = (state: string, number: string) =>
  sha256(bind('passport-serial', state, number)).subarray(0, serialBytes)

/** Row 12, and whether the signer may sign for this state and this kind of document. */
function checkText(check: Check): number {
  const mrz = parseDg1(check.reading.dg1)
  if (!mrz) return refusal.text
  const { anchor, documentTypes } = signerOf(check)
  const isOfType = !documentTypes || documentTypes.some((type) => type === mrz.code || type === mrz.code[0])
  if (anchor.state !== mrz.state || !isOfType) return refusal.signerUntrusted
  const today = shanghaiDay(check.nowMs)
  const validTo = expiryDay(mrz.expiry, today)
  if (!validTo || !mrz.digits.expiry) return refusal.text
  if (!mrz.digits.number) return refusal.number
  if (!mrz.digits.whole && mrz.digits.birth) return refusal.text
  const { state, number, name } = mrz
  check.person = { docType: 'P', state, number, name, serial: serialOf(state, number), validTo }
  return checkMeaning(mrz, { validTo, today })
}

function checkMeaning(
  { digits, birth, sex }: Mrz,
  { validTo, today }: { validTo: string; today: string },
): number {
  if (!digits.birth || !isBirth(birth)) return refusal.birth
  if (!/^[MFX<]$/.test(sex)) return refusal.sex
  return validTo < today ? refusal.expired : 0
}
