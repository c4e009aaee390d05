// A carrier's long-term quota: answers in a calendar month, apart from its rate (PROTOCOL section 10). The ledger's
// own count decides; it is read at most once a second for each carrier, so a quota may be passed by a second's answers.
import { type Clock, carrierDay, monthStart } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { RecentMap } from '../base/recent.ts'

const readEveryMs = 1000
/** The days before today change no more but by what was on its way at midnight: they are many rows. */
const readBeforeEveryMs = 60_000

/** Answers of the days before `today`, and with today's. */
type Count = { today: number; before: number; beforeAt: number; answers: number; readAt: number }

/** @param options.countAnswers answers of a carrier from one day to another (carrierDay) */
export function createQuotas(options: {
  countAnswers: (carrier: string, fromDay: number, toDay: number) => number
  clock: Clock
}) {
  const { countAnswers, clock } = options
  const counts = new RecentMap<Count>(limits.bucketsMax)

  /** Answers that a carrier was given this month, as of a second ago at most. */
  function usedBy(carrier: string): number {
    const nowMs = clock.mono()
    const known = counts.get(carrier)
    if (known && nowMs - known.readAt < readEveryMs) return known.answers
    const today = carrierDay(clock.now())
    const isKept = known?.today === today && nowMs - known.beforeAt < readBeforeEveryMs
    const { before, beforeAt } = isKept ? known : { before: countBefore(carrier, today), beforeAt: nowMs }
    const answers = before + countAnswers(carrier, today, today)
    counts.set(carrier, { today, before, beforeAt, answers, readAt: nowMs })
    return answers
  }

  function countBefore(carrier: string, today: number): number {
    const first = monthStart(today)
    return first < today ? countAnswers(carrier, first, today - 1) : 0
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
