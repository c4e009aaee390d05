// Challenges: 42 bytes that prove themselves, so that no node needs to remember them (PROTOCOL section 4).
// Consumption is not known here.
import { type KeyObject, randomBytes } from 'node:crypto'
import { hmacSha256, sameBytes, sha256, u8 } from '../base/bytes.ts'
import { epochOf, hourMs } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { bind } from '../base/t2l.ts'

export const purpose = { session: 1, reading: 2 } as const
export type Purpose = (typeof purpose)[keyof typeof purpose]

// ver 1 | epoch 1 | issued 4 | ttl 2 | batch 8 | deviceTag 8 | count 1 | mac 16 | index 1
const at = { epoch: 1, issued: 2, ttl: 6, batch: 8, deviceTag: 16, count: 24, mac: 25, index: 41 } as const

export const deviceTagOf = (device: Buffer) => sha256(bind('device-tag', device)).subarray(0, 8)

const macOf = (key: KeyObject, use: Purpose, head: Buffer) =>
  hmacSha256(key, bind('challenge', u8(use), head)).subarray(0, 16)

/**
 * Makes a base that serves `count` challenges; index 0 is set.
 * @param key the challenge MAC key of the hour of `nowMs`
 */
export function issueChallenges(
  key: KeyObject,
  options: { use: Purpose; device: Buffer; count: number; nowMs: number },
): { challenge: Buffer; ttlS: number } {
  const { use, device, count, nowMs } = options
  const ttlS = count === 1 ? limits.challengeTtlOneS : limits.challengeTtlBatchS
  const out = Buffer.alloc(limits.challengeBytes)
  out[0] = 1
  out[at.epoch] = epochOf(nowMs, hourMs) & 0xff
  out.writeUInt32BE(Math.floor(nowMs / 1000), at.issued)
  out.writeUInt16BE(ttlS, at.ttl)
  randomBytes(8).copy(out, at.batch)
  deviceTagOf(device).copy(out, at.deviceTag)
  out[at.count] = count
  macOf(key, use, out.subarray(0, at.mac)).copy(out, at.mac)
  return { challenge: out, ttlS }
}

/** The client's half of batching: challenge number `index` of a served base. */
export function challengeOf(base: Buffer, index: number): Buffer {
  const out = Buffer.from(base)
  out[at.index] = index
  return out
}

/** Full epoch numbers near `nowMs` that the one byte of a message may mean. */
export function epochFromByte(byte: number, currentEpoch: number): number | undefined {
  for (const epoch of [currentEpoch, currentEpoch - 1, currentEpoch + 1]) {
    if ((epoch & 0xff) === byte) return epoch
  }
  return undefined
}

/** When a challenge began and ends, Unix ms: of one whose MAC was checked, or else it says nothing. */
export function lifeOf(challenge: Buffer): { issuedMs: number; expiresMs: number } {
  const issuedMs = challenge.readUInt32BE(at.issued) * 1000
  return { issuedMs, expiresMs: issuedMs + challenge.readUInt16BE(at.ttl) * 1000 }
}

export type ChallengeVerdict =
  | { state: 'fresh' | 'replay_only'; expiresMs: number; guardUntilMs: number }
  | { state: 'invalid' }
  | { state: 'expired' }

/**
 * Checks MAC, device, index and time; says nothing about consumption.
 * `replay_only`: expired at most 185 s ago, so only an answer already given may be given again.
 */
export function checkChallenge(
  challenge: Buffer,
  options: { key: KeyObject | undefined; use: Purpose; device: Buffer; nowMs: number },
): ChallengeVerdict {
  const { key, use, device, nowMs } = options
  if (challenge.length !== limits.challengeBytes || challenge[0] !== 1 || !key) return { state: 'invalid' }
  const mac = macOf(key, use, challenge.subarray(0, at.mac))
  if (!sameBytes(mac, challenge.subarray(at.mac, at.index))) return { state: 'invalid' }
  if (!sameBytes(deviceTagOf(device), challenge.subarray(at.deviceTag, at.count))) return { state: 'invalid' }
  if (challenge.readUInt8(at.index) >= challenge.readUInt8(at.count)) return { state: 'invalid' }
  const issuedS = challenge.readUInt32BE(at.issued)
  const ttlS = challenge.readUInt16BE(at.ttl)
  const ageS = nowMs / 1000 - issuedS
  if (ageS < -limits.clockSkewS) return { state: 'invalid' }
  const endS = ttlS + limits.clockSkewS
  const times = {
    expiresMs: (issuedS + ttlS) * 1000,
    guardUntilMs: (issuedS + ttlS + limits.guardExtraS) * 1000,
  }
  if (ageS <= endS) return { state: 'fresh', ...times }
  return ageS <= endS + limits.replayWindowS ? { state: 'replay_only', ...times } : { state: 'expired' }
}

export const epochByteOf = (challenge: Buffer) => challenge.readUInt8(at.epoch)
