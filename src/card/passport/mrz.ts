// The machine readable zone of a passport, TD3 (booklet) or TD1 (card), as EF.DG1 holds it (ICAO 9303-3, -4, -5;
// 9303-10 section 4.7.1). Only form, check digits and days are looked at; nothing of it is believed yet.

export type Mrz = {
  /** Document code without fillers: P, PP, IP. */
  code: string
  /** ISO 3166 alpha-3; Germany's D is DEU. */
  state: string
  /** Without the fillers at its end; those within stand for what the zone cannot print. */
  number: string
  /** As printed, without the fillers at its end: SURNAME<<GIVEN<NAMES. */
  name: string
  /** YYMMDD; month and day may be fillers where nobody knows them. */
  birth: string
  sex: string
  /** YYMMDD. */
  expiry: string
  /** Whether the check digit beside each is right; `whole` is the composite and the optional data's. */
  digits: { number: boolean; birth: boolean; expiry: boolean; whole: boolean }
}

/** EF.DG1 in its only two sizes: 61 and 5F1F with their lengths, then the lines without anything between. */
const heads = {
  td3: Buffer.from('615b5f1f58', 'hex'),
  td1: Buffer.from('615d5f1f5a', 'hex'),
}
const td3Line = 44
const td1Line = 30
export const dg1Sizes: readonly number[] = [heads.td3.length + 2 * td3Line, heads.td1.length + 3 * td1Line]

const allowed = /^[A-Z0-9<]+$/
const weights = [7, 3, 1] as const

/** Digits count as themselves, A-Z as 10-35, fillers as 0. */
function weightOf(character: number): number {
  if (character >= 0x41) return character - 55
  return character >= 0x30 && character <= 0x39 ? character - 48 : 0
}

/** Weights 7, 3, 1 from the left (9303-3 section 4.9). */
export function checkDigitOf(text: string): string {
  let sum = 0
  for (let i = 0; i < text.length; i++) sum += weightOf(text.charCodeAt(i)) * (weights[i % 3] as number)
  return String(sum % 10)
}

const isChecked = (text: string, digit: string) => checkDigitOf(text) === digit

/** The fields of EF.DG1; undefined unless its form is that of a passport. */
export function parseDg1(file: Buffer): Mrz | undefined {
  const head = file.subarray(0, heads.td3.length)
  const text = file.subarray(head.length).toString('latin1')
  if (!allowed.test(text)) return undefined
  if (head.equals(heads.td3) && text.length === 2 * td3Line) return parseTd3(text)
  return head.equals(heads.td1) && text.length === 3 * td1Line ? parseTd1(text) : undefined
}

function parseTd3(text: string): Mrz | undefined {
  const second = text.slice(td3Line)
  const optional = second.slice(28, 42)
  const optionalDigit = second.slice(42, 43)
  // Where there is no optional data its check digit may be a filler (9303-4 section 4.2.2).
  const optionalRight = (optionalDigit === '<' && /^<*$/.test(optional)) || isChecked(optional, optionalDigit)
  const composite = second.slice(0, 10) + second.slice(13, 20) + second.slice(21, 43)
  return made(/^P[A-Z<]$/, {
    code: text.slice(0, 2),
    state: text.slice(2, 5),
    number: second.slice(0, 9),
    numberRight: isChecked(second.slice(0, 9), second.slice(9, 10)),
    name: text.slice(5, td3Line),
    dates: second.slice(13, 28),
    whole: optionalRight && isChecked(composite, second.slice(43)),
  })
}

function parseTd1(text: string): Mrz | undefined {
  const second = text.slice(td1Line, 2 * td1Line)
  const number = td1Number(text.slice(5, td1Line))
  const composite = text.slice(5, td1Line) + second.slice(0, 7) + second.slice(8, 15) + second.slice(18, 29)
  return made(/^(P[A-Z<]|IP)$/, {
    code: text.slice(0, 2),
    state: text.slice(2, 5),
    ...number,
    name: text.slice(2 * td1Line),
    dates: second.slice(0, 15),
    whole: isChecked(composite, second.slice(29)),
  })
}

/**
 * Nine characters and their check digit; of a longer number the rest and its check digit stand in the optional
 * data, and a filler in the check digit's place (9303-5 section 4.2.2, note j).
 */
function td1Number(field: string): { number: string; numberRight: boolean } {
  const [first, digit] = [field.slice(0, 9), field.slice(9, 10)]
  if (digit !== '<') return { number: first, numberRight: isChecked(first, digit) }
  const rest = field.slice(10).split('<', 1)[0] as string
  const number = first + rest.slice(0, -1)
  return { number, numberRight: rest.length >= 2 && isChecked(number, rest.slice(-1)) }
}

type Parts = {
  code: string
  state: string
  number: string
  numberRight: boolean
  name: string
  /** Birth, digit, sex, expiry, digit. */
  dates: string
  whole: boolean
}

const withoutFillers = (text: string) => text.replace(/<+$/, '')
/** Left over from when the zone had a letter of its own for one state (9303-3 section 5). */
const stateOf = (text: string) => (text === 'D<<' ? 'DEU' : text)

function made(codes: RegExp, parts: Parts): Mrz | undefined {
  const { dates } = parts
  const [birth, expiry] = [dates.slice(0, 6), dates.slice(8, 14)]
  const state = stateOf(parts.state)
  const number = withoutFillers(parts.number)
  const name = withoutFillers(parts.name)
  const isForm = codes.test(parts.code) && /^[A-Z]{3}$/.test(state) && /^[A-Z0-9]/.test(number)
  if (!isForm || !/^[A-Z]/.test(name)) return undefined
  return {
    ...{ code: withoutFillers(parts.code), state, number, name, birth, expiry },
    sex: dates.slice(7, 8),
    digits: {
      number: parts.numberRight,
      birth: isChecked(birth, dates.slice(6, 7)),
      expiry: isChecked(expiry, dates.slice(14)),
      whole: parts.whole,
    },
  }
}

/** A day of the calendar, YYYYMMDD, or undefined. */
function dayOf(year: number, month: number, day: number): string | undefined {
  const date = new Date(Date.UTC(year, month - 1, day))
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined
  return date.toISOString().slice(0, 10).replaceAll('-', '')
}

/**
 * YYMMDD of an expiry as YYYYMMDD: of the years that end so, the one from 50 before today's to 49 after it.
 * @param today YYYYMMDD
 */
export function expiryDay(text: string, today: string): string | undefined {
  if (!/^\d{6}$/.test(text)) return undefined
  const earliest = Number(today.slice(0, 4)) - 50
  const year = earliest + ((((Number(text.slice(0, 2)) - earliest) % 100) + 100) % 100)
  return dayOf(year, Number(text.slice(2, 4)), Number(text.slice(4)))
}

/** Whether YYMMDD may be a birth: month and day are digits that a calendar has, or fillers (9303-3 section 4.8). */
export function isBirth(text: string): boolean {
  const [, , month = '', day = ''] = /^(\d\d|<<)(\d\d|<<)(\d\d|<<)$/.exec(text) ?? []
  if (month === '' || (month === '<<' && day !== '<<')) return false
  const inYear = month === '<<' || (Number(month) >= 1 && Number(month) <= 12)
  if (!inYear || day === '<<') return inYear
  // A leap year: which century it is nobody says.
  return dayOf(2000, Number(month), Number(day)) !== undefined
}
