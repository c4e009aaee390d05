// `npm run bench:introspect`: introspection against a constant answer to the same request on the same listener, in
// one run.
import { spawn } from 'node:child_process'
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import autocannon from 'autocannon'
import { SignJWT } from 'jose'
import { printBase64url, sha256 } from '../src/base/bytes.ts'
import { systemClock } from '../src/base/clock.ts'
import { childEnvironment, readConfig } from '../src/base/config.ts'
import { printP256Spki } from '../src/base/p256.ts'
import { engineEnvironment, engineFlags } from '../src/gateway-process.ts'
import { answerClaims } from '../src/token/claims.ts'

const help = `npm run bench:introspect: introspection of tokens over mTLS, against a gateway of its own

  npm run bench:introspect                      five rounds of 8,000 requests of each kind
  npm run bench:introspect -- --rounds 9

Each round asks, with the same bytes but for the path, for a constant answer, for tokens that are each asked for once,
and for one token again and again, in turn. The last line is one JSON object: {"constantPerSecond", "uniqueRatio",
"repeatedRatio", "uniqueCpuRatio", "repeatedCpuRatio", "wrong"}. The ratios are medians of the rounds, of requests a
second and of the gateway's CPU time for each. Exit code 1 below 0.60 or 0.85, or if an answer is wrong.`

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    rounds: { type: 'string', default: '5' },
    requests: { type: 'string', default: '8000' },
    profile: { type: 'string' },
  },
})
if (values.help) {
  console.log(help)
  process.exit(0)
}
const connections = 16
const perConnection = Math.ceil(Number(values.requests) / connections)
const total = perConnection * connections
const uniqueRatioMin = 0.6
const repeatedRatioMin = 0.85
/** Of the kernel's accounting (getconf CLK_TCK). */
const ticksPerSecond = 100

const root = mkdtempSync(join(tmpdir(), 'vouchsafe-introspect-'))
const profile = values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}`]
const gateway = fileURLToPath(new URL('./introspect-gateway.ts', import.meta.url))
const child = spawn(process.execPath, [...engineFlags, ...profile, gateway, root], {
  stdio: ['pipe', 'pipe', 'inherit'],
  env: childEnvironment(engineEnvironment),
})
const [url] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
const file = (name: string) => readFileSync(join(root, 'certs', name))
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

/** CPU time of the gateway so far, s (proc(5)). */
function cpuSeconds(): number {
  const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
}

let wrong = 0

type Rate = { perSecond: number; cpuMicros: number }

/** Each connection sends a share of its own. */
async function measure(path: string, tokens: readonly string[]): Promise<Rate> {
  const left = [...tokens]
  let answered = 0
  // From the first answer to the last: autocannon's own duration is of whole seconds, and has its preparations in it.
  let firstMs = 0
  let lastMs = 0
  const cpuBefore = cpuSeconds()
  await autocannon({
    url,
    connections,
    amount: total,
    tlsOptions: tls,
    setupClient(client) {
      const headers = { 'content-type': 'application/x-www-form-urlencoded' }
      const share = left.splice(0, perConnection)
      client.setRequests(share.map((token) => ({ method: 'POST', path, headers, body: `token=${token}` })))
      client.on('body', (body: Buffer) => {
        answered++
        lastMs = performance.now()
        firstMs ||= lastMs
        if (!body.toString().includes('"active":true')) wrong++
      })
    },
  })
  wrong += total - answered
  return {
    perSecond: answered / ((lastMs - firstMs) / 1000),
    cpuMicros: ((cpuSeconds() - cpuBefore) / answered) * 1e6,
  }
}

const median = (all: readonly number[]) => all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)] ?? 0
const standing = await signToken()
const same = Array.from({ length: total }, () => standing)
const rounds: { constant: Rate; unique: Rate; repeated: Rate }[] = []
for (let round = 0; round <= Number(values.rounds); round++) {
  const fresh = await Promise.all(Array.from({ length: total }, signToken))
  const unique = await measure('/v1/introspect', fresh)
  const constant = await measure('/constant', same)
  const repeated = await measure('/v1/introspect', same)
  if (round === 0) continue // Warm.
  rounds.push({ constant, unique, repeated })
  const print = ({ perSecond, cpuMicros }: Rate) => `${Math.round(perSecond)}/s (${Math.round(cpuMicros)} µs)`
  console.log(
    `round ${round}: constant ${print(constant)}, unique ${print(unique)}, one token ${print(repeated)}`,
  )
}
child.stdin.end()
await once(child, 'exit')
rmSync(root, { recursive: true, force: true })
const rounded = (value: number) => Math.round(value * 100) / 100
const ratio = (kind: 'unique' | 'repeated') =>
  rounded(median(rounds.map((round) => round[kind].perSecond / round.constant.perSecond)))
const cpuRatio = (kind: 'unique' | 'repeated') =>
  rounded(median(rounds.map((round) => round.constant.cpuMicros / round[kind].cpuMicros)))
const result = {
  constantPerSecond: Math.round(median(rounds.map(({ constant }) => constant.perSecond))),
  ...{ uniqueRatio: ratio('unique'), repeatedRatio: ratio('repeated') },
  ...{ uniqueCpuRatio: cpuRatio('unique'), repeatedCpuRatio: cpuRatio('repeated'), wrong },
}
console.log(JSON.stringify(result))
const { uniqueRatio, repeatedRatio } = result
process.exit(wrong === 0 && uniqueRatio >= uniqueRatioMin && repeatedRatio >= repeatedRatioMin ? 0 : 1)
