// The value of a guard: state u8 (1 running, 2 done, 3 open) | lease end u64 ms | digest 32 (PROTOCOL section 4).
import { readU64, u8, u64 } from '../base/bytes.ts'

export const guardState = { running: 1, done: 2, open: 3 } as const
export type GuardState = (typeof guardState)[keyof typeof guardState]
export type Guard = { state: GuardState; leaseEndMs: number; digest: Buffer }

export const printGuard = (guard: Guard) =>
  Buffer.concat([u8(guard.state), u64(guard.leaseEndMs), guard.digest])

/** Undefined for bytes that are not a guard: then the ledger alone decides. */
export function parseGuard(bytes: Buffer): Guard | undefined {
  const state = bytes[0]
  if (bytes.length !== 41 || (state !== 1 && state !== 2 && state !== 3)) return undefined
  if (bytes.readUInt16BE(1) !== 0) return undefined // Beyond any time that a clock of ours tells.
  return { state, leaseEndMs: readU64(bytes, 1), digest: bytes.subarray(9) }
}
