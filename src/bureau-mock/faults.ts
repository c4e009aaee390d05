// Knobs of the mock: how it fails, whose status changed, and what it saw (PROTOCOL section 11).
import { randomInt } from 'node:crypto'
import { type Static, Type } from 'typebox'

export const Faults = Type.Partial(
  Type.Object(
    {
      delayMs: Type.Object({ min: Type.Integer({ minimum: 0 }), max: Type.Integer({ minimum: 0 }) }),
      errorRate: Type.Number({ minimum: 0, maximum: 1 }),
      garbage: Type.Boolean(),
      silent: Type.Boolean(),
      partial: Type.Boolean(),
      reordered: Type.Boolean(),
    },
    { additionalProperties: false },
  ),
)
export type Faults = Static<typeof Faults>

export const statuses = ['lost', 'stolen', 'superseded', 'deceased', 'alert', 'clear'] as const
export type Status = (typeof statuses)[number]

/** A delay in ms drawn from the knob's range. */
export function drawDelay(faults: Faults): number {
  const { min = 0, max = 0 } = faults.delayMs ?? {}
  return max > min ? randomInt(min, max + 1) : min
}

export const drawError = (faults: Faults) => randomInt(1_000_000) < (faults.errorRate ?? 0) * 1_000_000
