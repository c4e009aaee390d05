// A hundred million invented people without a list: everything about number i follows from the seed. Numbers
// use four unassigned area codes, so that no real person is ever named (PROTOCOL section 11).
import { createHmac } from 'node:crypto'

export type PersonRecord = {
  index: number
  number: string
  name: string
  sex: '1' | '2'
  nation: string
  birth: string
  address: string
  issuer: string
  validFrom: string
  validTo: string
  serial: Buffer
}

export const areaCodes = ['780001', '780002', '780003', '780004'] as const
const perDay = 1000
const days = 25_000 // 4 areas x 25,000 birth days x 1,000 = 100,000,000.
export const peopleCount = areaCodes.length * days * perDay
const firstBirthMs = Date.UTC(1938, 0, 1)
const dayMs = 86_400_000

const surnames = [...'欧阳司徒上官诸葛慕容令狐夏侯东方宇文长孙']
const given = [...'澜屿泽宸曦柠霁昀琰翊岚汐鹭枫杉棠苒荞筠葭蓁翎骁珩璟琬瑾瑜']
const places = ['云汀路', '星渚街', '栖霞巷', '拾光里', '远岫道', '听澜坊']

const yyyymmdd = (ms: number) => new Date(ms).toISOString().slice(0, 10).replaceAll('-', '')

const weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]

/** ISO 7064 MOD 11-2 over the first 17 digits (GB 11643). */
export function checkCharacter(first17: string): string {
  let sum = 0
  for (const [i, weight] of weights.entries()) sum += Number(first17[i]) * weight
  return '10X98765432'[sum % 11] as string
}

const pick = <T>(list: readonly T[], bytes: Buffer, at: number) =>
  list[bytes.readUInt16BE(at) % list.length] as T

/** The person of an index from 0 to peopleCount - 1. Throws RangeError outside. */
export function personAt(seed: string, index: number): PersonRecord {
  if (!Number.isInteger(index) || index < 0 || index >= peopleCount) {
    throw new RangeError(`there is no person ${index}`)
  }
  const area = areaCodes[index % areaCodes.length] as string
  const sequence = Math.floor(index / areaCodes.length) % perDay
  const day = Math.floor(index / (areaCodes.length * perDay))
  const birth = yyyymmdd(firstBirthMs + day * dayMs)
  const first17 = `${area}${birth}${String(sequence).padStart(3, '0')}`
  const bytes = createHmac('sha512', seed).update(`person ${index}`).digest()
  const at = bytes.readUInt8(0) % (surnames.length / 2)
  const surname = `${surnames[at * 2]}${surnames[at * 2 + 1]}`
  const name = `${surname}${pick(given, bytes, 2)}${pick(given, bytes, 4)}`
  const age = 2026 - Number(birth.slice(0, 4))
  const fromMs = Date.UTC(
    2017 + (bytes.readUInt8(6) % 9),
    bytes.readUInt8(7) % 12,
    1 + (bytes.readUInt8(8) % 28),
  )
  const validFrom = yyyymmdd(fromMs)
  const validTo = age >= 56 ? '长期' : `${Number(validFrom.slice(0, 4)) + 20}${validFrom.slice(4)}`
  const city = `第${area.slice(-1)}虚构市`
  return {
    index,
    number: first17 + checkCharacter(first17),
    name,
    sex: sequence % 2 === 1 ? '1' : '2',
    nation: '01',
    birth,
    address: `${city}${pick(places, bytes, 10)}${bytes.readUInt16BE(12) % 900}号`,
    issuer: `${city}公安局`,
    validFrom,
    validTo,
    serial: bytes.subarray(32, 48),
  }
}

/** The arithmetic inverse: the person with a number, or undefined if nobody has it. */
export function findPerson(seed: string, number: string): PersonRecord | undefined {
  const area = areaCodes.findIndex((code) => number.startsWith(code))
  const match = /^\d{6}(\d{4})(\d{2})(\d{2})(\d{3})[\dX]$/.exec(number)
  if (area < 0 || !match) return undefined
  const [, year, month, date, sequence] = match
  const day = (Date.UTC(Number(year), Number(month) - 1, Number(date)) - firstBirthMs) / dayMs
  if (day < 0 || day >= days) return undefined
  const person = personAt(seed, (day * perDay + Number(sequence)) * areaCodes.length + area)
  return person.number === number ? person : undefined
}
