// In each suite a card issuer, signers and trust; one holder and context for the tests of the card side. All invented.
import {
  type CrlContent,
  type Issued,
  makeCardCrl,
  makeCardIssuer,
  makeDocumentSigner,
  type SignerOptions,
  serialOf,
} from '../../certs/card-issuer.ts'
import { randomId } from '../../src/base/bytes.ts'
import { dayMs } from '../../src/base/clock.ts'
import { createCardVerifier } from '../../src/card/check.ts'
import type { Reading } from '../../src/card/reading.ts'
import { checkCharacterOf } from '../../src/card/record.ts'
import type { CardVerdict, ChipContext } from '../../src/card/verdict.ts'
import { type Anchor, type CardAnchor, type CardTrust, loadAnchors } from '../../src/pki/anchors.ts'
import { parseCrl, type Revocations } from '../../src/pki/revocation.ts'
import { p256Signing, type Signing, sm2Signing } from '../../src/pki/signing.ts'
import type { CardHolder } from '../../src/simulator/cards.ts'

const testNowMs = Date.UTC(2026, 10, 24, 3)
export const nowMs = testNowMs
export const signedMs = nowMs - 30 * dayMs

export type CardWorld = ReturnType<typeof makeCardWorld>

/**
 * An issuer of a suite with a signer, another that is revoked, and a gateway's trust in it.
 * @param given.issuer an issuer there is already; `nowMs` another now
 */
export function makeCardWorld(signing: Signing, given: { issuer?: Issued; nowMs?: number } = {}) {
  const nowMs = given.nowMs ?? testNowMs
  const issuerOf = (commonName: string) =>
    makeCardIssuer({ commonName, notBeforeMs: nowMs - 400 * dayMs, signing })
  const issuer = given.issuer ?? issuerOf('Test card issuer')
  const makeSigner = (options: Partial<SignerOptions> = {}, by: Issued = issuer) =>
    makeDocumentSigner(by, {
      commonName: 'Test document signer',
      notBeforeMs: nowMs - 60 * dayMs,
      usageNotBeforeMs: nowMs - 60 * dayMs,
      usageNotAfterMs: nowMs + 30 * dayMs,
      ...options,
    })
  const signer = makeSigner()
  const revokedSigner = makeSigner()
  /** A fresh list with the serial of `revokedSigner`. */
  const makeCrl = (by: Issued = issuer, given: Partial<CrlContent> = {}) =>
    makeCardCrl(by, {
      thisUpdateMs: nowMs - dayMs,
      nextUpdateMs: nowMs + dayMs,
      number: 1,
      revoked: [{ serial: serialOf(revokedSigner.certificateDer), atMs: nowMs - dayMs }],
      ...given,
    })
  const load = (...by: Issued[]) =>
    loadAnchors(
      by.map((one) => one.certificateDer),
      signing.suite,
    )
  const anchors = load(issuer)
  /** Trust in issuers of ours; a list that is not given there is none of. */
  const trustIn = (lists: readonly [Issued, Buffer | undefined][]) =>
    makeTrust(
      lists.map(([by, list]) => {
        const own = load(by)
        return { anchor: own[0] as Anchor, list: list && parseCrl(list, own) }
      }),
    )
  const trust = trustIn([[issuer, makeCrl()]])
  return {
    signing,
    nowMs,
    issuerOf,
    issuer,
    makeSigner,
    signer,
    revokedSigner,
    makeCrl,
    load,
    anchors,
    trustIn,
    trust,
  }
}

export type Trusted = { anchor: Anchor; list?: Revocations | undefined } & Partial<
  Pick<CardAnchor, 'state' | 'authorities'>
>

/** Trust in anchors as given: cards of any authority in CHN where nothing else is said. */
export function makeTrust(trusted: readonly Trusted[], notAfterMs = Number.POSITIVE_INFINITY): CardTrust {
  const lists = new Map(
    trusted.map(({ anchor, list, state = 'CHN', authorities = [] }) => [
      { ...anchor, state, authorities } as CardAnchor,
      list,
    ]),
  )
  return { anchors: [...lists.keys()], notAfterMs, listOf: (anchor) => lists.get(anchor) }
}

/** A check without a memory of earlier ones. */
export function checkOnce(
  reading: Reading,
  given: { context: ChipContext; trust: CardTrust; nowMs: number },
): CardVerdict {
  const { context, trust, nowMs } = given
  const { suite } = reading.suite === 2 ? sm2Signing : p256Signing
  return createCardVerifier({ suite, trust: () => trust })(reading, { context, nowMs }) as CardVerdict
}

export const worlds = [makeCardWorld(p256Signing), makeCardWorld(sm2Signing)] as const
export const { issuer, makeSigner, signer, revokedSigner, makeCrl, trust } = worlds[0]

/** A number with its check character. */
export const numberOf = (digits17: string) => digits17 + checkCharacterOf(digits17)

export const holder: CardHolder = {
  number: numberOf('78000119900307421'),
  name: '欧阳澜屿',
  sex: '1',
  nation: '01',
  birth: '19900307',
  address: '第一虚构市云汀路12号',
  issuer: '第一虚构市公安局',
  validFrom: '20200101',
  validTo: '20400101',
  serial: randomId(),
}

export const context: ChipContext = {
  challenge: Buffer.alloc(42, 7),
  device: randomId(),
  parcel: Buffer.alloc(32, 9),
  carrier: 'swift-parcel',
}
