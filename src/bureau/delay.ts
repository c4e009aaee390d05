// The bureau's delay over the last minute, in 50 ms bins: what H of a held no is made from (PROTOCOL 0.2).
import type { Clock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'

const seconds = 60
const bins = Math.ceil(limits.requestMsMax / limits.holdStepMs) + 1

export function createDelays(clock: Clock) {
  const counts = Array.from({ length: seconds }, () => new Uint32Array(bins))
  const stamps = new Float64Array(seconds).fill(-1)
  return {
    record(delayMs: number): void {
      const second = Math.floor(clock.mono() / 1000)
      const row = counts[second % seconds] as Uint32Array
      if (stamps[second % seconds] !== second) row.fill(0)
      stamps[second % seconds] = second
      const bin = Math.min(bins - 1, Math.floor(delayMs / limits.holdStepMs))
      row[bin] = (row[bin] as number) + 1
    },
    /** Upper edge in ms of the bin that holds the 99.9th percentile; 0 without a sample. */
    p999Ms(): number {
      const now = Math.floor(clock.mono() / 1000)
      const sum = new Uint32Array(bins)
      let total = 0
      for (const [i, row] of counts.entries()) {
        if ((stamps[i] as number) < 0 || now - (stamps[i] as number) >= seconds) continue
        for (let bin = 0; bin < bins; bin++) sum[bin] = (sum[bin] as number) + (row[bin] as number)
      }
      for (const count of sum) total += count
      let left = Math.ceil(total * 0.999)
      for (let bin = 0; bin < bins && total > 0; bin++) {
        left -= sum[bin] as number
        if (left <= 0) return (bin + 1) * limits.holdStepMs
      }
      return 0
    },
  }
}
