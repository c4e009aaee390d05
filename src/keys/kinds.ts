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
