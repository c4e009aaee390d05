// The naive twin's reading of a card's text: fields of fixed width in UTF-16LE, the number's check character, days.

export type Person = { number: string; name: string; serial: string; validTo: string }

const weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]

function isNumber(number: string): boolean {
  if (!/^\d{17}[\dX]$/.test(number)) return false
  const sum = weights.reduce((total, weight, i) => total + weight * Number(number[i]), 0)
  return '10X98765432'[sum % 11] === number[17]
}

const isDay = (text: string) =>
  /^\d{8}$/.test(text) &&
  !Number.isNaN(Date.parse(`${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}T00:00:00Z`))

/** The person of a record that holds today in China, or undefined. */
export function readPerson(record: Buffer, serial: Buffer, now: number): Person | undefined {
  const text = record.toString('utf16le')
  const field = (from: number, to: number) => text.slice(from, to).trimEnd()
  const [name, sex, birth] = [field(0, 15), field(15, 16), field(18, 26)]
  const [number, validFrom, printed] = [field(61, 79).toUpperCase(), field(94, 102), field(102, 110)]
  const validTo = printed === '长期' ? '99991231' : printed
  const today = new Date(now + 8 * 3_600_000).toISOString().slice(0, 10).replaceAll('-', '')
  if (name === '' || !isNumber(number) || ![birth, validFrom, validTo].every(isDay)) return undefined
  if (number.slice(6, 14) !== birth || sex !== (Number(number[16]) % 2 === 1 ? '1' : '2')) return undefined
  if (validFrom > today || validTo < today) return undefined
  return { number, name: name.normalize('NFC'), serial: serial.toString('base64url'), validTo }
}
