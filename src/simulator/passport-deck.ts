// The deck of passports: named ones whose answers are known, of people who come in as a function. As deck.ts is for
// cards; their gateway must have the states' CSCAs.
import { randomInt } from 'node:crypto'
import { printReading } from '../card/reading.ts'
import { refusal } from '../card/refusal.ts'
import type { ChipContext } from '../card/verdict.ts'
import type { PassportSigner } from './csca.ts'
import { passportReadingSpoils } from './passport-reading-spoils.ts'
import { passportSpoils } from './passport-spoils.ts'
import { issuePassport, type PassportHolder, type PassportOptions, readPassport } from './passports.ts'

export type DealtPassport = {
  name: string
  answer: 'yes' | 'no'
  /** What the private row must say. */
  refusal: number
  holder: PassportHolder
  /** What the bureau must have been told about the holder. */
  status?: 'lost' | 'deceased' | 'alert'
  readChip(context: ChipContext): Buffer
}

type Plan = {
  name: string
  refusal: number
  status?: DealtPassport['status']
  holder?(holder: PassportHolder): PassportHolder
  options?: PassportOptions
  signer?: 'foreign' | 'revoked'
  read?: (typeof passportReadingSpoils)[keyof typeof passportReadingSpoils]
}

const plans: readonly Plan[] = [
  { name: 'valid', refusal: 0 },
  { name: 'valid, chip of RSA', refusal: 0, options: { chip: { bits: 2048 } } },
  { name: 'valid, a card', refusal: 0, options: { form: 'td1' } },
  { name: 'forged', refusal: refusal.sodSignature, options: { spoil: passportSpoils['forged signature'] } },
  { name: 'cloned', refusal: refusal.chipSignature, read: passportReadingSpoils.cloned },
  { name: 'altered', refusal: refusal.dg1, read: passportReadingSpoils['zone altered'] },
  { name: 'replayed', refusal: refusal.chipSignature, read: passportReadingSpoils['for another challenge'] },
  { name: 'revoked-signer', refusal: refusal.signerRevoked, signer: 'revoked' },
  { name: 'foreign-signer', refusal: refusal.signerUntrusted, signer: 'foreign' },
  { name: 'expired', refusal: refusal.expired, options: { spoil: passportSpoils.expired } },
  { name: 'lost', refusal: 32, status: 'lost' },
  { name: 'alert', refusal: 33, status: 'alert' },
  { name: 'deceased', refusal: 34, status: 'deceased' },
  { name: 'unknown', refusal: 30, holder: (holder) => ({ ...holder, number: `A${holder.number.slice(1)}` }) },
  { name: 'mismatch', refusal: 31, holder: (holder) => ({ ...holder, name: 'NOBODYATALL<<WITHOUT' }) },
]

export type PassportDeckOptions = {
  /** The invented person of an index. */
  personAt(index: number): PassportHolder
  peopleCount: number
  signers: { good: PassportSigner; revoked: PassportSigner; foreign: PassportSigner }
  /** Unix ms. */
  signedMs: number
}

/** A passport by each name, for a person of its own. */
export function makePassportDeck(given: PassportDeckOptions): DealtPassport[] {
  const first = randomInt(given.peopleCount - plans.length)
  return plans.map((plan, i) => {
    const person = given.personAt(first + i)
    const holder = plan.holder?.(person) ?? person
    const signer = given.signers[plan.signer ?? 'good']
    const passport = issuePassport(holder, signer, { signedMs: given.signedMs, ...plan.options })
    return {
      name: plan.name,
      answer: plan.refusal === 0 ? 'yes' : 'no',
      refusal: plan.refusal,
      holder,
      ...(plan.status ? { status: plan.status } : {}),
      readChip: (context) => printReading(readPassport(passport, context, plan.read)),
    }
  })
}
