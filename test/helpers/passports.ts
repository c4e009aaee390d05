// Invented states with their signers in each algorithm, trust in them, and a holder, for the tests of passports.
import { dayMs } from '../../src/base/clock.ts'
import { createPassportVerifier } from '../../src/card/passport/check.ts'
import { loadCsca, type PassportTrust, parsePassportList } from '../../src/card/passport/trust.ts'
import type { Reading } from '../../src/card/reading.ts'
import type { CardVerdict } from '../../src/card/verdict.ts'
import {
  type KeyKind,
  makePassportSigner,
  makeState,
  makeStateList,
  type PassportSigner,
  type Signature,
  type SignerWish,
  type State,
} from '../../src/simulator/csca.ts'
import type { PassportHolder } from '../../src/simulator/passports.ts'
import { context, nowMs } from './cards.ts'

export const holder: PassportHolder = {
  state: 'UTO',
  number: 'U12345678',
  name: 'HALVORSDATTER<<IMOGEN<TUVA',
  birth: '900307',
  sex: 'F',
  expiry: '310904',
}

export const life = { fromMs: nowMs - 400 * dayMs, toMs: nowMs + 4000 * dayMs }
const listLife = { fromMs: nowMs - dayMs, toMs: nowMs + dayMs }

export const p256: { key: KeyKind; signature: Signature } = {
  key: { curve: 'P-256' },
  signature: { padding: 'ecdsa', hash: 'sha256' },
}

/** A state; UTO, in P-256, where nothing else is said. */
export const stateOf = (wish: Partial<Parameters<typeof makeState>[0]> = {}): State =>
  makeState({ state: 'UTO', country: 'UT', ...life, ...p256, ...wish })

export const signerOf = (by: State, wish: Partial<SignerWish> = {}): PassportSigner =>
  makePassportSigner(by, { ...p256, ...life, ...wish })

export type Listed = { revoked?: readonly PassportSigner[]; fromMs?: number; toMs?: number }

/** Trust in states, each with a fresh list unless it is `undefined`. */
export function trustIn(...states: readonly [by: State, list: Listed | undefined][]): PassportTrust {
  const rows = states.map(([by, list]) => {
    const anchor = loadCsca(by.certificateDer, by.state)
    const der = list && makeStateList(by, { ...listLife, ...list })
    return [anchor, der && parsePassportList(der, [anchor])] as const
  })
  const lists = new Map(rows)
  return {
    anchors: [...lists.keys()],
    notAfterMs: Number.POSITIVE_INFINITY,
    listOf: (anchor) => lists.get(anchor),
  }
}

/** A check without a memory of earlier ones. */
export const checkPassportOnce = (reading: Reading, trust: PassportTrust, at = nowMs): CardVerdict =>
  createPassportVerifier({ trust: () => trust })(reading, { context, nowMs: at }) as CardVerdict
