// What of the ledger is shown, as those who show it see it: the newest checkpoints, tiles, and where an answer
// stands. They know no store.
import type { ReadHashes } from './range.ts'

/** A checkpoint with its signatures, as printed; size 0 and an empty note before the first. */
export type SignedCheckpoint = { size: number; note: string }

/** Reads of a ledger; bytes of what is integrated never change. */
export type LedgerReading = {
  /** The checkpoint that may be shown: what it covers is public for ever. */
  checkpoint(): SignedCheckpoint
  /** Hashes of a tile. Throws beyond what is integrated. */
  readTile(level: number, n: number, width: number): Buffer
  /** Hashes of nodes of the tree of the first `size` entries, for proofs. Throws beyond what is integrated. */
  readHashes(size: number): ReadHashes
  /** Entries of a bundle, as `printBundle` prints them. Throws beyond what is integrated. */
  readBundle(n: number, width: number): Buffer
  /** Index of the entry that has this token id (16 bytes). */
  indexOfJti(jti: Buffer): number | undefined
  readEntry(index: number): { data: Buffer; leaf: Buffer } | undefined
  readPrivate(index: number): { day: number; blob: Buffer } | undefined
}

/** What a publisher of checkpoints needs beside: the newest that we signed, and news of it. */
export type LedgerPublishing = Pick<LedgerReading, 'checkpoint' | 'readHashes'> & {
  signed(): SignedCheckpoint
  /** Makes a note with more signatures the one that is shown; an older one than that is passed over. */
  publish(size: number, note: string): void
  /** Told of each checkpoint that we signed. Returns the function that ends it. */
  onCheckpoint(listener: (signed: SignedCheckpoint) => void): () => void
}
