// What was found right of a document signer and of a SOD, so that no signature is checked twice. Positive only, and
// forgotten with every change of trust; times, lists and the chip are never in it (PROTOCOL section 7, rows 8 and 9).
// SODs are rows of bytes: there are thousands of them, and as objects they were half of what the collector marks.
import { hash } from 'node:crypto'
import { limits } from '../base/limits.ts'
import { NameRows } from '../base/name-rows.ts'
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

/** A row: the three hashes, of 32 bytes in either suite, when it was signed (double), and by which signer (its number). */
const [hashBytes, signedAt, signerAt, rowBytes] = [32, 96, 104, 108]
/** Beyond so many, counted since trust last changed, all SODs are forgotten and signers are numbered anew. */
const signersNumberedMax = 4 * limits.signersKnownMax

export class Memo {
  readonly #signers = new RecentMap<ProvenSigner>(limits.signersKnownMax)
  readonly #sods = new NameRows({ rowsMax: limits.sodsKnownMax, rowBytes })
  readonly #numbered: ProvenSigner[] = []
  readonly #numbers = new Map<ProvenSigner, number>()
  #trust: CardTrust | undefined

  /** Must come before anything is read: under another trust nothing is known any more. */
  under(trust: CardTrust): void {
    if (trust === this.#trust) return
    this.#trust = trust
    this.#signers.clear()
    this.#forgetSods()
  }

  signer = (name: string): ProvenSigner | undefined => this.#signers.get(name)

  /** @param name of `nameOf` */
  sod(name: string): ProvenSod | undefined {
    const row = this.#sods.get(name)
    if (!row) return undefined
    const hashAt = (n: number) => row.toString('latin1', n * hashBytes, (n + 1) * hashBytes)
    const signer = this.#numbered[row.readUInt32LE(signerAt)] as ProvenSigner
    return { signer, signedMs: row.readDoubleLE(signedAt), dg1: hashAt(0), dg14: hashAt(1), dg15: hashAt(2) }
  }

  /** Kept only if that is still the trust: a check may have begun before it changed. */
  keepSigner(under: CardTrust, name: string, signer: ProvenSigner): void {
    if (under === this.#trust) this.#signers.set(name, signer)
  }

  keepSod(under: CardTrust, name: string, sod: ProvenSod): void {
    if (under !== this.#trust) return
    const hashes = [sod.dg1, sod.dg14, sod.dg15]
    if (!hashes.every(({ length }) => length === hashBytes)) return // No suite has others.
    const number = this.#numberOf(sod.signer)
    const row = this.#sods.set(name)
    row.write(hashes.join(''), 'latin1')
    row.writeDoubleLE(sod.signedMs, signedAt)
    row.writeUInt32LE(number, signerAt)
  }

  #numberOf(signer: ProvenSigner): number {
    const known = this.#numbers.get(signer)
    if (known !== undefined) return known
    if (this.#numbered.length >= signersNumberedMax) this.#forgetSods()
    this.#numbers.set(signer, this.#numbered.length)
    return this.#numbered.push(signer) - 1
  }

  #forgetSods(): void {
    this.#sods.clear()
    this.#numbered.length = 0
    this.#numbers.clear()
  }

  get sizes(): { signers: number; sods: number } {
    return { signers: this.#signers.size, sods: this.#sods.size }
  }
}
