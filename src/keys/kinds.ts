// Every kind of key in the keyring and its life, as data (PROTOCOL section 3).
import { dayMs, hourMs } from '../base/clock.ts'

export type Kind = {
  /** Length of one epoch in ms; the epoch number is floor(Unix ms / length). */
  lengthMs: number
  /** How long before its epoch a key is made. */
  aheadMs: number
  /** How long after its epoch a key is still kept; undefined: until `keys destroy`. */
  keepMs: number | undefined
  type: 'secret' | 'p256'
}

const minuteMs = 60_000
const ahead = 2 * minuteMs // PROTOCOL asks for 60 s; the second minute is for a slow timer.

export const kinds = {
  challenge: { lengthMs: hourMs, aheadMs: ahead, keepMs: hourMs, type: 'secret' },
  'device-token': { lengthMs: dayMs, aheadMs: ahead, keepMs: dayMs, type: 'secret' },
  'session-wrap': { lengthMs: dayMs, aheadMs: ahead, keepMs: dayMs, type: 'secret' },
  cache: { lengthMs: dayMs, aheadMs: ahead, keepMs: dayMs, type: 'secret' },
  record: { lengthMs: dayMs, aheadMs: ahead, keepMs: undefined, type: 'secret' },
  tag: { lengthMs: dayMs, aheadMs: ahead, keepMs: undefined, type: 'secret' },
  recipient: { lengthMs: 30 * dayMs, aheadMs: 14 * dayMs, keepMs: undefined, type: 'p256' },
  token: { lengthMs: 30 * dayMs, aheadMs: 14 * dayMs, keepMs: 2 * dayMs, type: 'p256' },
} as const satisfies Record<string, Kind>

export type KindName = keyof typeof kinds
export const kindNames = Object.keys(kinds) as KindName[]
export const kindOf = (name: KindName): Kind => kinds[name]

/** A recipient key is accepted for so long after its epoch (PROTOCOL section 3). */
const recipientGraceMs = dayMs

/**
 * When a key's life ends, Unix ms. From then on it is deleted by itself, or due for `keys destroy`.
 * @param retentionMs how long after its day a private row can be opened
 */
export function endOfLife(name: KindName, epoch: number, retentionMs: number): number {
  const { lengthMs, keepMs } = kindOf(name)
  const keptMs = keepMs ?? (name === 'recipient' ? recipientGraceMs : retentionMs)
  return (epoch + 1) * lengthMs + keptMs
}
