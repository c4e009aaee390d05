// Bounds around an adapter that may be anyone's: deadline, places in flight, and one error for all that goes wrong.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { manualClock } from '../../src/base/clock.ts'
import type { GatewayError } from '../../src/base/errors.ts'
import { boundAdapter } from '../../src/sam/bounded.ts'
import type { SamRecord } from '../../src/sam/protocol.ts'

const id = Buffer.alloc(32)
const record: SamRecord = {
  ...{ record: Buffer.alloc(256), serial: Buffer.alloc(16) },
  ...{ readAtMs: 1, attestation: Buffer.alloc(64) },
}
type Fetch = (transaction: Buffer, binding: Buffer, signal: AbortSignal) => Promise<SamRecord | undefined>

function bound(fetchRecord: Fetch, given: { deadlineMs?: number; inFlightMax?: number } = {}) {
  const told: { ms: number; fault?: GatewayError }[] = []
  const clock = manualClock(0)
  const fetch = boundAdapter({ fetchRecord }, { clock, onEnd: (end) => told.push(end), ...given })
  return { fetch, told, clock }
}

t.test('a record, and that there is none, pass as they are', async (t) => {
  const { fetch, told, clock } = bound(async (transaction) => {
    clock.advance(7)
    return transaction === id ? record : undefined
  })
  t.equal(await fetch(id, id), record)
  t.equal(await fetch(Buffer.alloc(32), id), undefined)
  t.same(told, [{ ms: 7 }, { ms: 7 }])
})

t.test('whatever an adapter throws is sam_unavailable, and says nothing of it', async (t) => {
  const throwing: Fetch[] = [
    async () => Promise.reject(new Error('令狐澜屿')),
    () => {
      throw new TypeError('at once')
    },
    () => Promise.reject('no error at all'),
  ]
  for (const fetchRecord of throwing) {
    const { fetch, told } = bound(fetchRecord)
    const error = await fetch(id, id).catch((cause) => cause)
    t.match(error, { code: 'sam_unavailable', reason: 'sam_failed', message: 'sam_unavailable: sam_failed' })
    t.match(told, [{ ms: 0, fault: { reason: 'sam_failed' } }])
  }
})

t.test('after the deadline nobody waits, and the adapter is told', async (t) => {
  let isAborted = false
  const { fetch } = bound(
    (_, __, signal) =>
      new Promise((__, reject) => {
        signal.addEventListener('abort', () => {
          isAborted = true
          reject(signal.reason)
        })
      }),
    { deadlineMs: 30 },
  )
  await t.rejects(fetch(id, id), { code: 'sam_unavailable', reason: 'deadline' })
  t.ok(isAborted)
})

t.test('a place is taken until the adapter has really ended', async (t) => {
  const ends: (() => void)[] = []
  const { fetch, told } = bound(() => new Promise((resolve) => ends.push(() => resolve(undefined))), {
    ...{ deadlineMs: 30, inFlightMax: 2 },
  })
  const first = [fetch(id, id), fetch(id, id)].map((call) => call.catch((cause) => cause.reason))
  await t.rejects(fetch(id, id), { code: 'sam_unavailable', reason: 'queue_full' })
  t.same(await Promise.all(first), ['deadline', 'deadline'])
  await t.rejects(fetch(id, id), { code: 'sam_unavailable', reason: 'queue_full' }) // It ignores its signal.
  for (const end of ends) end()
  await sleep(1)
  await t.rejects(fetch(id, id), { code: 'sam_unavailable', reason: 'deadline' }) // Two places are free again.
  t.equal(told.length, 3, 'what found no place was never asked')
})
