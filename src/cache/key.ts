// Under what a bureau's answer is cached: keys that only who has the day's secret, the carrier and the whole
// identity can make (PROTOCOL section 8). It knows neither stores nor answers.
import type { KeyObject } from 'node:crypto'
import { assert } from '../base/assert.ts'
import { hmacSha256, printBase64url } from '../base/bytes.ts'
import { bind, printT2l } from '../base/t2l.ts'

/**
 * Whom an answer is about, as the bureau was asked: `state` ISO 3166 alpha-3, `number` 18 ASCII characters,
 * `serial` 16 bytes, `validTo` YYYYMMDD with 99991231 for no end.
 */
export type Who = {
  docType: 'ID' | 'P'
  state: string
  number: string
  name: string
  serial: Buffer
  validTo: string
}

export const cacheKeyBytes = 16

/** `who` of PROTOCOL section 8. Spellings of one person that the section calls equal print to equal bytes. */
export function printWho(who: Who): Buffer {
  assert(who.serial.length === 16, 'a card serial has 16 bytes')
  const number = who.number.replaceAll('x', 'X')
  const name = withoutTrailingSpaces(who.name).normalize('NFC')
  return printT2l(who.docType, who.state, number, name, who.serial, who.validTo)
}

/** Only U+0020: the record is padded with it, and other white space is part of a name. */
function withoutTrailingSpaces(text: string): string {
  let end = text.length
  while (end > 0 && text[end - 1] === ' ') end -= 1
  return text.slice(0, end)
}

/**
 * The storage key and the sealing key of one person with one carrier on one day. The latter is made when it is asked
 * for: only an answer that is found or kept needs it, and two days are looked at.
 * @param secret K_cache of the day, 256 bits
 * @param who as printed by `printWho`
 */
export function deriveCacheKey(
  secret: KeyObject,
  carrier: string,
  who: Buffer,
): { ck: Buffer; vk: () => Buffer } {
  const mac = (purpose: 'ck' | 'vk') => hmacSha256(secret, bind(purpose, carrier, who))
  return { ck: mac('ck').subarray(0, cacheKeyBytes), vk: () => mac('vk') }
}

/** Key of an answer in the store; `day` is floor(Unix time / 86400). */
export const storageKey = (day: number, ck: Buffer) => `v1:c:${day}:${printBase64url(ck)}`
