// The deck: named cards whose answers are known, the magic test identities of the README. All people are
// invented; who they are comes in as a function, so that the deck knows no bureau.
import { randomInt } from 'node:crypto'
import { printReading, type Reading } from '../card/reading.ts'
import { refusal } from '../card/refusal.ts'
import type { ChipContext } from '../card/verdict.ts'
import { printSpki, signingOf, sm2Signing } from '../pki/signing.ts'
import { type Card, type CardHolder, type DocumentSigner, issueCard, readCard } from './cards.ts'

/** What a card of the deck must come to; the refusal is what the private row must say. */
export type DeckCard = {
  name: string
  about: string
  answer: 'yes' | 'no'
  refusal: number
  holder: CardHolder
  /** What the bureau must have been told about the holder. */
  status?: 'lost' | 'deceased' | 'alert'
  readChip(context: ChipContext): Buffer
}

export type DeckOptions = {
  /** The invented person of an index. */
  personAt(index: number): CardHolder
  /** How many there are. */
  peopleCount: number
  signer: DocumentSigner
  revokedSigner: DocumentSigner
  /** When the cards were signed, Unix ms: within both signers' period. */
  signedMs: number
  /** First index used; random by default, so that runs do not meet each other's cached answers. */
  firstIndex?: number
}

type Plan = {
  name: string
  about: string
  refusal: number
  holder?(holder: CardHolder): CardHolder
  card?(holder: CardHolder, options: DeckOptions): Card
  reading?(reading: Reading, options: { card: Card; context: ChipContext; other: Card }): Reading
  status?: DeckCard['status']
}

const alterByte = (bytes: Buffer, at: number): Buffer => {
  const out = Buffer.from(bytes)
  out.writeUInt8(out.readUInt8(at) ^ 1, at)
  return out
}

const plans: readonly Plan[] = [
  { name: 'valid', about: 'a good card of a known person', refusal: 0 },
  {
    name: 'forged',
    about: 'security object signed by a key that is not the signer’s',
    refusal: 9,
    card: (holder, o) => issueCard(holder, o.signer, { signedMs: o.signedMs, spoil: 'forged signature' }),
  },
  {
    name: 'cloned',
    about: 'the files of one card, the chip of another',
    refusal: 14,
    reading: (reading, { card, context, other }) => ({
      ...reading,
      chipSignature: readCard({ ...card, chipKey: other.chipKey }, context).chipSignature,
    }),
  },
  {
    name: 'altered',
    about: 'the text record changed after signing',
    refusal: 10,
    reading: (reading) => ({ ...reading, dg1: alterByte(reading.dg1, 16) }),
  },
  {
    name: 'revoked-signer',
    about: 'signed by a document signer that was revoked',
    refusal: 5,
    card: (holder, o) => issueCard(holder, o.revokedSigner, { signedMs: o.signedMs }),
  },
  {
    name: 'foreign-chip',
    about: 'another key in DG15 than the chip’s',
    refusal: 14,
    card(holder, o) {
      const other = signingOf(o.signer.privateKey).makeKey()
      return issueCard(holder, o.signer, { signedMs: o.signedMs, chipSpki: printSpki(other) })
    },
  },
  {
    name: 'expired',
    about: 'its validity ended in 2019',
    refusal: 25,
    holder: (holder) => ({ ...holder, validFrom: '20090301', validTo: '20190301' }),
  },
  { name: 'lost', about: 'reported lost to the bureau', refusal: 32, status: 'lost' },
  { name: 'deceased', about: 'its holder is dead', refusal: 34, status: 'deceased' },
  { name: 'alert', about: 'its holder is under alert', refusal: 33, status: 'alert' },
  {
    name: 'unknown',
    about: 'a good number that nobody has',
    refusal: 30,
    holder: (holder) => ({ ...holder, ...unknownNumber(holder) }),
  },
  {
    name: 'mismatch',
    about: 'the bureau knows another name',
    refusal: 31,
    holder: (holder) => ({ ...holder, name: '不符姓名者' }),
  },
]

/** What a card's name ends with that is not in the usual suite. */
const suffixOf = (signer: DocumentSigner) => (signingOf(signer.privateKey) === sm2Signing ? '-sm2' : '')

export const deckNames = ['', '-sm2'].flatMap((suffix) => plans.map((plan) => plan.name + suffix))

/** A number of an area that the bureau's people do not use, with the right check character. */
function unknownNumber(holder: CardHolder): { number: string } {
  const first17 = `780009${holder.number.slice(6, 17)}`
  const weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]
  const sum = weights.reduce((total, weight, i) => total + weight * Number(first17[i]), 0)
  return { number: first17 + '10X98765432'[sum % 11] }
}

/** Whether what a card shows is found in its suite, and not in the text or at the bureau. */
export const isOfSuite = (card: DeckCard) => card.refusal <= refusal.chipSignature

/** The deck in the suite of its signers, each card of a person of its own. */
export function makeDeck(options: DeckOptions): DeckCard[] {
  const suffix = suffixOf(options.signer)
  const first = options.firstIndex ?? randomInt(options.peopleCount - 1000)
  const issue = (holder: CardHolder) => issueCard(holder, options.signer, { signedMs: options.signedMs })
  return plans.map((plan, i) => {
    const person = options.personAt(first + i * 7)
    const holder = plan.holder?.(person) ?? person
    const card = plan.card?.(holder, options) ?? issue(holder)
    const other = issue(options.personAt(first + 500 + i))
    return {
      name: plan.name + suffix,
      about: suffix ? `SM2: ${plan.about}` : plan.about,
      answer: plan.refusal === 0 ? 'yes' : 'no',
      refusal: plan.refusal,
      holder,
      ...(plan.status ? { status: plan.status } : {}),
      readChip(context) {
        const reading = readCard(card, context)
        return printReading(plan.reading?.(reading, { card, context, other }) ?? reading)
      },
    }
  })
}
