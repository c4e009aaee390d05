// A ledger in memory, over the reference tree, as those who show it see it: entries with private rows, signed
// checkpoints on demand, and what was published.
import { createSecretKey, type KeyObject } from 'node:crypto'
import { printCheckpoint } from '../../src/ledger/checkpoint.ts'
import {
  hashJti,
  hashWho,
  printEntry,
  printPrivate,
  sealRow,
  type WhoOpening,
} from '../../src/ledger/entry.ts'
import { leafHash } from '../../src/ledger/hash.ts'
import { printNote, signNote } from '../../src/ledger/note.ts'
import type { LedgerPublishing, LedgerReading, SignedCheckpoint } from '../../src/ledger/reading.ts'
import { printBundle, printTile, readFromTiles } from '../../src/ledger/tile.ts'
import { sha } from './ledger.ts'
import { keyOf, origin, timeMs } from './receipts.ts'
import { ReferenceTree } from './reference-tree.ts'

export const day = Math.floor(timeMs / 86_400_000)
export const recordKey: KeyObject = createSecretKey(sha('record of the day'))
const none: SignedCheckpoint = { size: 0, note: '' }

type Row = { data: Buffer; blob: Buffer; jti?: Buffer }

export class ShownLedger implements LedgerReading, LedgerPublishing {
  readonly rows: Row[] = []
  readonly published: SignedCheckpoint[] = []
  readonly #listeners = new Set<(signed: SignedCheckpoint) => void>()
  #tree = new ReferenceTree([])
  #signed = none

  /** Adds a verification and returns its index. */
  add(who: WhoOpening, answer = 1): number {
    const blob = sealRow(recordKey, day, printPrivate(0, who, Buffer.alloc(16, 4)))
    const hashes = { sealedHash: Buffer.alloc(32, 6), privateHash: sha(blob) }
    const entry = { type: 1, timeMs, who: hashWho(who), answer, jtiHash: hashJti(who.jti), ...hashes }
    return this.rows.push({ data: printEntry(entry), blob, jti: who.jti }) - 1
  }

  /** Adds entries that nobody asks about. */
  fill(count: number): this {
    for (let i = 0; i < count; i++) {
      this.rows.push({ data: Buffer.from(`entry ${this.rows.length}`), blob: Buffer.alloc(0) })
    }
    return this
  }

  /** Signs a checkpoint over all entries, and tells of it. */
  sign(): SignedCheckpoint {
    const size = this.rows.length
    this.#tree = new ReferenceTree(this.rows.map(({ data }) => data))
    const text = printCheckpoint({ origin, size, root: this.#tree.hash(0, size) })
    const note = printNote({ text, signatures: [signNote(text, { name: origin, key: keyOf('ledger') })] })
    this.#signed = { size, note }
    for (const listener of this.#listeners) listener(this.#signed)
    return this.#signed
  }

  /** Signs and shows a checkpoint over all entries. */
  show(): this {
    const { size, note } = this.sign()
    this.publish(size, note)
    return this
  }

  checkpoint() {
    return this.published.at(-1) ?? none
  }
  signed() {
    return this.#signed
  }
  publish(size: number, note: string) {
    if (size > this.checkpoint().size) this.published.push({ size, note })
  }
  onCheckpoint(listener: (signed: SignedCheckpoint) => void) {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
  readTile(level: number, n: number, width: number) {
    const span = 256 ** level
    if ((n * 256 + width) * span > this.#signed.size) throw new Error('beyond what is integrated')
    const at = (i: number) => (n * 256 + i) * span
    return printTile(Array.from({ length: width }, (_, i) => this.#tree.hash(at(i), at(i + 1))))
  }
  readHashes(size: number) {
    return readFromTiles(size, (level, n, width) => this.readTile(level, n, width))
  }
  readBundle(n: number, width: number) {
    if (n * 256 + width > this.#signed.size) throw new Error('beyond what is integrated')
    return printBundle(this.rows.slice(n * 256, n * 256 + width).map(({ data }) => data))
  }
  indexOfJti(jti: Buffer) {
    const index = this.rows.findIndex((row) => row.jti?.equals(jti))
    return index < 0 ? undefined : index
  }
  readEntry(index: number) {
    const data = this.rows[index]?.data
    return data && { data, leaf: leafHash(data) }
  }
  readPrivate(index: number) {
    const blob = this.rows[index]?.blob
    return blob && { day, blob }
  }
}
