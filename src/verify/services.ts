// What a verification needs from the rest of the gateway, as functions and values: wired in plugins/verifier.ts.
import type { KeyObject } from 'node:crypto'
import type { Clock } from '../base/clock.ts'
import type { BureauResult, Question } from '../bureau/protocol.ts'
import type { CachedAnswer, Slots } from '../cache/answers.ts'
import type { Who } from '../cache/key.ts'
import type { ChipVerifier } from '../card/verdict.ts'
import type { Counters } from '../store/store.ts'
import type { AnswerClaims, DeviceSession } from '../token/claims.ts'
import type { Consumed, GuardStore } from './once.ts'

/** `quota`: answers a calendar month; null or left out: none. */
export type CarrierStanding = { status: string; quota?: number | null }
export type DeviceStanding = {
  carrier: string
  outlet: string
  status: string
  notAfterMs: number
  key: KeyObject
}

export type RegistryView = {
  isFresh(): boolean
  carrier(id: string): Promise<CarrierStanding | undefined>
  device(id: Buffer): Promise<DeviceStanding | undefined>
}

export type BureauVerdict = { result: BureauResult; transaction: Buffer; position: number }

/** An entry as the ledger takes it; the seam of PROTOCOL section 9. */
export type VerifyEntry = {
  type: 'verify' | 'undecided'
  digest: Buffer
  challenge: Buffer
  expiresMs: number
  answer: 1 | 2 | 3
  carrier: string
  outlet: string
  device: Buffer
  courier: Buffer
  parcel: Buffer
  sealedHash: Buffer
  refusal: number
  transaction: Buffer
  subject: { docType: string; state: string; number: string; serial: Buffer } | undefined
}
export type SessionEntry = {
  type: 'session'
  digest: Buffer
  challenge: Buffer
  expiresMs: number
  act: string
}
export type Appended = { index: number; leaf: Buffer; timeMs: number } | { lost: Buffer; index: number }

export type LedgerView = {
  append(entry: VerifyEntry | SessionEntry): Promise<Appended>
  find(challenge: Buffer): Promise<Consumed | undefined>
}

export type MisuseReason = 'refusals' | 'people'

/** What an operator must be told at once: a device, which is nobody's name, and never a person. */
export type Alert =
  | { kind: `device_${MisuseReason}`; device: Buffer; count: number; limit: number }
  /** `index` of the entry, where there is one. */
  | { kind: 'canary'; device: Buffer; index?: number }

export type Services = {
  clock: Clock
  sleep(ms: number): Promise<void>
  minFirmware: number
  registry: RegistryView
  /** Throws `quota_used_up` for a carrier whose answers of this month are. */
  assertQuota(carrier: string): Promise<void>
  /** Takes one from the buckets of device, outlet and carrier; throws `rate_limited`. */
  takeRate(session: DeviceSession): void
  challengeKey(epochByte: number): Promise<KeyObject | undefined>
  wrapKey(expS: number): Promise<KeyObject | undefined>
  /** By suite of the reading; another suite is not enabled. */
  verifiers: ReadonlyMap<number, ChipVerifier>
  store: GuardStore
  answers: {
    prepare(carrier: string, who: Who): Slots
    read(slots: Slots): Promise<CachedAnswer | undefined>
    write(
      slots: Slots,
      value: { answer: 1 | 2; refusal: number; position: number; transaction: Buffer },
    ): void
  }
  ask(slots: Slots, question: Question): Promise<BureauVerdict>
  bureauDelayP999Ms(): number
  ledger: LedgerView
  signAnswer(claims: AnswerClaims): Promise<string>
  onStoreLost(cause: unknown): void
  counters: Counters
  /** K_cache of a day (Unix days). */
  cacheKey(day: number): KeyObject | undefined
  /** Refusals in ten minutes that suspend a device, and people a day that never do; 0 turns either off. */
  misuseLimits: { refusals: number; people: number }
  /** Whom nobody must ever see, as `canaryOf` makes them. */
  canaries: ReadonlySet<string>
  /** Rejects if it cannot be done now, after telling why. */
  suspendDevice(device: Buffer, reason: MisuseReason): Promise<void>
  alert(alert: Alert): void
}
