// The few atomic needs of the gateway behind one interface: guards of challenges, sealed cached answers, counts of
// what devices did (PROTOCOL sections 4, 8). It knows neither what a guard says nor whom an answer is about.
import { printBase64url } from '../base/bytes.ts'
import { limits } from '../base/limits.ts'

/** What devices did lately, off the path of any answer. All of it rejects with StoreUnavailable. */
export interface Counters {
  /** Counts one more refusal in `minute` (Unix minutes). Resolves to those in it and the nine before it. */
  addRefusal(device: Buffer, minute: number): Promise<number>
  /**
   * Counts a person, by 8 bytes that name nobody, in the device's `day` (Unix days). Resolves to how many distinct
   * ones that day has; in Redis an estimate (HyperLogLog, standard error 0.81 %).
   */
  addPerson(device: Buffer, day: number, person: Buffer): Promise<number>
  /** How many distinct people each of `days` has, 0 where nothing is known; a day is kept for eight. */
  readPeople(device: Buffer, days: readonly number[]): Promise<number[]>
  /** Forgets the refusals in `minute` and the nine before it. */
  forgetRefusals(device: Buffer, minute: number): Promise<void>
  forgetPeople(device: Buffer, day: number): Promise<void>
}

/** Either store; both pass the one contract of test/store/contract.ts. */
export interface Store extends Counters {
  readonly kind: 'memory' | 'redis'
  /**
   * First write of a guard: SET NX GET PX. Resolves to undefined if we wrote it, else to the value that
   * stands. Rejects with StoreUnavailable; the write may have been applied all the same.
   */
  claimGuard(challenge: Buffer, value: Buffer, ttlMs: number): Promise<Buffer | undefined>
  /** Rejects with StoreUnavailable. */
  readGuard(challenge: Buffer): Promise<Buffer | undefined>
  /** Writes whatever stands. Not awaited: a failure is counted, never thrown, because the commit decides. */
  putGuard(challenge: Buffer, value: Buffer, ttlMs: number): void
  /** One value or undefined per key, in the order of `keys`. Rejects with StoreUnavailable. */
  readAnswers(keys: readonly string[]): Promise<(Buffer | undefined)[]>
  /** Not awaited: a lost answer is only a question more to the bureau. Failures are counted. */
  putAnswer(key: string, value: Buffer, ttlMs: number): void
  /**
   * Says that a node lives for `ttlMs` more, and resolves to how many do, this one included. Rejects with
   * StoreUnavailable.
   */
  beat(node: string, ttlMs: number): Promise<number>
  /** Writes that nobody waited for and that were lost, since the start. */
  readonly writesLost: number
  /** Whether a call made now would be tried. */
  isUp(): boolean
  /** Ends the store; later calls reject. Never throws. */
  close(): Promise<void>
}

/** Why a store did not do what was asked: fixed words for operators. */
export type StoreFault = 'closed' | 'full' | 'timeout' | 'down' | 'refused'

/** The store could not be used; the caller goes on without guard and cache (PROTOCOL section 4). */
export class StoreUnavailable extends Error {
  readonly reason: StoreFault

  /** `cause` must hold neither keys nor values. */
  constructor(reason: StoreFault, cause?: Error) {
    super(`the store is not available: ${reason}`, cause && { cause })
    this.name = 'StoreUnavailable'
    this.reason = reason
  }
}

/** Key of the nodes that live: a sorted set by when each is to be forgotten, Unix ms. */
export const nodesKey = 'v1:nodes'

/** Key of a challenge's guard. */
export const guardKey = (challenge: Buffer) => `v1:g:${printBase64url(challenge)}`

/** Key of a device's refusals in a minute. */
export const refusalsKey = (device: Buffer, minute: number) => `v1:r:${printBase64url(device)}:${minute}`

/** Key of a device's people of a day. */
export const peopleKey = (device: Buffer, day: number) => `v1:p:${day}:${printBase64url(device)}`

/** `minute` and those before it in which a refusal still counts. */
export const minutesUntil = (minute: number) =>
  Array.from({ length: limits.refusalMinutes }, (_, i) => minute - i)

/** Life as Redis takes it: a whole number of ms, at least 1. */
export const wholeTtlMs = (ttlMs: number) => Math.max(1, Math.ceil(ttlMs))
