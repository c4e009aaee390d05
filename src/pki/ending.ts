// How near the end of a certificate is: warnings 30, 7 and 1 days before. It knows no certificate and no clock.
import { dayMs } from '../base/clock.ts'

/** The nearest first. */
export const warnings = [
  ['1_day', dayMs],
  ['7_days', 7 * dayMs],
  ['30_days', 30 * dayMs],
] as const

export type Warning = (typeof warnings)[number][0]

/** The nearest warning that is due; null while there is none. What has ended is `1_day`. */
export const warningOf = (notAfterMs: number, nowMs: number): Warning | null =>
  warnings.find(([, ms]) => notAfterMs - nowMs <= ms)?.[0] ?? null
