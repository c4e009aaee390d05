// What a gateway does for the registry by the clock: carriers whose review is overdue are suspended, and rows past
// their use are forgotten. Every gateway does it; who comes second finds nothing to do.
import { setTimeout as sleep } from 'node:timers/promises'
import { type Clock, carrierDay } from './base/clock.ts'
import { pruneCalls } from './registry/calls.ts'
import { carriersDue, listCarriers, suspendCarrier } from './registry/carriers.ts'
import { pruneRedemptions } from './registry/redemptions.ts'
import { pruneRevokedTokens } from './registry/revoked-tokens.ts'
import { type RegistryDb, RegistryError } from './registry/schema.ts'

const reviewEveryMs = 5_000
/** Each is a write: not often, and not all gateways at the start of the hour. */
const pruneEveryMs = 600_000
const redemptionDays = 400
/** Some 5 ms of the thread; others have theirs in the pause. */
const rowsAtOnce = 1000
const pauseMs = 50

/** Who acts when nobody does. */
const reviewActor = 'system:review'

/** @param options.onSuspended told of each carrier that was suspended because its review is overdue */
export function keepUp(options: {
  db: RegistryDb
  clock: Clock
  onSuspended: (carrier: string) => void
  onError: (cause: unknown) => void
}): { close(): Promise<void> } {
  const { db, clock, onError } = options
  const ending = new AbortController()
  let prunedAt = clock.mono()

  async function pruneInTime(): Promise<void> {
    if (clock.mono() - prunedAt < pruneEveryMs) return
    prunedAt = clock.mono()
    await prune(db, clock.now(), ending.signal)
  }

  // Each by itself: a long pruning holds up no review.
  const tasks = [() => suspendOverdue(options, ending.signal), pruneInTime].map((work) => once(work, onError))
  const begin = () => {
    for (const task of tasks) task.begin()
  }
  begin()
  const timer = setInterval(begin, reviewEveryMs).unref()
  return {
    async close() {
      clearInterval(timer)
      ending.abort()
      await Promise.all(tasks.map((task) => task.ended()))
    },
  }
}

/** Work that is begun again and again, never twice at a time. */
function once(work: () => Promise<void>, onError: (cause: unknown) => void) {
  let running: Promise<void> | undefined
  return {
    begin() {
      running ??= work()
        .catch(onError)
        .finally(() => {
          running = undefined
        })
    },
    ended: async () => running,
  }
}

async function prune(db: RegistryDb, nowMs: number, ending: AbortSignal): Promise<void> {
  await pruneRevokedTokens(db, nowMs)
  await inParts((limit) => pruneCalls(db, nowMs, limit), ending)
  const day = carrierDay(nowMs) - redemptionDays
  for (const { id: carrier } of await listCarriers(db))
    await inParts((limit) => pruneRedemptions(db, { carrier, day, limit }), ending)
}

/** Prunes a little at a time until less than that is left to prune, or the end: the rest is for the next time. */
async function inParts(part: (limit: number) => Promise<number>, ending: AbortSignal): Promise<void> {
  while (!ending.aborted && (await part(rowsAtOnce)) >= rowsAtOnce)
    await sleep(pauseMs, undefined, { signal: ending }).catch(() => {}) // Ended: seen above.
}

async function suspendOverdue(options: Parameters<typeof keepUp>[0], ending: AbortSignal): Promise<void> {
  const { db, clock, onSuspended } = options
  const nowMs = clock.now()
  for (const id of await carriersDue(db, nowMs)) {
    if (ending.aborted) return
    try {
      await suspendCarrier(db, { id, operator: reviewActor, nowMs, reason: 'review overdue' })
      onSuspended(id)
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error // Another gateway came first.
    }
  }
}
