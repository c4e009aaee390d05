// One node of class Once, with a store and a ledger that other nodes may have written to.
import { randomBytes } from 'node:crypto'
import { manualClock } from '../../src/base/clock.ts'
import { GatewayError } from '../../src/base/errors.ts'
import { limits } from '../../src/base/limits.ts'
import { type GuardState, parseGuard, printGuard } from '../../src/verify/guard.ts'
import { type Attempt, type Consumed, Once } from '../../src/verify/once.ts'

export const startMs = Date.UTC(2026, 10, 24, 12)

/** One node with a store and a ledger that other nodes may have written to. */
export function openNode() {
  const clock = manualClock(startMs)
  const challenge = randomBytes(42)
  const digest = randomBytes(32)
  const guards = new Map<string, Buffer>()
  const ledger = new Map<string, Consumed>()
  const calls: string[] = []
  const lost: unknown[] = []
  const ttls: number[] = []
  let isDown = false
  let ledgerIsDown = false
  const nameOf = (bytes: Buffer) => bytes.toString('hex')
  const attend = (call: string) => {
    calls.push(call)
    if (isDown) throw new Error('the store is down')
  }
  const once = new Once<string>({
    clock,
    store: {
      async claimGuard(of, value, ttlMs) {
        attend('claim')
        ttls.push(ttlMs)
        const standing = guards.get(nameOf(of))
        if (!standing) guards.set(nameOf(of), value)
        return standing
      },
      async readGuard(of) {
        attend('read')
        return guards.get(nameOf(of))
      },
      putGuard(of, value, ttlMs) {
        calls.push('put')
        ttls.push(ttlMs)
        if (!isDown) guards.set(nameOf(of), value)
      },
    },
    async find(of) {
      calls.push('find')
      if (ledgerIsDown) throw new GatewayError('ledger_unavailable', 'read_failed')
      return ledger.get(nameOf(of))
    },
    onStoreLost: (cause) => lost.push(cause),
  })
  const attempt = (changes: Partial<Attempt> = {}): Attempt => ({
    challenge,
    digest,
    guardUntilMs: startMs + 310_000,
    replayOnly: false,
    ...changes,
  })
  /** Work whose run begins, is counted and ends when the test says so. */
  const work = () => {
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    const seen = { prefetched: 0, ran: 0, again: 0 }
    return {
      ...{ seen, resolve, reject },
      prefetch: () => {
        calls.push('prefetch')
        return ++seen.prefetched
      },
      run: () => {
        seen.ran++
        return promise
      },
      again: async (consumed: Consumed) => {
        seen.again++
        return `again ${consumed.index}`
      },
    }
  }
  return {
    ...{ clock, once, attempt, work, calls, lost, ttls, guards },
    /** Work that comes to `value` at once, or fails with `code`. */
    done(value: string) {
      const made = work()
      made.resolve(value)
      return made
    },
    failing(error: unknown) {
      const made = work()
      made.reject(error)
      return made
    },
    /** Another node left this guard, `agoMs` ago. */
    leave(state: GuardState, agoMs = 0, by = digest) {
      const leaseEndMs = clock.now() - agoMs + limits.leaseMs
      guards.set(nameOf(challenge), printGuard({ state, leaseEndMs, digest: by }))
    },
    consume(by = digest) {
      const leaf = randomBytes(32)
      ledger.set(nameOf(challenge), { digest: by, index: 7, answer: 1, leaf, timeMs: startMs })
    },
    breakStore(down = true) {
      isDown = down
    },
    breakLedger() {
      ledgerIsDown = true
    },
    guard: () => parseGuard(guards.get(nameOf(challenge)) ?? Buffer.alloc(0)),
    bytes: () => guards.get(nameOf(challenge)),
  }
}

export const refused = (code: string, reason: string) => ({ name: 'GatewayError', code, reason })
export const unavailable = () => new GatewayError('bureau_unavailable', 'breaker_open')
/** Lets everything go on that need not wait. */
export const turn = () => new Promise((resolve) => setImmediate(resolve))
