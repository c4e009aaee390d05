// The text record of a card: 256 bytes of UTF-16LE in fixed fields, as in the second-generation card
// (PROTOCOL section 6), and the citizen number of GB 11643.
import { hasDay } from '../base/calendar.ts'
import { dayMs } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { refusal } from './refusal.ts'
import type { Person } from './verdict.ts'

export type CardRecord = {
  name: string
  sex: string
  nation: string
  birth: string
  address: string
  number: string
  issuer: string
  validFrom: string
  validTo: string
}

const layout = [
  ['name', 30],
  ['sex', 2],
  ['nation', 4],
  ['birth', 16],
  ['address', 70],
  ['number', 36],
  ['issuer', 30],
  ['validFrom', 16],
  ['validTo', 16],
  ['reserved', 36],
] as const satisfies (readonly [keyof CardRecord | 'reserved', number])[]

export const longTerm = '长期'
const longTermDay = '99991231'
// biome-ignore lint/suspicious/noControlCharactersInRegex: what must not be in a name.
const control = /[\0-\x1f\x7f-\x9f]/
const eightDigits = /^\d{8}$/

/** Cuts the record into its fields; trailing U+0020 is padding. Undefined if it is not text. */
export function parseRecord(bytes: Buffer): CardRecord | undefined {
  if (bytes.length !== limits.recordBytes) return undefined
  const whole = bytes.toString('utf16le')
  if (control.test(whole)) return undefined
  const fields: Record<string, string> = {}
  let at = 0
  for (const [name, size] of layout) {
    const text = whole.slice(at, at + size / 2)
    if (!text.isWellFormed()) return undefined // A surrogate that stands alone in its field.
    fields[name] = trimPadding(text)
    at += size / 2
  }
  const { reserved, ...record } = fields
  return reserved === '' ? (record as unknown as CardRecord) : undefined
}

/** Prints a record, padded with U+0020. Throws RangeError if a field does not fit. */
export function printRecord(record: CardRecord): Buffer {
  const parts = layout.map(([name, size]) => {
    const text = name === 'reserved' ? '' : record[name]
    const bytes = Buffer.from(text.padEnd(size / 2, ' '), 'utf16le')
    if (bytes.length !== size) throw new RangeError(`the field ${name} does not fit`)
    return bytes
  })
  return Buffer.concat(parts)
}

function trimPadding(text: string): string {
  let end = text.length
  while (end > 0 && text[end - 1] === ' ') end--
  return text.slice(0, end)
}

const weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]
const checkCharacters = '10X98765432'

/** The ISO 7064 MOD 11-2 check character of the first 17 digits (GB 11643). */
export function checkCharacterOf(digits17: string): string {
  const sum = weights.reduce((total, weight, i) => total + weight * Number(digits17[i]), 0)
  return checkCharacters.charAt(sum % 11)
}

/** GB 11643: 17 digits and their check character. No list of areas: retired ones are right. */
export const isCitizenNumber = (number: string) =>
  /^\d{17}[\dX]$/.test(number) && checkCharacterOf(number) === number[17]

/** A day of the calendar as YYYYMMDD. */
export function isDay(text: string): boolean {
  if (!eightDigits.test(text)) return false
  const [year, month, day] = [Number(text.slice(0, 4)), Number(text.slice(4, 6)), Number(text.slice(6))]
  return year >= 1800 && hasDay(year, month, day)
}

const shanghaiOffsetMs = 8 * 3_600_000 // No daylight saving time since 1991.
let printed = { day: Number.NaN, text: '' }

/** The day in Asia/Shanghai as YYYYMMDD; printed once a day. */
export function shanghaiDay(nowMs: number): string {
  const day = Math.floor((nowMs + shanghaiOffsetMs) / dayMs)
  if (day !== printed.day) {
    printed = { day, text: new Date(day * dayMs).toISOString().slice(0, 10).replaceAll('-', '') }
  }
  return printed.text
}

/** Whether there is a name, and days that a calendar has; number, birth and sex have refusals of their own. */
const hasText = ({ name, validFrom, validTo }: CardRecord) =>
  name !== '' && isDay(validFrom) && (validTo === longTerm || isDay(validTo))

/**
 * Row 12 of PROTOCOL section 7.
 * @param bytes the 256 bytes of DG1 after its salt; `serial` the card's, from DG14
 * @returns refusal 0 or R20-R25; the person as soon as text and number are right; who issued it once there is text
 */
export function checkRecord(
  bytes: Buffer,
  serial: Buffer,
  nowMs: number,
): { refusal: number; person?: Person; authority?: string } {
  const record = parseRecord(bytes)
  if (!record || !hasText(record)) return { refusal: refusal.text }
  const number = record.number.replace('x', 'X')
  const authority = record.issuer
  if (!isCitizenNumber(number)) return { refusal: refusal.number, authority }
  const validTo = record.validTo === longTerm ? longTermDay : record.validTo
  const name = record.name.normalize('NFC')
  const person: Person = { docType: 'ID', state: 'CHN', number, name, serial, validTo }
  return { refusal: checkMeaning(record, { number, validTo, today: shanghaiDay(nowMs) }), person, authority }
}

function checkMeaning(record: CardRecord, given: { number: string; validTo: string; today: string }): number {
  const { number, validTo, today } = given
  const { birth, sex, validFrom } = record
  if (!isDay(birth) || number.slice(6, 14) !== birth || birth > today) return refusal.birth
  if (sex !== (Number(number[16]) % 2 === 1 ? '1' : '2')) return refusal.sex
  if (validFrom > today) return refusal.notYetValid
  return validTo < today ? refusal.expired : 0
}
