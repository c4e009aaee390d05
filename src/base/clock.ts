// The only place that reads the time. Everything else is handed a Clock, so that tests can set it.

/** `now` is Unix time in whole ms; `mono` is a monotonic reading in ms (fractions allowed). */
export type Clock = { now(): number; mono(): number }

export const systemClock: Clock = { now: () => Date.now(), mono: () => performance.now() }

/** A clock for tests: `now` and `mono` move together and only by `advance`. */
export function manualClock(startMs: number): Clock & { advance(ms: number): void } {
  let passed = 0
  return {
    now: () => Math.floor(startMs + passed),
    mono: () => passed,
    advance(ms) {
      passed += ms
    },
  }
}

export const hourMs = 3_600_000
export const dayMs = 86_400_000

/** Number of the epoch of `lengthMs` that holds `nowMs` (Unix time, UTC). PROTOCOL section 1. */
export const epochOf = (nowMs: number, lengthMs: number) => Math.floor(nowMs / lengthMs)

const carrierZoneMs = 8 * hourMs

/** The day that a carrier counts by: the calendar's in Asia/Shanghai (UTC+8 all year), days since 1970-01-01. */
export const carrierDay = (nowMs: number) => Math.floor((nowMs + carrierZoneMs) / dayMs)

/** First day of the calendar month that holds `day`. */
export function monthStart(day: number): number {
  const date = new Date(day * dayMs)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1) / dayMs
}

/** YYYY-MM-DD of a day number. */
export const printDay = (day: number) => new Date(day * dayMs).toISOString().slice(0, 10)

/** The number of a day written YYYY-MM-DD; undefined for any other text, or a day that there is not. */
export function parseDay(text: string): number | undefined {
  const ms = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN
  return Number.isNaN(ms) || printDay(ms / dayMs) !== text ? undefined : ms / dayMs
}
