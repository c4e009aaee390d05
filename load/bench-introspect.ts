// `npm run bench:introspect`: introspection against a constant answer of the same listener, in one run.
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import autocannon from 'autocannon'
import { SignJWT } from 'jose'
import { printBase64url, sha256 } from '../src/base/bytes.ts'
import { systemClock } from '../src/base/clock.ts'
import { readConfig } from '../src/base/config.ts'
import { printP256Spki } from '../src/base/p256.ts'
import { answerClaims } from '../src/token/claims.ts'
import { openStage } from './stage.ts'

const help = `npm run bench:introspect: introspection of tokens over mTLS, against a gateway of its own

  npm run bench:introspect                      five rounds of 6,000 requests of each kind
  npm run bench:introspect -- --rounds 9

Each round asks for a constant answer (GET /v1/carrier), for tokens that are each asked for once, and for one token
again and again, in turn. The last line is one JSON object: {"constantPerSecond", "uniqueRatio", "repeatedRatio",
"wrong"}; the ratios are medians of the rounds. Exit code 1 below 0.60 or 0.85, or if an answer is wrong.`

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    rounds: { type: 'string', default: '5' },
    requests: { type: 'string', default: '6000' },
  },
})
if (values.help) {
  console.log(help)
  process.exit(0)
}
const connections = 16
const perConnection = Math.ceil(Number(values.requests) / connections)
const uniqueRatioMin = 0.6
const repeatedRatioMin = 0.85

const stage = await openStage({ devices: 1, hands: 1 })
const file = (name: string) => readFileSync(join(stage.certsDir, name))
const tls = {
  ca: file('gateway-ca.crt'),
  cert: file('carrier-swift-crane.crt'),
  key: file('carrier-swift-crane.key'),
}
const key = createPrivateKey(file('token.key'))
const kid = printBase64url(sha256(printP256Spki(createPublicKey(key))).subarray(0, 8))
const issuer = readConfig({}).VOUCHSAFE_ORIGIN

/** Tokens as the gateway signs them, without a verification for each. */
function signToken(): Promise<string> {
  const random = (bytes: number) => randomBytes(bytes)
  const claims = answerClaims({
    ...{ answer: 'yes', carrier: 'swift-crane', index: 1, timeMs: systemClock.now() },
    ...{ device: random(16), parcel: random(32), jti: random(16), leaf: random(32) },
  })
  const header = { alg: 'ES256', typ: 'answer+jwt', kid }
  return new SignJWT({ iss: issuer, ...claims }).setProtectedHeader(header).sign(key)
}

type Request = { method: 'GET' | 'POST'; path: string; headers?: Record<string, string>; body?: string }

const introspect = (token: string): Request => ({
  method: 'POST',
  path: '/v1/introspect',
  headers: { 'content-type': 'application/x-www-form-urlencoded' },
  body: `token=${token}`,
})

let wrong = 0

/** Requests a second; each connection sends a share of its own. */
async function perSecond(requests: readonly Request[], expected: string): Promise<number> {
  const left = [...requests]
  let answered = 0
  // From the first answer to the last: autocannon's own duration is of whole seconds, and has its preparations in it.
  let firstMs = 0
  let lastMs = 0
  await autocannon({
    url: stage.gateway.carrier,
    connections,
    amount: requests.length,
    tlsOptions: tls,
    setupClient(client) {
      client.setRequests(left.splice(0, perConnection))
      client.on('body', (body: Buffer) => {
        answered++
        lastMs = performance.now()
        firstMs ||= lastMs
        if (!body.toString().includes(expected)) wrong++
      })
    },
  })
  wrong += requests.length - answered
  return answered / ((lastMs - firstMs) / 1000)
}

const total = perConnection * connections
const of = <T>(make: (i: number) => T) => Array.from({ length: total }, (_, i) => make(i))
const median = (all: readonly number[]) => all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)] ?? 0
const constants = of(() => ({ method: 'GET' as const, path: '/v1/carrier' }))
const standing = await signToken()
const rates = { constant: [] as number[], unique: [] as number[], repeated: [] as number[] }
for (let round = -1; round < Number(values.rounds); round++) {
  const fresh = await Promise.all(of(signToken))
  const unique = await perSecond(fresh.map(introspect), '"active":true')
  const constant = await perSecond(constants, '"status":"active"')
  const repeated = await perSecond(
    of(() => introspect(standing)),
    '"active":true',
  )
  if (round < 0) continue // Warm.
  rates.unique.push(unique / constant)
  rates.constant.push(constant)
  rates.repeated.push(repeated / constant)
  const [c, u, r] = [constant, unique, repeated].map(Math.round)
  console.log(`round ${round + 1}: constant ${c}/s, unique tokens ${u}/s, one token ${r}/s`)
}
await stage.close()
const rounded = (value: number) => Math.round(value * 100) / 100
const uniqueRatio = rounded(median(rates.unique))
const repeatedRatio = rounded(median(rates.repeated))
const constantPerSecond = Math.round(median(rates.constant))
console.log(JSON.stringify({ constantPerSecond, uniqueRatio, repeatedRatio, wrong }))
process.exit(wrong === 0 && uniqueRatio >= uniqueRatioMin && repeatedRatio >= repeatedRatioMin ? 0 : 1)
