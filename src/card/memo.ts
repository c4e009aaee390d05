// What was found right of a document signer and of a SOD, so that no signature is checked twice. Positive only, and
// forgotten with every change of trust; times, lists and the chip are never in it (PROTOCOL section 7, rows 8 and 9).
// Strings and numbers alone: a small Buffer that is kept keeps the 8 KiB that Node cut it from.
import { hash } from 'node:crypto'
import { limits } from '../base/limits.ts'
import { RecentMap } from '../base/recent.ts'
import type { CardAnchor, CardTrust } from '../pki/anchors.ts'
import type { Period } from '../pki/chain.ts'
import type { SuiteKey } from '../pki/suites.ts'

/** What is looked at of a document signer on every request. `serial` is the body of its INTEGER, in hex. */
export type Standing = { anchor: CardAnchor; serial: string; period: Period }

/** A document signer whose chain, usage and key are right. */
export type ProvenSigner = Standing & { key: SuiteKey }

/** A SOD whose profile and signature are right: what it says of the files, and of its time. */
export type ProvenSod = {
  signer: ProvenSigner
  signedMs: number
  /** Hashes of the groups, as `Suite.hashText` prints them. */
  dg1: string
  dg14: string
  dg15: string
}

/** Name of bytes in the memo: no other bytes have it. */
export const nameOf = (bytes: Buffer): string => hash('sha256', bytes, 'latin1')

export class Memo {
  readonly #signers = new RecentMap<ProvenSigner>(limits.signersKnownMax)
  readonly #sods = new RecentMap<ProvenSod>(limits.sodsKnownMax)
  #trust: CardTrust | undefined

  /** Must come before anything is read: under another trust nothing is known any more. */
  under(trust: CardTrust): void {
    if (trust === this.#trust) return
    this.#trust = trust
    this.#signers.clear()
    this.#sods.clear()
  }

  signer = (name: string): ProvenSigner | undefined => this.#signers.get(name)
  sod = (name: string): ProvenSod | undefined => this.#sods.get(name)

  /** Kept only if that is still the trust: a check may have begun before it changed. */
  keepSigner(under: CardTrust, name: string, signer: ProvenSigner): void {
    if (under === this.#trust) this.#signers.set(name, signer)
  }

  keepSod(under: CardTrust, name: string, sod: ProvenSod): void {
    if (under === this.#trust) this.#sods.set(name, sod)
  }

  get sizes(): { signers: number; sods: number } {
    return { signers: this.#signers.size, sods: this.#sods.size }
  }
}
