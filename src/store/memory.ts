// The embedded store: guards and answers of one process, bounded, expired a little at each write so that no
// call ever walks the whole table. It knows nothing of Redis (PROTOCOL sections 4, 8).
import type { Clock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { guardKey, type Store, StoreUnavailable, wholeTtlMs } from './store.ts'

/** What whoever starts a gateway on the embedded store must be told. */
export const memoryStoreWarning =
  'The embedded store lives in this process alone: guards and cached answers do not survive a restart, and a ' +
  'second process does not see them. The ledger still refuses a challenge that was used. Set REDIS_URL to ' +
  'redis://host:6379 for more than one process.'

// Text, one byte a character: immutable, and it does not hold on to the 8 KiB pool a Buffer was cut from.
type Entry = { value: string; expiresAt: number }

const slotMs = 1000
const tidyStepsPerWrite = 32
/** Enough to step over every empty slot between now and the longest life of a guard (790 s). */
const tidyStepsWhenFull = 2048
const oldestLookedAt = 2

const read = (entry: Entry | undefined, now: number) =>
  entry && entry.expiresAt > now ? Buffer.from(entry.value, 'latin1') : undefined

/** Guards by key, with their keys in slots of one second by when they end. A live guard is never evicted. */
class Guards {
  readonly #entries = new Map<string, Entry>()
  readonly #ending = new Map<number, string[]>()
  readonly #entriesMax: number
  #slot: number

  constructor(entriesMax: number, now: number) {
    this.#entriesMax = entriesMax
    this.#slot = Math.floor(now / slotMs)
  }

  get size() {
    return this.#entries.size
  }

  read(key: string, now: number): Buffer | undefined {
    return read(this.#entries.get(key), now)
  }

  /** False if there is no room for another guard. */
  write(key: string, entry: Entry, now: number): boolean {
    this.#tidy(now, tidyStepsPerWrite)
    if (this.#entries.has(key)) {
      this.#entries.set(key, entry) // Its key stays in its slot, and moves on from there if it must.
      return true
    }
    if (this.#entries.size >= this.#entriesMax) this.#tidy(now, tidyStepsWhenFull)
    if (this.#entries.size >= this.#entriesMax) return false
    this.#entries.set(key, entry)
    this.#enlist(key, entry)
    return true
  }

  clear(): void {
    this.#entries.clear()
    this.#ending.clear()
  }

  /** Puts a key where it will be looked at when its guard ends, in a slot that was not yet looked at. */
  #enlist(key: string, entry: Entry): void {
    const slot = Math.max(this.#slot + 1, Math.floor(entry.expiresAt / slotMs))
    const keys = this.#ending.get(slot)
    if (keys) keys.push(key)
    else this.#ending.set(slot, [key])
  }

  /** Forgets guards that ended, in at most `steps` steps; what is left over waits for the next write. */
  #tidy(now: number, steps: number): void {
    const slotNow = Math.floor(now / slotMs)
    for (let step = 0; step < steps && this.#slot < slotNow; step += 1) {
      const key = this.#ending.get(this.#slot)?.pop()
      if (key === undefined) {
        this.#ending.delete(this.#slot)
        this.#slot += 1
        continue
      }
      const entry = this.#entries.get(key)
      if (!entry) continue
      if (entry.expiresAt <= now) this.#entries.delete(key)
      else this.#enlist(key, entry) // It was written again with a later end.
    }
  }
}

/** Answers by key, oldest first; the oldest gives way when there is no room. */
class Answers {
  readonly #entries = new Map<string, Entry>()
  readonly #entriesMax: number

  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax
  }

  get size() {
    return this.#entries.size
  }

  read(key: string, now: number): Buffer | undefined {
    return read(this.#entries.get(key), now)
  }

  write(key: string, entry: Entry, now: number): void {
    this.#entries.delete(key) // So that a rewritten answer counts as new.
    this.#entries.set(key, entry)
    let looked = 0
    for (const [oldest, { expiresAt }] of this.#entries) {
      const full = this.#entries.size > this.#entriesMax
      if (looked === oldestLookedAt || !(full || expiresAt <= now)) break
      this.#entries.delete(oldest)
      looked += 1
    }
  }

  clear(): void {
    this.#entries.clear()
  }
}

export type MemoryStore = Store & {
  readonly kind: 'memory'
  /** Entries held, those ended but not yet forgotten included. */
  readonly sizes: { guards: number; answers: number }
}

/**
 * Makes the embedded store.
 * @param clock lives are measured on its monotonic reading, so a step of the wall clock changes none
 * @param options.entriesMax bound on guards, and again on answers; a claim beyond it is StoreUnavailable full
 */
export function createMemoryStore(clock: Clock, options: { entriesMax?: number } = {}): MemoryStore {
  const entriesMax = options.entriesMax ?? limits.memoryStoreEntriesMax
  const guards = new Guards(entriesMax, clock.mono())
  const answers = new Answers(entriesMax)
  let closed = false
  let writesLost = 0

  const entryOf = (value: Buffer, ttlMs: number): Entry => ({
    value: value.toString('latin1'),
    expiresAt: clock.mono() + wholeTtlMs(ttlMs),
  })
  const assertOpen = () => {
    if (closed) throw new StoreUnavailable('closed')
  }

  return {
    kind: 'memory',
    async claimGuard(challenge, value, ttlMs) {
      assertOpen()
      const key = guardKey(challenge)
      const now = clock.mono()
      const standing = guards.read(key, now)
      if (standing) return standing
      if (!guards.write(key, entryOf(value, ttlMs), now)) throw new StoreUnavailable('full')
      return undefined
    },
    async readGuard(challenge) {
      assertOpen()
      return guards.read(guardKey(challenge), clock.mono())
    },
    putGuard(challenge, value, ttlMs) {
      if (closed || !guards.write(guardKey(challenge), entryOf(value, ttlMs), clock.mono())) writesLost += 1
    },
    async readAnswers(keys) {
      assertOpen()
      const now = clock.mono()
      return keys.map((key) => answers.read(key, now))
    },
    putAnswer(key, value, ttlMs) {
      if (closed) writesLost += 1
      else answers.write(key, entryOf(value, ttlMs), clock.mono())
    },
    get writesLost() {
      return writesLost
    },
    get sizes() {
      return { guards: guards.size, answers: answers.size }
    },
    isUp: () => !closed,
    async close() {
      closed = true
      guards.clear()
      answers.clear()
    },
  }
}
