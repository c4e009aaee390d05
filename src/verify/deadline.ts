// A request ends within 3 s of arrival, before its lease; a commit that is later is settled by the retry
// (PROTOCOL section 4).
import type { Clock } from '../base/clock.ts'
import { within } from '../base/deadline.ts'
import { GatewayError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'

/** What `work` comes to, or `ledger_unavailable` 3 s after `arrivedAt` (monotonic ms). */
export function withinRequest<T>(clock: Clock, arrivedAt: number, work: Promise<T>): Promise<T> {
  return within(Math.max(1, arrivedAt + limits.requestMsMax - clock.mono()), work, { late })
}

const late = () => new GatewayError('ledger_unavailable', 'commit_late')
