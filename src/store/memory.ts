// The embedded store: guards, answers and counts of one process, bounded, expired a little at each write so that no
// call ever walks the whole table. It knows nothing of Redis (PROTOCOL sections 4, 8).
import type { Clock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { createCounters } from './counters.ts'
import { GuardTable } from './guards.ts'
import { type Counters, type Store, StoreUnavailable, wholeTtlMs } from './store.ts'

/** What whoever starts a gateway on the embedded store must be told. */
export const memoryStoreWarning =
  'The embedded store lives in this process alone: guards and cached answers do not survive a restart, and a ' +
  'second process does not see them. The ledger still refuses a challenge that was used. Set REDIS_URL to ' +
  'redis://host:6379 for more than one process.'

// Text, one byte a character: immutable, and it does not hold on to the pool (64 KiB) that a Buffer was cut from.
type Entry = { value: string; expiresAt: number }

const oldestLookedAt = 2

const read = (entry: Entry | undefined, now: number) =>
  entry && entry.expiresAt > now ? Buffer.from(entry.value, 'latin1') : undefined

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

function openCounters(assertOpen: () => void): Counters {
  const counters = createCounters()
  return {
    async addRefusal(device, minute) {
      assertOpen()
      return counters.addRefusal(device, minute)
    },
    async addPerson(device, day, person) {
      assertOpen()
      return counters.addPerson(device, day, person)
    },
    async readPeople(device, days) {
      assertOpen()
      return counters.readPeople(device, days)
    },
    async forgetRefusals(device, minute) {
      assertOpen()
      return counters.forgetRefusals(device, minute)
    },
    async forgetPeople(device, day) {
      assertOpen()
      return counters.forgetPeople(device, day)
    },
  }
}

/**
 * Makes the embedded store.
 * @param clock lives are measured on its monotonic reading, so a step of the wall clock changes none
 * @param options.entriesMax bound on guards, and again on answers; a claim beyond it is StoreUnavailable full
 */
export function createMemoryStore(clock: Clock, options: { entriesMax?: number } = {}): MemoryStore {
  const entriesMax = options.entriesMax ?? limits.memoryStoreEntriesMax
  const guards = new GuardTable(entriesMax)
  const answers = new Answers(entriesMax)
  let closed = false
  let writesLost = 0

  const timesOf = (ttlMs: number) => {
    const now = clock.mono()
    return { now, endsAt: now + wholeTtlMs(ttlMs) }
  }
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
      const standing = guards.read(challenge, clock.mono())
      if (standing) return standing
      if (!guards.write(challenge, value, timesOf(ttlMs))) throw new StoreUnavailable('full')
      return undefined
    },
    async readGuard(challenge) {
      assertOpen()
      return guards.read(challenge, clock.mono())
    },
    putGuard(challenge, value, ttlMs) {
      if (closed || !guards.write(challenge, value, timesOf(ttlMs))) writesLost += 1
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
    ...openCounters(assertOpen),
    async beat() {
      assertOpen()
      return 1 // No other process sees this store.
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
