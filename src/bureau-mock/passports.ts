// The passports of the invented people: two invented states, each with one for everybody, and again no list. What
// follows from the index alone leads back to it; the rest follows from HMAC(seed, index) (PROTOCOL section 11).
import { createHmac } from 'node:crypto'
import { peopleCount } from './people.ts'

/** As printed: `name` SURNAME<<GIVEN<NAMES, days YYMMDD; `validTo` YYYYMMDD. */
export type PassportRecord = {
  index: number
  state: string
  number: string
  name: string
  birth: string
  sex: 'M' | 'F'
  expiry: string
  validTo: string
}

/** ICAO's own Utopia, and a code that ISO 3166 leaves to its users; the letter begins their numbers. */
const letters: Readonly<Record<string, string>> = { UTO: 'U', QAA: 'Q' }
export const passportStates = Object.keys(letters)

const surnames = ['HALVORSDATTER', 'QUILLFEATHER', 'ASHENVALE', 'DRAKENSTROM', 'MERRIWICK', 'THORNECASTLE']
const given = ['IMOGEN', 'TUVALINE', 'CORVANE', 'ELDRITHA', 'BRANTWIN', 'SORAYELLE', 'WENDRICK', 'YSOLDENE']

const two = (value: number) => String(value).padStart(2, '0')

/**
 * The passport of the person of an index. Always the same for a seed.
 * @throws RangeError for an index or a state that there is not
 */
export function passportAt(seed: string, state: string, index: number): PassportRecord {
  const letter = letters[state]
  if (!letter || !Number.isInteger(index) || index < 0 || index >= peopleCount) {
    throw new RangeError(`there is no passport ${index} of ${state}`)
  }
  const bytes = createHmac('sha512', seed).update(`passport ${state} ${index}`).digest()
  const pick = (list: readonly string[], at: number) => list[bytes.readUInt16BE(at) % list.length] as string
  const day = (at: number) => two(1 + (bytes.readUInt8(at) % 12)) + two(1 + (bytes.readUInt8(at + 1) % 28))
  const until = two(30 + (bytes.readUInt8(12) % 6)) + day(13) // 2030 to 2035.
  return {
    index,
    state,
    number: letter + String(index).padStart(8, '0'),
    name: `${pick(surnames, 0)}<<${pick(given, 2)}`, // Fits the 30 characters of a passport card.
    birth: two(40 + (bytes.readUInt8(8) % 60)) + day(9),
    sex: bytes.readUInt8(11) % 2 ? 'M' : 'F',
    expiry: until,
    validTo: `20${until}`,
  }
}

/** The arithmetic inverse: the passport of a number, or undefined if there is none. */
export function findPassport(seed: string, state: string, number: string): PassportRecord | undefined {
  const letter = letters[state]
  if (!letter || !/^[A-Z]\d{8}$/.test(number) || number[0] !== letter) return undefined
  return passportAt(seed, state, Number(number.slice(1)))
}
