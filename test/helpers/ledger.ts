// A ledger for tests: a file of its own, a clock that stands at noon, keys that follow from the day, and
// well-formed entries with what a test wants to change.
import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { manualClock } from '../../src/base/clock.ts'
import { GatewayError } from '../../src/base/errors.ts'
import {
  type Appended,
  type LedgerOptions,
  openLedger,
  type SessionEntry,
  type VerifyEntry,
} from '../../src/ledger/ledger.ts'

import { makeFolder } from './folder.ts'

type Test = { teardown(fn: () => unknown): void }

/** The time of the test clock at the start. */
export const noon = Date.UTC(2026, 10, 23, 12)
export const sha = (...parts: (Buffer | string)[]) =>
  createHash('sha256')
    .update(Buffer.concat(parts.map((part) => Buffer.from(part as string))))
    .digest()
/** Keys of a day as a keyring would give them, and a test can make again. */
export const keysOf = (day: number) => ({ record: sha(`record ${day}`), tag: sha(`tag ${day}`) })
/** An invented person. */
export const person = {
  docType: 'ID',
  state: 'CHN',
  number: '780001199001010017',
  serial: Buffer.alloc(16, 6),
}

export function verifyOf(change: Partial<VerifyEntry> = {}): VerifyEntry {
  return {
    type: 'verify',
    digest: randomBytes(32),
    challenge: randomBytes(42),
    expiresMs: noon + 120_000,
    answer: 1,
    carrier: 'swift-parcel',
    outlet: 'SH-0042',
    device: Buffer.alloc(16, 1),
    courier: Buffer.alloc(16),
    parcel: Buffer.alloc(32, 2),
    sealedHash: Buffer.alloc(32, 3),
    refusal: 0,
    transaction: Buffer.alloc(16, 4),
    subject: person,
    ...change,
  }
}
export const sessionOf = (act: string): SessionEntry => ({
  type: 'session',
  digest: randomBytes(32),
  challenge: randomBytes(42),
  expiresMs: noon + 120_000,
  act,
})

/** A ledger in a folder of the test, closed with it; its clock stands at noon. */
export async function openIn(t: Test, change: Partial<LedgerOptions> = {}) {
  const folder = makeFolder()
  const clock = manualClock(noon)
  const options = {
    file: join(folder.path, 'ledger.db'),
    clock,
    dayKeys: async (day: number) => keysOf(day),
    ...change,
  }
  const ledger = await openLedger(options)
  t.teardown(async () => {
    await ledger.close()
    folder.remove()
  })
  return { ledger, clock, file: options.file, options }
}

/** The entry of an append that must have been written. */
export function written(appended: Appended) {
  if ('lost' in appended) throw new Error('lost')
  return appended
}

/** The reason of the `ledger_unavailable` that `work` ends with; `none` if it does not fail. */
export async function reasonOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'none'
  } catch (error) {
    return error instanceof GatewayError && error.code === 'ledger_unavailable' ? error.reason : `${error}`
  }
}

/** Waits until `condition` holds; throws after `ms`. */
export async function until(condition: () => boolean, ms = 5000): Promise<void> {
  for (const end = performance.now() + ms; !condition(); ) {
    if (performance.now() > end) throw new Error('waited in vain')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
