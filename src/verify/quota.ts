// A carrier's long-term quota: answers in a calendar month, apart from its rate (PROTOCOL section 10). The ledger's
// own count decides; it is read at most once a second for each carrier, so a quota may be passed by a second's answers.
import { type Clock, carrierDay, monthStart } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { RecentMap } from '../base/recent.ts'

const readEveryMs = 1000

/** @param options.countAnswers answers of a carrier from one day to another (carrierDay) */
export function createQuotas(options: {
  countAnswers: (carrier: string, fromDay: number, toDay: number) => number
  clock: Clock
}) {
  const { countAnswers, clock } = options
  const counts = new RecentMap<{ answers: number; readAt: number }>(limits.bucketsMax)

  /** Answers that a carrier was given this month, as of a second ago at most. */
  function usedBy(carrier: string): number {
    const known = counts.get(carrier)
    if (known && clock.mono() - known.readAt < readEveryMs) return known.answers
    const today = carrierDay(clock.now())
    const answers = countAnswers(carrier, monthStart(today), today)
    counts.set(carrier, { answers, readAt: clock.mono() })
    return answers
  }

  return {
    usedBy,
    /** @throws GatewayError quota_used_up */
    assertWithin(carrier: string, quota: number | null): void {
      if (quota !== null && usedBy(carrier) >= quota) throw new GatewayError('quota_used_up', 'quota_used_up')
    },
  }
}

export type Quotas = ReturnType<typeof createQuotas>
