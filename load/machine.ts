// The machine that figures were taken on, and what of it decides them most.
import { generateKeyPairSync } from 'node:crypto'
import { cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { checkP256, signP256 } from '../src/base/p256.ts'

export const machine = () => ({
  node: process.version,
  cores: cpus().length,
  model: cpus()[0]?.model ?? '',
})

const checks = 200
const idleMs = 10

/**
 * Microseconds of one check of an ES256 signature: in a loop of nothing else, and in bursts of so many after 10 ms of
 * idleness. Nothing of ours runs meanwhile: what a burst takes more is what the machine makes of caches that others use.
 */
export async function measureBursts(
  bursts: readonly number[],
): Promise<{ loop: number } & Record<number, number>> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const message = Buffer.alloc(300)
  const signature = signP256(privateKey, message)
  const take = (count: number) => {
    const began = performance.now()
    for (let i = 0; i < count; i++) checkP256(publicKey, message, signature)
    return performance.now() - began
  }
  take(10 * checks) // Warm.
  const found: { loop: number } & Record<number, number> = {
    loop: (take(10 * checks) * 1000) / (10 * checks),
  }
  for (const burst of bursts) {
    let tookMs = 0
    for (let i = 0; i < checks; i++) {
      await sleep(idleMs)
      tookMs += take(burst)
    }
    found[burst] = (tookMs * 1000) / (checks * burst)
  }
  return found
}
