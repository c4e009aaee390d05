// What is under way, by name. A Map that is swept or grows leaves its old table behind; once that is in the old
// generation it holds what was in it until the next full collection, with the slab of each small Buffer, long after
// the work has ended. Here only a name and an empty holder are left.

export class UnderWay<T extends object> {
  readonly #held = new Map<string, { work: T | undefined }>()

  get size(): number {
    return this.#held.size
  }

  get(name: string): T | undefined {
    return this.#held.get(name)?.work
  }

  /** Begins what is not under way yet. */
  begin(name: string, work: T): void {
    this.#held.set(name, { work })
  }

  end(name: string): void {
    const held = this.#held.get(name)
    if (!held) return
    held.work = undefined
    this.#held.delete(name)
  }
}
