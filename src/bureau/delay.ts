// The bureau's delay over the last minute, in 50 ms bins: what H of a held no is made from (PROTOCOL 0.2).
import type { Clock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'

const seconds = 60
/** The last bin takes whatever is longer than a request may be. */
const bins = Math.ceil(limits.requestMsMax / limits.holdStepMs) + 1

export type Delays = { record(delayMs: number): void; p999Ms(): number }

export function createDelays(clock: Clock): Delays {
  const counts = Array.from({ length: seconds }, () => new Uint32Array(bins))
  const sum = new Float64Array(bins)
  let total = 0
  let current = Math.floor(clock.mono() / 1000)

  const rowOf = (second: number) => counts[second % seconds] as Uint32Array

  /** Takes the seconds that are over a minute old out of the sum. */
  function advance(): void {
    const now = Math.floor(clock.mono() / 1000)
    for (let second = Math.max(current + 1, now - seconds + 1); second <= now; second++) {
      const row = rowOf(second)
      for (const [bin, count] of row.entries()) {
        sum[bin] = (sum[bin] as number) - count
        total -= count
      }
      row.fill(0)
    }
    current = Math.max(current, now)
  }

  return {
    record(delayMs) {
      advance()
      const row = rowOf(current)
      const bin = Math.min(bins - 1, Math.max(0, Math.floor(delayMs / limits.holdStepMs)))
      row[bin] = (row[bin] as number) + 1
      sum[bin] = (sum[bin] as number) + 1
      total += 1
    },
    /** Upper edge in ms of the bin that holds the 99.9th percentile of the last minute; 0 without a sample. */
    p999Ms() {
      advance()
      let above = total - Math.ceil(total * 0.999)
      for (let bin = bins - 1; bin >= 0 && total > 0; bin--) {
        above -= sum[bin] as number
        if (above < 0) return (bin + 1) * limits.holdStepMs
      }
      return 0
    },
  }
}
