// Knobs of the mock: how it fails and how long it takes. It knows no people and no wire (PROTOCOL section 11).
import { randomInt } from 'node:crypto'
import { type Static, Type } from 'typebox'

const closed = { additionalProperties: false }
const ms = Type.Number({ minimum: 0, maximum: 60_000 })

/** Uniform from `min` to `max`, or log-normal with this median and 99th percentile. */
const Delay = Type.Union([
  Type.Object({ min: ms, max: ms }, closed),
  Type.Object({ median: Type.Number({ minimum: 0.1, maximum: 60_000 }), p99: ms }, closed),
])

/**
 * `silent` (no reply, ever) and `down` (connections cut) hit questions and feed alike; `feed` hits only the
 * feed; the others only questions.
 */
export const Faults = Type.Object(
  {
    delayMs: Type.Optional(Delay),
    errorRate: Type.Optional(Type.Number({ minimum: 0, maximum: 1 })),
    garbage: Type.Optional(Type.Boolean()),
    silent: Type.Optional(Type.Boolean()),
    down: Type.Optional(Type.Boolean()),
    partial: Type.Optional(Type.Boolean()),
    reordered: Type.Optional(Type.Boolean()),
    feed: Type.Optional(Type.Union([Type.Literal('silent'), Type.Literal('error'), Type.Literal('garbage')])),
  },
  closed,
)
export type Faults = Static<typeof Faults>

export const statuses = ['lost', 'stolen', 'superseded', 'deceased', 'alert', 'clear'] as const
export type Status = (typeof statuses)[number]

/** A number from 0 up to but without 1. */
const draw = () => randomInt(2 ** 47) / 2 ** 47

const p99OfNormal = 2.3263478740408408

/** A standard normal number (Box-Muller). */
const drawNormal = () => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw())

/** A delay in ms as the knob says; 0 without it. */
export function drawDelay({ delayMs }: Faults): number {
  if (!delayMs) return 0
  if ('min' in delayMs) return delayMs.min + draw() * Math.max(0, delayMs.max - delayMs.min)
  const sigma = Math.log(Math.max(1, delayMs.p99 / delayMs.median)) / p99OfNormal
  return Math.min(60_000, delayMs.median * Math.exp(sigma * drawNormal()))
}

export const drawError = ({ errorRate = 0 }: Faults) => draw() < errorRate
