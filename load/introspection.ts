// Introspection beside a constant answer to the same request on the same listener, in one run.
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import autocannon from 'autocannon'
import { SignJWT } from 'jose'
import { printBase64url, sha256 } from '../src/base/bytes.ts'
import { systemClock } from '../src/base/clock.ts'
import { readConfig } from '../src/base/config.ts'
import { printP256Spki } from '../src/base/p256.ts'
import { answerClaims } from '../src/token/claims.ts'
import { startConstant } from './constant.ts'
import { cpuMicros } from './cpu.ts'

export type Rate = { perSecond: number; cpuMicros: number }
export type Round = { constant: Rate; unique: Rate; repeated: Rate }

/** Tokens as the gateway signs them, without a verification for each. */
export function tokenSigner(certsDir: string): () => Promise<string> {
  const key = createPrivateKey(readFileSync(join(certsDir, 'token.key')))
  const kid = printBase64url(sha256(printP256Spki(createPublicKey(key))).subarray(0, 8))
  const iss = readConfig({}).VOUCHSAFE_ORIGIN
  return () => {
    const random = (bytes: number) => randomBytes(bytes)
    const claims = answerClaims({
      ...{ answer: 'yes', carrier: 'swift-crane', index: 1, timeMs: systemClock.now() },
      ...{ device: random(16), parcel: random(32), jti: random(16), leaf: random(32) },
    })
    const header = { alg: 'ES256', typ: 'answer+jwt', kid }
    return new SignJWT({ iss, ...claims }).setProtectedHeader(header).sign(key)
  }
}

const connections = 16

/**
 * @param options.requests of each kind in a round; `flags` of the engine, beside the usual ones
 * @returns the rounds but the first, which warms up, and how many answers were wrong
 */
export async function measureIntrospection(options: {
  rounds: number
  requests: number
  flags?: readonly string[]
  onRound?: (round: Round, n: number) => void
}): Promise<{ rounds: Round[]; wrong: number }> {
  const gateway = await startConstant(options.flags)
  const file = (name: string) => readFileSync(join(gateway.certsDir, name))
  const tls = {
    ca: file('gateway-ca.crt'),
    cert: file('carrier-swift-crane.crt'),
    key: file('carrier-swift-crane.key'),
  }
  const perConnection = Math.ceil(options.requests / connections)
  const total = perConnection * connections
  let wrong = 0

  /** Each connection sends a share of its own. */
  async function measure(path: string, tokens: readonly string[]): Promise<Rate> {
    const left = [...tokens]
    let answered = 0
    // From where each connection has had an answer, so that no handshake is in it, to the last.
    const settled = { answered: 0, ms: 0, cpu: 0 }
    let without = connections
    let lastMs = 0
    await autocannon({
      url: gateway.carrier,
      connections,
      amount: total,
      tlsOptions: tls,
      setupClient(client) {
        const headers = { 'content-type': 'application/x-www-form-urlencoded' }
        const share = left.splice(0, perConnection)
        client.setRequests(share.map((token) => ({ method: 'POST', path, headers, body: `token=${token}` })))
        client.once('body', () => {
          if (--without > 0) return
          Object.assign(settled, { answered, ms: performance.now(), cpu: cpuMicros(gateway.pid) })
        })
        client.on('body', (body: Buffer) => {
          answered++
          lastMs = performance.now()
          if (!body.toString().includes('"active":true')) wrong++
        })
      },
    })
    wrong += total - answered
    const counted = answered - settled.answered
    return {
      perSecond: counted / ((lastMs - settled.ms) / 1000),
      cpuMicros: (cpuMicros(gateway.pid) - settled.cpu) / counted,
    }
  }

  const signToken = tokenSigner(gateway.certsDir)
  const standing = await signToken()
  const same = Array.from({ length: total }, () => standing)
  const rounds: Round[] = []
  for (let n = 0; n <= options.rounds; n++) {
    const fresh = await Promise.all(Array.from({ length: total }, signToken))
    const unique = await measure('/v1/introspect', fresh)
    const constant = await measure('/constant', same)
    const repeated = await measure('/v1/introspect', same)
    if (n === 0) continue // Warm.
    rounds.push({ constant, unique, repeated })
    options.onRound?.({ constant, unique, repeated }, n)
  }
  await gateway.close()
  return { rounds, wrong }
}

export const median = (all: readonly number[]) =>
  all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)] ?? 0

/** Medians of the rounds' ratios: requests a second, and CPU of the gateway for each. */
export function ratiosOf(rounds: readonly Round[], kind: 'unique' | 'repeated') {
  return {
    perSecond: median(rounds.map((round) => round[kind].perSecond / round.constant.perSecond)),
    cpu: median(rounds.map((round) => round.constant.cpuMicros / round[kind].cpuMicros)),
  }
}
