// Any adapter within bounds of our own: one deadline, a limit of what is in flight, and one error for whatever
// keeps it from an answer. It knows nothing of what is fetched.
import type { Clock } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { withDeadline } from '../base/http.ts'
import { limits } from '../base/limits.ts'
import type { SamAdapter, SamRecord } from './protocol.ts'

export type FetchRecord = (transaction: Buffer, binding: Buffer) => Promise<SamRecord | undefined>

/**
 * @param options.onEnd told of every call that was made: its ms, and why not if it did not answer
 * @returns what rejects with `sam_unavailable` alone; reasons: queue_full, deadline, sam_failed
 */
export function boundAdapter(
  adapter: SamAdapter,
  options: {
    clock: Pick<Clock, 'mono'>
    deadlineMs?: number
    inFlightMax?: number
    onEnd?: (told: { ms: number; fault?: GatewayError }) => void
  },
): FetchRecord {
  const { clock, deadlineMs = limits.samDeadlineMs, inFlightMax = limits.samInFlightMax, onEnd } = options
  let inFlight = 0

  /** Counted until it has really ended: after the deadline it may still hold a connection or a place in a queue. */
  async function fetchCounted(transaction: Buffer, binding: Buffer, signal: AbortSignal) {
    inFlight += 1
    try {
      return await adapter.fetchRecord(transaction, binding, signal)
    } finally {
      inFlight -= 1
    }
  }

  return async (transaction, binding) => {
    if (inFlight >= inFlightMax) throw new GatewayError('sam_unavailable', 'queue_full')
    const began = clock.mono()
    let isLate = false
    try {
      const found = await withDeadline(deadlineMs, (signal) => {
        signal.addEventListener('abort', () => {
          isLate = true
        })
        return fetchCounted(transaction, binding, signal)
      })
      onEnd?.({ ms: clock.mono() - began })
      return found
    } catch (cause) {
      const fault = new GatewayError('sam_unavailable', isLate ? 'deadline' : 'sam_failed', { cause })
      onEnd?.({ ms: clock.mono() - began, fault })
      throw fault
    }
  }
}
