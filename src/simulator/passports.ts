// Synthetic passports of invented states, good ones and ones spoiled in a named way, and the chip that answers for
// them (ICAO 9303-3, -4, -5, -10, -11). Who is printed in them is invented too.
import { constants, type KeyObject, privateEncrypt, randomBytes, sign } from 'node:crypto'
import { sha256 } from '../base/bytes.ts'
import { readerChallenge } from '../card/passport/active-authentication.ts'
import { checkDigitOf } from '../card/passport/mrz.ts'
import { passportSuite, type Reading } from '../card/reading.ts'
import { type ChipContext, chipMessage } from '../card/verdict.ts'
import { type HashName, type KeyKind, makeKey, type PassportSigner, spkiOf } from './csca.ts'
import * as der from './der.ts'
import { type EfSodOptions, hashWith, type PassportFiles, planEfSod, printEfSod } from './ef-sod.ts'
import type { PassportReadSpoil } from './passport-reading-spoils.ts'
import type { PassportSpoil } from './passport-spoils.ts'

/** As printed: `name` SURNAME<<GIVEN<NAMES, `birth` and `expiry` YYMMDD; `state` three letters or D. */
export type PassportHolder = {
  state: string
  number: string
  name: string
  birth: string
  sex: 'M' | 'F' | '<'
  expiry: string
}

export type Chip = { key: KeyObject; hash: HashName }

export type Passport = PassportFiles & { holder: PassportHolder; sod: Buffer; chip: Chip }

export type PassportOptions = EfSodOptions & {
  form?: 'td3' | 'td1'
  chip?: KeyKind & { hash?: HashName }
  /** A chip made before, for there are many passports in a test and RSA keys are dear. */
  chipKey?: KeyObject
  /** One fault, of passport-spoils.ts. */
  spoil?: PassportSpoil
}

const withDigit = (text: string) => text + checkDigitOf(text)

/** The lines of a zone without anything between. Throws RangeError if a field does not fit. */
export function printMrz(holder: PassportHolder, form: 'td3' | 'td1'): string {
  const { state, name, birth, sex, expiry } = holder
  const lines = form === 'td3' ? printTd3(holder) : printTd1(holder)
  const text = lines.join('')
  const length = form === 'td3' ? 88 : 90
  if (text.length !== length || `${birth}${expiry}`.length !== 12 || sex.length !== 1) {
    throw new RangeError(
      `a field of the passport of ${state} does not fit, its name of ${name.length} perhaps`,
    )
  }
  return text
}

function printTd3({ state, number, name, birth, sex, expiry }: PassportHolder): string[] {
  const printed = state.padEnd(3, '<')
  const of = withDigit(number.padEnd(9, '<'))
  const dates = withDigit(birth) + sex + withDigit(expiry)
  const optional = `${'<'.repeat(14)}0`
  const digit = checkDigitOf(of + withDigit(birth) + withDigit(expiry) + optional)
  return [`P<${printed}${name}`.padEnd(44, '<'), of + printed + dates + optional + digit]
}

function printTd1({ state, number, name, birth, sex, expiry }: PassportHolder): string[] {
  const printed = state.padEnd(3, '<')
  const long = number.length > 9
  const field = long
    ? `${number.slice(0, 9)}<${number.slice(9)}${checkDigitOf(number)}`
    : withDigit(number.padEnd(9, '<'))
  const upper = field.padEnd(25, '<')
  const optional = '<'.repeat(11)
  const digit = checkDigitOf(upper + withDigit(birth) + withDigit(expiry) + optional)
  const second = withDigit(birth) + sex + withDigit(expiry) + printed + optional + digit
  return [`P<${printed}${upper}`, second, name.padEnd(30, '<')]
}

/** EF.DG1 around a zone. */
export const printDg1 = (mrz: string) =>
  der.element(0x61, der.element([0x5f, 0x1f], Buffer.from(mrz, 'latin1')))

const plainIds: Record<HashName, string> = {
  sha256: '0.4.0.127.0.7.1.1.4.1.3',
  sha384: '0.4.0.127.0.7.1.1.4.1.4',
  sha512: '0.4.0.127.0.7.1.1.4.1.5',
}

/** EF.DG14 with the digest of active authentication, beside a chip authentication key's algorithm that is not used. */
export function printDg14(algorithm: string): Buffer {
  const active = der.sequence(der.oid('2.23.136.1.1.5'), der.integer(1), der.oid(algorithm))
  const chip = der.sequence(der.oid('0.4.0.127.0.7.2.2.3.2.4'), der.integer(1))
  return der.element(0x6e, der.setOf(active, chip))
}

const files = (mrz: string, chip: Chip): PassportFiles => ({
  dg1: printDg1(mrz),
  dg14: chip.key.asymmetricKeyType === 'ec' ? printDg14(plainIds[chip.hash]) : Buffer.alloc(0),
  dg15: der.element(0x6f, spkiOf(chip.key)),
})

/** Issues a passport, by default of two pages with a chip on P-256. Throws RangeError if a field does not fit. */
export function issuePassport(
  holder: PassportHolder,
  signer: PassportSigner,
  options: PassportOptions = {},
): Passport {
  const { form = 'td3', chip: kind = { curve: 'P-256' } } = options
  const spoil: Partial<PassportSpoil> = options.spoil ?? {}
  const printed = spoil.holder?.(holder) ?? holder
  const chip = { key: options.chipKey ?? makeKey(kind), hash: kind.hash ?? 'sha256' }
  const mrz = printMrz(printed, form)
  const sound = files(spoil.mrz?.(mrz) ?? mrz, chip)
  const own = spoil.files?.(sound) ?? sound
  const plan = planEfSod(own, signer, options)
  const sod = printEfSod({ ...plan, ...spoil.sod?.(plan, signer) })
  return { holder: printed, ...own, sod: spoil.printed?.(sod) ?? sod, chip }
}

/** Reads a passport: its chip signs for the request. `spoil` is one fault, of passport-reading-spoils.ts. */
export function readPassport(
  passport: Passport,
  context: ChipContext,
  spoil: Partial<PassportReadSpoil> = {},
): Reading {
  const { sod, dg1, dg14, dg15, chip } = passport
  const challenge = readerChallenge(chipMessage(spoil.context?.(context) ?? context, sha256(sod)))
  const chipSignature = answerAs(spoil.chip?.(chip) ?? chip, challenge, spoil.represent)
  const reading: Reading = { suite: passportSuite, sod, dg1, dg14, dg15, chipSignature, flags: 0 }
  return spoil.reading?.(reading) ?? reading
}

/** What the chip answers to INTERNAL AUTHENTICATE. */
function answerAs(chip: Chip, challenge: Buffer, represent = representRsa): Buffer {
  const { key, hash } = chip
  if (key.asymmetricKeyType === 'ec') return sign(hash, challenge, { key, dsaEncoding: 'ieee-p1363' })
  const bytes = (key.asymmetricKeyDetails?.modulusLength ?? 0) / 8
  return privateEncrypt({ key, padding: constants.RSA_NO_PADDING }, represent({ bytes, challenge, hash }))
}

const trailers: Record<HashName, number> = { sha256: 0x34, sha384: 0x36, sha512: 0x35 }

/** `6A || M1 || H(M1 || RND.IFD) || trailer` (ISO/IEC 9796-2 scheme 1). */
export function representRsa(given: { bytes: number; challenge: Buffer; hash: HashName }): Buffer {
  const { bytes, challenge, hash } = given
  const size = hashWith(hash, challenge).length
  const first = randomBytes(bytes - size - 3)
  const hashed = hashWith(hash, Buffer.concat([first, challenge]))
  return Buffer.concat([Buffer.of(0x6a), first, hashed, Buffer.of(trailers[hash], 0xcc)])
}
