// The revocation list in force of one card issuer, the newest that any of its places gave. Whoever finds one hands it in
// as bytes; what is older, of another issuer or of the future never takes its place.
import { limits } from './base/limits.ts'
import { derOf } from './base/pem.ts'
import type { CardAnchor } from './pki/anchors.ts'
import { parseCrl, type Revocations, rollbackOf } from './pki/revocation.ts'

export type Taken = 'newer' | 'same'

export class IssuerList {
  readonly #anchor: CardAnchor
  readonly #onChange: () => void
  #der: Buffer | undefined
  #current: Revocations | undefined

  /** @param onChange told once another list is in force */
  constructor(anchor: CardAnchor, onChange: () => void) {
    this.#anchor = anchor
    this.#onChange = onChange
  }

  current = (): Revocations | undefined => this.#current

  isFresh = (nowMs: number): boolean => this.#current?.isFresh(nowMs) === true

  /**
   * Puts a list in force at once if it is the issuer's own and newer.
   * @param bytes DER or PEM
   * @throws Error saying why it is not taken; the one in force stays
   */
  take(bytes: Buffer, nowMs: number): Taken {
    const der = derOf(bytes)
    if (this.#der?.equals(der)) return 'same'
    if (der.length > limits.cardListBytesMax) {
      throw new Error(`The revocation list has more than ${limits.cardListBytesMax} bytes.`)
    }
    const next = parseCrl(der, [this.#anchor])
    if (next.content === this.#current?.content) return 'same' // Signed once more.
    // It would push out one that is fresh now, and nothing older could ever follow.
    if (next.thisUpdateMs > nowMs + limits.clockSkewS * 1000) {
      throw new Error(
        'The revocation list is of the future. Fix: set the clock right, here or at the issuer.',
      )
    }
    const fault = this.#current && rollbackOf(next, this.#current)
    if (fault) {
      throw new Error(`The revocation list is not taken: ${fault}. Fix: put the issuer's newest list there.`)
    }
    this.#der = der
    this.#current = next
    this.#onChange()
    return 'newer'
  }
}
