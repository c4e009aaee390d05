// What a verification needs from the rest of the gateway, as functions and values: wired in plugins/verifier.ts.
import type { KeyObject } from 'node:crypto'
import type { Clock } from '../base/clock.ts'
import type { BureauResult, Question } from '../bureau/protocol.ts'
import type { CachedAnswer, Slots } from '../cache/answers.ts'
import type { Who } from '../cache/key.ts'
import type { CardTrust } from '../pki/anchors.ts'
import type { AnswerClaims, DeviceSession } from '../token/claims.ts'
import type { Consumed, GuardStore } from './once.ts'

export type CarrierStanding = { status: string }
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

export type Services = {
  clock: Clock
  sleep(ms: number): Promise<void>
  minFirmware: number
  registry: RegistryView
  /** Takes one from the buckets of device, outlet and carrier; throws `rate_limited`. */
  takeRate(session: DeviceSession): void
  challengeKey(epochByte: number): Promise<KeyObject | undefined>
  wrapKey(expS: number): Promise<KeyObject | undefined>
  trust(): CardTrust
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
}
