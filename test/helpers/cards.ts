// One card issuer, signer, holder and context for the tests of the card side. All invented.
import {
  type Issued,
  makeCardCrl,
  makeCardIssuer,
  makeDocumentSigner,
  type SignerOptions,
  serialOf,
} from '../../certs/card-issuer.ts'
import { randomId } from '../../src/base/bytes.ts'
import { dayMs } from '../../src/base/clock.ts'
import type { ChipContext } from '../../src/card/check.ts'
import { checkCharacterOf } from '../../src/card/record.ts'
import { type CardTrust, loadAnchors } from '../../src/pki/anchors.ts'
import { parseCrl } from '../../src/pki/revocation.ts'
import type { CardHolder } from '../../src/simulator/cards.ts'

export const nowMs = Date.UTC(2026, 10, 24, 3)
export const signedMs = nowMs - 30 * dayMs

export const issuer = makeCardIssuer({ commonName: 'Test card issuer', notBeforeMs: nowMs - 400 * dayMs })

export const makeSigner = (options: Partial<SignerOptions> = {}, by: Issued = issuer) =>
  makeDocumentSigner(by, {
    commonName: 'Test document signer',
    notBeforeMs: nowMs - 60 * dayMs,
    usageNotBeforeMs: nowMs - 60 * dayMs,
    usageNotAfterMs: nowMs + 30 * dayMs,
    ...options,
  })

export const signer = makeSigner()
export const revokedSigner = makeSigner()

/** A fresh list with the serial of `revokedSigner`. */
export const makeCrl = (by: Issued = issuer, times: { thisUpdateMs?: number; nextUpdateMs?: number } = {}) =>
  makeCardCrl(by, {
    thisUpdateMs: nowMs - dayMs,
    nextUpdateMs: nowMs + dayMs,
    number: 1,
    revoked: [{ serial: serialOf(revokedSigner.certificateDer), atMs: nowMs - dayMs }],
    ...times,
  })

const anchors = loadAnchors([issuer.certificateDer])
export const trust: CardTrust = { anchors, crl: parseCrl(makeCrl(), anchors) }

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
