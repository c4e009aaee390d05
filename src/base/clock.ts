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
