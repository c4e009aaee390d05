// Records of one kind in one process's memory: bounded, read once for all who wait, and never kept if a change
// to their subject was applied since the read began (PROTOCOL section 12). It knows ids, not tables.
import { RecentMap } from '../base/recent.ts'

type Read<T> = { overtaken: boolean; answer: Promise<T | undefined> }

export class Records<T extends object> {
  readonly #known: RecentMap<T>
  // Apart from the known: who asks for ids that do not exist must not push out those that do.
  readonly #unknown: RecentMap<true>
  readonly #reads = new Map<string, Read<T>>()
  readonly #load: (id: string) => Promise<T | undefined>

  /** @param options.load reads one record from the database; undefined if there is none */
  constructor(options: {
    load: (id: string) => Promise<T | undefined>
    recordsMax: number
    unknownMax: number
  }) {
    this.#load = options.load
    this.#known = new RecentMap(options.recordsMax)
    this.#unknown = new RecentMap(options.unknownMax)
  }

  /** The record of `id`, at least as new as every change applied so far. Throws what `load` throws. */
  async get(id: string): Promise<T | undefined> {
    for (;;) {
      const known = this.#known.get(id)
      if (known || this.#unknown.get(id)) return known
      const read = this.#reads.get(id) ?? this.#begin(id)
      const found = await read.answer
      if (!read.overtaken) return found
    }
  }

  /** Called when a change to `id` is applied: what is kept, or being read at this moment, is not trusted. */
  forget(id: string): void {
    this.#known.delete(id)
    this.#unknown.delete(id)
    const read = this.#reads.get(id)
    if (read) read.overtaken = true
    this.#reads.delete(id)
  }

  forgetAll(): void {
    this.#known.clear()
    this.#unknown.clear()
    for (const read of this.#reads.values()) read.overtaken = true
    this.#reads.clear()
  }

  get size(): { known: number; unknown: number; reads: number } {
    return { known: this.#known.size, unknown: this.#unknown.size, reads: this.#reads.size }
  }

  #begin(id: string): Read<T> {
    const read: Read<T> = { overtaken: false, answer: Promise.resolve(undefined) }
    this.#reads.set(id, read)
    read.answer = this.#loadAndKeep(id, read)
    return read
  }

  async #loadAndKeep(id: string, read: Read<T>): Promise<T | undefined> {
    try {
      const found = await this.#load(id)
      if (read.overtaken) return found
      if (found) this.#known.set(id, found)
      else this.#unknown.set(id, true)
      return found
    } finally {
      if (this.#reads.get(id) === read) this.#reads.delete(id)
    }
  }
}
