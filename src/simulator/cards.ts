// The issuing side: simulated cards modelled on ICAO 9303, good ones and ones spoiled in a named way. No real
// card is made so: its chip is read through a licensed module (PROTOCOL sections 0.6, 6).
import { createPublicKey, type KeyObject, randomBytes, X509Certificate } from 'node:crypto'
import type { Reading } from '../card/reading.ts'
import { printRecord } from '../card/record.ts'
import { type ChipContext, chipMessage } from '../card/verdict.ts'
import { printSpki, signingOf } from '../pki/signing.ts'
import { type DocumentSigner, planSod, printSod } from './sod.ts'
import {
  type CardSpoil,
  cardSpoils,
  type ReadingSpoil,
  type ReadSpoil,
  readingSpoils,
  type Spoil,
} from './spoils.ts'

export type { DocumentSigner } from './sod.ts'
export { type CardSpoil, cardSpoils, type ReadingSpoil, readingSpoils } from './spoils.ts'

/** Days are YYYYMMDD; `validTo` may be 长期. `serial` is 16 bytes. */
export type CardHolder = {
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

export type Card = {
  holder: CardHolder
  sod: Buffer
  dg1: Buffer
  dg14: Buffer
  dg15: Buffer
  chipKey: KeyObject
}

const asSalted = (...parts: Buffer[]) => Buffer.concat([randomBytes(16), ...parts])

/**
 * Issues a card, with a new chip of the signer's suite.
 * @param options.signedMs signing time, Unix ms, before 2050; `spoil` one fault by name, `chipSpki` replaces the
 *   chip's public key in DG15
 * @throws RangeError if a field of the holder does not fit
 */
export function issueCard(
  holder: CardHolder,
  signer: DocumentSigner,
  options: { signedMs: number; spoil?: CardSpoil; chipSpki?: Buffer },
): Card {
  const signing = signingOf(signer.privateKey)
  const spoil: Partial<Spoil> = options.spoil ? cardSpoils[options.spoil] : {}
  const printed = spoil.holder?.(holder) ?? holder
  const { serial, ...record } = printed
  const chipKey = signing.makeKey()
  const sound = {
    dg1: asSalted(printRecord(record)),
    dg14: asSalted(randomBytes(8), serial),
    dg15: options.chipSpki ?? printSpki(chipKey),
  }
  const files = spoil.files?.(sound, signing) ?? sound
  const plan = planSod(files, signer, spoil.signedMs?.(options.signedMs) ?? options.signedMs)
  const sod = printSod({ ...plan, ...spoil.sod?.(plan, signing) }, signer)
  return { holder: printed, sod: spoil.printed?.(sod) ?? sod, ...files, chipKey }
}

/** Reads a card: its chip signs for the request. `spoil` is one fault by name. */
export function readCard(card: Card, context: ChipContext, spoil?: ReadingSpoil): Reading {
  const signing = signingOf(card.chipKey)
  const { suite, makeKey, signRaw } = signing
  const fault: Partial<ReadSpoil> = spoil ? readingSpoils[spoil] : {}
  const { sod, dg1, dg14, dg15 } = card
  const message = chipMessage(fault.context?.(context) ?? context, suite.hash(sod))
  const chipSignature = signRaw(fault.foreignChip ? makeKey() : card.chipKey, message)
  const reading: Reading = { suite: suite.id, sod, dg1, dg14, dg15, chipSignature, flags: 0 }
  return fault.reading?.(reading, signing) ?? reading
}

/** A document signer from its certificate, PEM or DER, and key, checked to belong together. */
export function loadSigner(certificateBytes: Buffer, privateKey: KeyObject): DocumentSigner {
  const certificate = new X509Certificate(certificateBytes)
  const own = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  if (!certificate.publicKey.export({ format: 'der', type: 'spki' }).equals(own)) {
    throw new Error('The signer’s certificate and key do not belong together.')
  }
  return { certificateDer: certificate.raw, privateKey }
}
