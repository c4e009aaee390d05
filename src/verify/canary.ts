// People who do not exist and whose cards were never made: a chip that speaks for one of them was made by who has an
// issuer's key, or reached us through a gateway that is not ours alone. It knows them by hash, and asks nobody.
import { printBase64url, sha256 } from '../base/bytes.ts'
import { bind } from '../base/t2l.ts'
import { refusalOfResult } from './outcome.ts'
import type { CardOutcome } from './pipeline.ts'

/**
 * A canary as the setting CANARIES lists it: SHA-256 of `canary{docType, state, number}` in base64url.
 * @param number 18 characters; x is read as X
 */
export const canaryOf = (docType: string, state: string, number: string): string =>
  printBase64url(sha256(bind('canary', docType, state, number.replaceAll('x', 'X'))))

/**
 * The outcome of a card whose chip was right, turned into a refusal if its person must never appear. There is no
 * verified card in it then: neither cache nor bureau is asked, and it is recorded and held like each refusal.
 */
export function markCanary(canaries: ReadonlySet<string>, outcome: CardOutcome): CardOutcome {
  const person = outcome.card ?? outcome.person
  if (canaries.size === 0 || !person) return outcome
  if (!canaries.has(canaryOf(person.docType, person.state, person.number))) return outcome
  return { refusal: refusalOfResult('alert'), person, canary: true }
}
