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
  let running: Promise<void> | undefined
  let prunedAt = clock.mono()

  async function tend(): Promise<void> {
    await suspendOverdue(options)
    if (clock.mono() - prunedAt < pruneEveryMs) return
    prunedAt = clock.mono()
    const nowMs = clock.now()
    await pruneRevokedTokens(db, nowMs)
    await inParts((limit) => pruneCalls(db, nowMs, limit))
    const day = carrierDay(nowMs) - redemptionDays
    for (const { id: carrier } of await listCarriers(db))
      await inParts((limit) => pruneRedemptions(db, { carrier, day, limit }))
  }

  const begin = () => {
    running ??= tend()
      .catch(onError)
      .finally(() => {
        running = undefined
      })
  }
  begin()
  const timer = setInterval(begin, reviewEveryMs).unref()
  return {
    async close() {
      clearInterval(timer)
      await running
    },
  }
}

/** Prunes a little at a time until less than that is left to prune. */
async function inParts(prune: (limit: number) => Promise<number>): Promise<void> {
  while ((await prune(rowsAtOnce)) >= rowsAtOnce) await sleep(pauseMs)
}

async function suspendOverdue(options: Parameters<typeof keepUp>[0]): Promise<void> {
  const { db, clock, onSuspended } = options
  const nowMs = clock.now()
  for (const id of await carriersDue(db, nowMs)) {
    try {
      await suspendCarrier(db, { id, operator: reviewActor, nowMs, reason: 'review overdue' })
      onSuspended(id)
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error // Another gateway came first.
    }
  }
}
