// A hundred million invented people without a list: everything about number i follows from the seed. Numbers
// use four unassigned area codes, so that no real person is ever named (PROTOCOL section 11).
import { createHmac } from 'node:crypto'

/** As on the card: days YYYYMMDD, `validTo` 长期 for no end, `sex` 1 male or 2 female, `serial` 16 bytes. */
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
const days = 25_000 // From 1938 to June 2006. 4 areas x 25,000 birth days x 1,000 = 100,000,000.
export const peopleCount = areaCodes.length * days * perDay
const firstBirthMs = Date.UTC(1938, 0, 1)
const dayMs = 86_400_000

const surnames = ['欧阳', '司徒', '上官', '诸葛', '慕容', '令狐', '夏侯', '东方', '宇文', '长孙']
/** Three of them make a name longer than any in use: it is seen to be invented, and a tripwire finds it. */
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

/** Without end for whoever was 46 when it was issued, as the law has it; 20 years for the others. */
function validityOf(birth: string, bytes: Buffer): { validFrom: string; validTo: string } {
  const year = 2016 + (bytes.readUInt8(6) % 10)
  const from = yyyymmdd(Date.UTC(year, bytes.readUInt8(7) % 12, 1 + (bytes.readUInt8(8) % 28)))
  const isOld = year - Number(birth.slice(0, 4)) > 46
  return { validFrom: from, validTo: isOld ? '长期' : `${year + 20}${from.slice(4)}` }
}

/** Nine of ten are of nation 01, the others of 02 to 56 (GB/T 3304). */
const nationOf = (bytes: Buffer) =>
  bytes.readUInt8(14) < 230 ? '01' : String(2 + (bytes.readUInt8(15) % 55)).padStart(2, '0')

/**
 * The person of an index. Always the same for a seed; what is not in the index follows from HMAC(seed, index).
 * @param index from 0 to peopleCount - 1
 * @throws RangeError outside
 */
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
  const city = `第${area.slice(-1)}虚构市`
  return {
    index,
    number: first17 + checkCharacter(first17),
    name: pick(surnames, bytes, 0) + pick(given, bytes, 2) + pick(given, bytes, 4) + pick(given, bytes, 16),
    sex: sequence % 2 === 1 ? '1' : '2',
    nation: nationOf(bytes),
    birth,
    address: `${city}${pick(places, bytes, 10)}${1 + (bytes.readUInt16BE(12) % 900)}号`,
    issuer: `${city}公安局`,
    ...validityOf(birth, bytes),
    serial: bytes.subarray(32, 48),
  }
}

/** The arithmetic inverse, without a list: the person with a number, or undefined if nobody has it. */
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
