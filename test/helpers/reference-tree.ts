// The slow and obvious twin of the ledger's tree: RFC 6962 section 2.1 written down as it stands, with node:crypto
// alone. Hashes of ranges are remembered, because the tests ask for all of them.
import { createHash } from 'node:crypto'
import type { Node, ReadHashes } from '../../src/ledger/range.ts'

const sha = (...parts: Uint8Array[]) => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/** A tree over `leaves`, as entry data. Ranges are D[begin:end]. */
export class ReferenceTree {
  readonly leaves: readonly Buffer[]
  readonly #hashes = new Map<string, Buffer>()

  constructor(leaves: readonly Buffer[]) {
    this.leaves = leaves
  }

  /** MTH(D[begin:end]). */
  hash(begin: number, end: number): Buffer {
    const key = `${begin}:${end}`
    const known = this.#hashes.get(key)
    if (known) return known
    const made = this.#make(begin, end)
    this.#hashes.set(key, made)
    return made
  }

  #make(begin: number, end: number): Buffer {
    if (begin === end) return sha()
    if (end - begin === 1) return sha(Buffer.of(0), this.leaves[begin] as Buffer)
    const middle = begin + this.#split(end - begin)
    return sha(Buffer.of(1), this.hash(begin, middle), this.hash(middle, end))
  }

  #split(n: number): number {
    let k = 1
    while (k < n) k *= 2
    return k / 2
  }

  /** PATH(m, D[begin:end]). */
  path(m: number, begin: number, end: number): Buffer[] {
    const n = end - begin
    if (n === 1) return []
    const k = this.#split(n)
    if (m < k) return [...this.path(m, begin, begin + k), this.hash(begin + k, end)]
    return [...this.path(m - k, begin + k, end), this.hash(begin, begin + k)]
  }

  /** PROOF(m, D[n]); empty where the RFC defines none (m = 0). */
  proof(m: number, n: number): Buffer[] {
    return m === 0 ? [] : this.#subproof(m, { begin: 0, end: n, whole: true })
  }

  #subproof(m: number, { begin, end, whole }: { begin: number; end: number; whole: boolean }): Buffer[] {
    const n = end - begin
    if (m === n) return whole ? [] : [this.hash(begin, end)]
    const k = this.#split(n)
    if (m <= k) return [...this.#subproof(m, { begin, end: begin + k, whole }), this.hash(begin + k, end)]
    return [...this.#subproof(m - k, { begin: begin + k, end, whole: false }), this.hash(begin, begin + k)]
  }

  /** The hash of a perfect subtree. */
  node({ level, index }: Node): Buffer {
    return this.hash(index * 2 ** level, (index + 1) * 2 ** level)
  }

  readonly read: ReadHashes = (nodes) => nodes.map((node) => this.node(node))
}

/** Leaves that differ from one another. */
export const leavesOf = (count: number) => Array.from({ length: count }, (_, i) => Buffer.from(`leaf ${i}`))
