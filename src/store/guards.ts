// Guards of the embedded store in flat memory: 100 bytes each instead of 300 as objects, and nothing for the
// garbage collector to walk. A hash table with chains; a live guard is never evicted (PROTOCOL section 4).
import { limits } from '../base/limits.ts'

const keyBytes = limits.challengeBytes
const valueBytes = 41
const rowBytes = keyBytes + valueBytes
const rowsAtFirst = 1024
const none = -1
/** Rows looked at by each write, so that what ended is forgotten without ever walking the table at once. */
const tidyStepsPerWrite = 8
const tidyStepsWhenFull = 4096

/** The table's arrays; `heads` and `next` chain the rows of one bucket, `next` also the free ones. */
type Room = { rows: Buffer; ends: Float64Array; next: Int32Array; heads: Int32Array }

const makeRoom = (capacity: number): Room => ({
  rows: Buffer.alloc(capacity * rowBytes),
  ends: new Float64Array(capacity),
  next: new Int32Array(capacity).fill(none),
  heads: new Int32Array(capacity).fill(none),
})

export class GuardTable {
  readonly #rowsMax: number
  #room = makeRoom(rowsAtFirst)
  /** Rows ever used; those above were never written. */
  #used = 0
  #free = none
  #size = 0
  #hand = 0

  /** @param rowsMax beyond it a new guard is refused */
  constructor(rowsMax: number) {
    this.#rowsMax = rowsMax
  }

  /** Guards held, those ended but not yet forgotten included. */
  get size(): number {
    return this.#size
  }

  /** A copy of the value of a guard that has not ended. Times are monotonic ms. */
  read(challenge: Buffer, now: number): Buffer | undefined {
    const row = this.#find(challenge)
    if (row === none || (this.#room.ends[row] as number) <= now) return undefined
    const at = row * rowBytes + keyBytes
    return Buffer.from(this.#room.rows.subarray(at, at + valueBytes))
  }

  /**
   * Writes whatever stands; false if there is no room for another guard.
   * @throws RangeError for a challenge or value of another length than the protocol's
   */
  write(challenge: Buffer, value: Buffer, times: { endsAt: number; now: number }): boolean {
    if (challenge.length !== keyBytes || value.length !== valueBytes) throw new RangeError('not a guard')
    this.#tidy(times.now, tidyStepsPerWrite)
    const row = this.#rowFor(challenge, times.now)
    if (row === none) return false
    this.#room.rows.set(value, row * rowBytes + keyBytes)
    this.#room.ends[row] = times.endsAt
    return true
  }

  clear(): void {
    this.#room = makeRoom(rowsAtFirst)
    this.#used = 0
    this.#free = none
    this.#size = 0
    this.#hand = 0
  }

  #rowFor(challenge: Buffer, now: number): number {
    const standing = this.#find(challenge)
    if (standing !== none) return standing
    if (this.#size >= this.#rowsMax) this.#tidy(now, tidyStepsWhenFull)
    if (this.#size >= this.#rowsMax) return none
    const row = this.#takeRow()
    const { rows, next, heads } = this.#room
    rows.set(challenge, row * rowBytes)
    const bucket = this.#bucketOf(challenge)
    next[row] = heads[bucket] as number
    heads[bucket] = row
    this.#size++
    return row
  }

  #takeRow(): number {
    const { next, ends } = this.#room
    if (this.#free !== none) {
      const row = this.#free
      this.#free = next[row] as number
      return row
    }
    if (this.#used === ends.length) this.#grow()
    return this.#used++
  }

  /** Doubles the table. The buckets follow from its size, so every chain is made anew. */
  #grow(): void {
    const old = this.#room
    const room = makeRoom(Math.min(old.ends.length * 2, Math.max(this.#rowsMax, old.ends.length + 1)))
    room.rows.set(old.rows)
    room.ends.set(old.ends)
    this.#room = room
    for (let row = 0; row < this.#used; row++) {
      const bucket = this.#bucketOf(this.#keyOf(row))
      room.next[row] = room.heads[bucket] as number
      room.heads[bucket] = row
    }
  }

  #keyOf(row: number): Buffer {
    return this.#room.rows.subarray(row * rowBytes, row * rowBytes + keyBytes)
  }

  /** FNV-1a by words. The challenge has our MAC by the time a guard is asked for: nobody can aim at a bucket. */
  #bucketOf(challenge: Buffer): number {
    let mixed = 0x811c9dc5
    for (let at = keyBytes % 4; at < keyBytes; at += 4) {
      mixed = Math.imul(mixed ^ challenge.readInt32LE(at), 0x01000193)
    }
    mixed ^= mixed >>> 15
    return (mixed >>> 0) % this.#room.heads.length
  }

  #find(challenge: Buffer): number {
    const { heads, next, rows } = this.#room
    let row = heads[this.#bucketOf(challenge)] as number
    while (row !== none) {
      const at = row * rowBytes
      if (challenge.compare(rows, at, at + keyBytes) === 0) return row
      row = next[row] as number
    }
    return none
  }

  /** Forgets guards that ended, the hand going round over the rows. A free row has no end. */
  #tidy(now: number, steps: number): void {
    for (let step = 0; step < steps && this.#used > 0; step++) {
      this.#hand = (this.#hand + 1) % this.#used
      const ends = this.#room.ends[this.#hand] as number
      if (ends !== Number.POSITIVE_INFINITY && ends <= now) this.#forget(this.#hand)
    }
  }

  #forget(row: number): void {
    const { heads, next, ends } = this.#room
    const bucket = this.#bucketOf(this.#keyOf(row))
    let before = none
    for (let at = heads[bucket] as number; at !== row; at = next[at] as number) before = at
    if (before === none) heads[bucket] = next[row] as number
    else next[before] = next[row] as number
    ends[row] = Number.POSITIVE_INFINITY
    next[row] = this.#free
    this.#free = row
    this.#size--
  }
}
