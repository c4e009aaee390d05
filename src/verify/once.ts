// One challenge, one answer (PROTOCOL section 4). A guard in the store keeps most repeats away cheaply; the
// ledger's consumed table decides. It knows neither cards nor sessions.
import { sameBytes } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { UnderWay } from '../base/under-way.ts'
import { guardState, parseGuard, printGuard } from './guard.ts'

export type GuardStore = {
  claimGuard(challenge: Buffer, value: Buffer, ttlMs: number): Promise<Buffer | undefined>
  readGuard(challenge: Buffer): Promise<Buffer | undefined>
  putGuard(challenge: Buffer, value: Buffer, ttlMs: number): void
}

/** What the ledger keeps of a challenge that was used. */
export type Consumed = { digest: Buffer; index: number; answer: 0 | 1 | 2 | 3; leaf: Buffer; timeMs: number }

export type Attempt = { challenge: Buffer; digest: Buffer; guardUntilMs: number; replayOnly: boolean }

/** How a kind of request is done: `prefetch` leaves in the same tick as the guard. */
export type Work<P, T> = {
  prefetch: () => P
  run: (prefetched: P) => Promise<T>
  again: (consumed: Consumed) => Promise<T>
}

export type Outcome<T> = { value: T; replayed: boolean }

export class Once<T> {
  readonly #store: GuardStore
  readonly #find: (challenge: Buffer) => Promise<Consumed | undefined>
  readonly #clock: Clock
  readonly #onStoreLost: (cause: unknown) => void
  readonly #running = new UnderWay<{ digest: Buffer; outcome: Promise<Outcome<T>> }>()

  constructor(options: {
    store: GuardStore
    find: (challenge: Buffer) => Promise<Consumed | undefined>
    clock: Clock
    onStoreLost: (cause: unknown) => void
  }) {
    this.#store = options.store
    this.#find = options.find
    this.#clock = options.clock
    this.#onStoreLost = options.onStoreLost
  }

  /** Runs the work at most once per challenge; the same digest gets the same answer, another is refused. */
  run<P>(attempt: Attempt, work: Work<P, T>): Promise<Outcome<T>> {
    const name = attempt.challenge.toString('latin1')
    const first = this.#running.get(name)
    if (first) {
      if (!sameBytes(first.digest, attempt.digest)) return Promise.reject(used('running'))
      return first.outcome
    }
    // Entered before the first await, so that of requests at once only one gets here.
    const outcome = this.#settle(attempt, work).finally(() => this.#running.end(name))
    this.#running.begin(name, { digest: attempt.digest, outcome })
    return outcome
  }

  async #settle<P>(attempt: Attempt, work: Work<P, T>): Promise<Outcome<T>> {
    if (attempt.replayOnly) return this.#replay(attempt, work)
    const claim = this.#claim(attempt)
    const prefetched = work.prefetch()
    const standing = await claim
    // Only our own guard may be written again: a lost claim may have met another's (PROTOCOL section 4).
    const held = standing !== 'lost'
    if (standing instanceof Buffer) {
      const guard = parseGuard(standing)
      if (guard && !sameBytes(guard.digest, attempt.digest)) throw used('guard')
      if (guard?.state === guardState.running && guard.leaseEndMs > this.#clock.now()) {
        throw new GatewayError('in_progress', 'running_elsewhere')
      }
      const consumed = await this.#find(attempt.challenge)
      if (consumed) return this.#again(consumed, attempt, work)
      this.#put(attempt, guardState.running) // Open, or its node died before the commit: taken over.
    }
    try {
      const value = await work.run(prefetched)
      this.#put(attempt, guardState.done)
      return { value, replayed: false }
    } catch (error) {
      const code = error instanceof GatewayError ? error.code : undefined
      // A challenge lost to another digest keeps the guard of the winner; a wrong point burns its own.
      if (held && code !== 'challenge_used') {
        this.#put(attempt, code === 'enc_invalid' ? guardState.done : guardState.open)
      }
      throw error
    }
  }

  /** An expired challenge: only what was already answered, or is being answered, is told. */
  async #replay<P>(attempt: Attempt, work: Work<P, T>): Promise<Outcome<T>> {
    const standing = await this.#store.readGuard(attempt.challenge).catch((cause) => this.#onStoreLost(cause))
    const guard = standing ? parseGuard(standing) : undefined
    const mine = guard && sameBytes(guard.digest, attempt.digest)
    if (mine && guard.state === guardState.running && guard.leaseEndMs > this.#clock.now()) {
      throw new GatewayError('in_progress', 'running_elsewhere')
    }
    const consumed = await this.#find(attempt.challenge)
    if (consumed && sameBytes(consumed.digest, attempt.digest)) return this.#again(consumed, attempt, work)
    throw new GatewayError('challenge_expired', 'expired')
  }

  async #again<P>(consumed: Consumed, attempt: Attempt, work: Work<P, T>): Promise<Outcome<T>> {
    if (!sameBytes(consumed.digest, attempt.digest)) throw used('consumed')
    return { value: await work.again(consumed), replayed: true }
  }

  /** The guard that stands; undefined if it is ours now. */
  async #claim(attempt: Attempt): Promise<Buffer | undefined | 'lost'> {
    try {
      return await this.#store.claimGuard(
        attempt.challenge,
        this.#print(attempt, guardState.running),
        this.#ttl(attempt),
      )
    } catch (cause) {
      this.#onStoreLost(cause) // The commit decides without it (PROTOCOL section 4).
      return 'lost'
    }
  }

  #put(attempt: Attempt, state: 1 | 2 | 3): void {
    this.#store.putGuard(attempt.challenge, this.#print(attempt, state), this.#ttl(attempt))
  }

  #print(attempt: Attempt, state: 1 | 2 | 3): Buffer {
    const leaseEndMs = this.#clock.now() + limits.leaseMs
    return printGuard({ state, leaseEndMs, digest: attempt.digest })
  }

  #ttl(attempt: Attempt): number {
    return Math.max(1, attempt.guardUntilMs - this.#clock.now())
  }
}

const used = (reason: string) => new GatewayError('challenge_used', reason)
