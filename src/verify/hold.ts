// When a no may leave: at arrival + H + k * 50 ms, so that all refusals take one of a few equal times
// (PROTOCOL section 0.2). All times are ms of one monotonic clock.
import { limits } from '../base/limits.ts'

/**
 * H: one value for all refusals, from the bureau's p99.9 delay of the last minute and the time that the entry
 * takes, which is written one step of the grid before the release.
 */
export function holdMs(bureauDelayP999Ms: number): number {
  const rounded = Math.ceil(bureauDelayP999Ms / limits.holdStepMs + 1) * limits.holdStepMs
  return Math.min(limits.holdMsMax, Math.max(limits.holdMsMin, rounded))
}

/** When the entry of a no is written: on the same grid, so that its index does not tell who refused. */
export const recordAt = (arrivedAt: number, readyAt: number, hold: number) =>
  releaseAt(arrivedAt, readyAt, hold - limits.holdStepMs)

/** The first instant of the grid at or after `readyAt`. */
export function releaseAt(arrivedAt: number, readyAt: number, hold: number): number {
  const late = Math.max(0, readyAt - (arrivedAt + hold))
  return arrivedAt + hold + Math.ceil(late / limits.holdStepMs) * limits.holdStepMs
}
