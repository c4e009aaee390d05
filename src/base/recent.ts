// A bounded map that forgets what was used longest ago. Its memory is what it holds, not what it may hold. The order
// of use is a list of its own: to delete and set an entry of a Map at each use leaves holes that it must sweep.

type Entry<V> = { readonly key: string; value: V; older: Entry<V> | undefined; newer: Entry<V> | undefined }

export class RecentMap<V> {
  readonly #entries = new Map<string, Entry<V>>()
  readonly #entriesMax: number
  #oldest: Entry<V> | undefined
  #newest: Entry<V> | undefined

  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax
  }

  get size(): number {
    return this.#entries.size
  }

  /** The value of `key`, which counts as used now; undefined if it is not held. */
  get(key: string): V | undefined {
    const entry = this.#entries.get(key)
    if (!entry) return undefined
    if (entry !== this.#newest) {
      this.#unlink(entry)
      this.#append(entry)
    }
    return entry.value
  }

  set(key: string, value: V): void {
    const standing = this.#entries.get(key)
    if (standing) {
      standing.value = value
      this.#unlink(standing)
      this.#append(standing)
      return
    }
    const entry = { key, value, older: undefined, newer: undefined }
    this.#entries.set(key, entry)
    this.#append(entry)
    if (this.#entries.size > this.#entriesMax && this.#oldest) this.delete(this.#oldest.key)
  }

  delete(key: string): void {
    const entry = this.#entries.get(key)
    if (!entry) return
    this.#entries.delete(key)
    this.#unlink(entry)
  }

  clear(): void {
    this.#entries.clear()
    this.#oldest = undefined
    this.#newest = undefined
  }

  #append(entry: Entry<V>): void {
    entry.older = this.#newest
    if (this.#newest) this.#newest.newer = entry
    else this.#oldest = entry
    this.#newest = entry
  }

  #unlink(entry: Entry<V>): void {
    const { older, newer } = entry
    if (older) older.newer = newer
    else this.#oldest = newer
    if (newer) newer.older = older
    else this.#newest = older
    entry.older = undefined
    entry.newer = undefined
  }
}
