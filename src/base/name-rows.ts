// Rows of bytes by name, in a few blocks of memory. As objects of a Map they would be several each, and the collector
// marks every one that lives, again and again.

const nameBytes = 32
const nameWords = nameBytes / 4
/** Rows that a name may be in. Of a full set the row that was used longest ago makes room. */
const ways = 8
const usesMax = 0xffff_ffff

export class NameRows {
  readonly #names: Uint32Array
  /** When each row was last used, by count of uses; 0: free. */
  readonly #usedAt: Uint32Array
  readonly #rows: Buffer
  readonly #rowBytes: number
  readonly #sets: number
  readonly #asked = Buffer.alloc(nameBytes)
  readonly #askedWords = new Uint32Array(this.#asked.buffer, this.#asked.byteOffset, nameWords)
  #uses = 0

  /** @param options.rowsMax a multiple of 8; of a full set a row goes though others have room */
  constructor({ rowsMax, rowBytes }: { rowsMax: number; rowBytes: number }) {
    this.#sets = rowsMax / ways
    if (!Number.isInteger(this.#sets)) throw new RangeError(`rowsMax is ${rowsMax}, no multiple of ${ways}`)
    this.#rowBytes = rowBytes
    this.#names = new Uint32Array(rowsMax * nameWords)
    this.#usedAt = new Uint32Array(rowsMax)
    this.#rows = Buffer.alloc(rowsMax * rowBytes)
  }

  /** How many are held. Counts them: for tests. */
  get size(): number {
    return this.#usedAt.reduce((held, usedAt) => held + (usedAt === 0 ? 0 : 1), 0)
  }

  /**
   * The row under a name, which counts as used now; undefined if it is not held.
   * @param name a hash of 32 bytes, as latin1
   * @returns the row itself, valid until the next `set`
   */
  get(name: string): Buffer | undefined {
    const first = this.#firstOf(name)
    for (let row = first; row < first + ways; row++) {
      if (this.#usedAt[row] !== 0 && this.#isNamed(row)) return this.#use(row)
    }
    return undefined
  }

  /** A row for a name, to be written whole: its own, a free one, or the one of its set that was used longest ago. */
  set(name: string): Buffer {
    const first = this.#firstOf(name)
    let chosen = first
    for (let row = first; row < first + ways; row++) {
      if (this.#usedAt[row] !== 0 && this.#isNamed(row)) return this.#use(row)
      if ((this.#usedAt[row] as number) < (this.#usedAt[chosen] as number)) chosen = row
    }
    this.#names.set(this.#askedWords, chosen * nameWords)
    return this.#use(chosen)
  }

  clear(): void {
    this.#usedAt.fill(0)
    this.#uses = 0
  }

  /** The first row of a name's set; the name is then the one that was asked for. */
  #firstOf(name: string): number {
    if (name.length !== nameBytes)
      throw new RangeError(`a name of ${name.length} characters, not ${nameBytes}`)
    this.#asked.write(name, 'latin1')
    return ((this.#askedWords[0] as number) % this.#sets) * ways
  }

  #isNamed(row: number): boolean {
    for (let i = 0, at = row * nameWords; i < nameWords; i++, at++) {
      if (this.#names[at] !== this.#askedWords[i]) return false
    }
    return true
  }

  #use(row: number): Buffer {
    if (this.#uses === usesMax) this.clear()
    this.#usedAt[row] = ++this.#uses
    return this.#rows.subarray(row * this.#rowBytes, (row + 1) * this.#rowBytes)
  }
}
