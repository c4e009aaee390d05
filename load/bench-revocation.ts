// `npm run bench:revocation`: how soon a revocation bites on two gateways, on connections that are kept and on resumed
// ones, with cached answers. What is measured is the last good answer after the change was committed.
import { createPrivateKey, randomBytes, X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import { parseArgs } from 'node:util'
import { makeTlsLeaf } from '../certs/tls-issuer.ts'
import { present } from '../src/base/assert.ts'
import { parseBase64url, sha256 } from '../src/base/bytes.ts'
import { dayMs, systemClock } from '../src/base/clock.ts'
import { commitParcel } from '../src/channel/sealing.ts'
import { registerDemoDevice } from '../src/development.ts'
import { type GatewayProcess, startGateway } from '../src/gateway-process.ts'
import { reinstateCarrier, suspendCarrier } from '../src/registry/carriers.ts'
import { recordCertificate, revokeCertificate } from '../src/registry/certificates.ts'
import { revokeDevice } from '../src/registry/devices.ts'
import { openRegistry, type RegistryDb } from '../src/registry/schema.ts'
import type { Device } from '../src/sdk/device.ts'
import type { DeckCard } from '../src/simulator/deck.ts'
import { dealCards, openHandheld } from './handhelds.ts'
import { startRedis } from './redis.ts'
import { rates } from './stage.ts'

const help = `npm run bench:revocation: revocations under load, on two gateways that share a Redis

  npm run bench:revocation                          300 events with Redis, 300 with Redis stopped
  npm run bench:revocation -- --events 60

Of six events four revoke a device, one a certificate, one suspends a carrier. Each is asked for on both gateways,
over a connection that is kept and over new ones that resume a TLS session, until 1.2 s after its commit; devices read
one card, whose answer is cached while there is a Redis. The last
line is one JSON object: {"p50Ms", "p99Ms", "maxMs", "leaked"}; leaked counts good answers to requests that began
more than 1 s after the commit. Exit code 1 above 1,000 ms or if anything leaked.`

const { values } = parseArgs({
  options: { help: { type: 'boolean' }, events: { type: 'string', default: '300' } },
})
if (values.help) {
  console.log(help)
  process.exit(0)
}
const mustBiteMs = 1000
const watchedMs = 1200
const askEveryMs = 50
const devicesPerWave = 4
const eventsPerWave = devicesPerWave + 2
const operator = 'founder'

type Way = 'kept' | 'resumed'
type Ask = () => Promise<boolean>
/** When each good answer was asked for and came, ms of performance.now(). */
type Good = { askedAt: number; cameAt: number }[]
type Tls = { ca: Buffer; cert?: Buffer | string; key?: Buffer | string }

const root = mkdtempSync(join(tmpdir(), 'vouchsafe-revocation-'))
const certsDir = join(root, 'certs')
const dataDir = join(root, 'data')
const file = (name: string) => readFileSync(join(certsDir, name))
let connections = 0
let resumed = 0
let defects = 0

/** One request; whether it was answered 200. A connection that is cut is no answer. */
function call(
  url: string,
  agent: Agent,
  given: { method: string; headers?: object; body?: string },
): Promise<boolean> {
  return new Promise((resolve) => {
    const headers = { ...given.headers }
    const sent = request(url, { method: given.method, headers, agent }, (response) => {
      response.resume()
      response.on('end', () => {
        if (response.statusCode !== 200 && response.statusCode !== 403) defects++
        resolve(response.statusCode === 200)
      })
      response.on('error', () => resolve(false))
    })
    sent.on('socket', (socket) => {
      if (!socket.connecting) return
      socket.once('secureConnect', () => {
        connections++
        if ((socket as TLSSocket).isSessionReused()) resumed++
      })
    })
    sent.on('error', () => resolve(false))
    sent.end(given.body)
  })
}

/** `kept`: one connection for all; `resumed`: a new one for each, with the session of the one before. */
function agentFor(way: Way, tls: Tls): Agent {
  return new Agent({ ...tls, keepAlive: way === 'kept', maxSockets: 1, maxCachedSessions: 10 })
}

async function watch(ask: Ask, until: () => number): Promise<Good> {
  const good: Good = []
  while (performance.now() < until()) {
    const askedAt = performance.now()
    if (await ask()) good.push({ askedAt, cameAt: performance.now() })
    await sleep(askEveryMs)
  }
  return good
}

/** A verification of a card whose answer is cached; new bytes each time. */
function askDevice(url: string, device: Device, card: DeckCard, way: Way): Ask {
  const agent = agentFor(way, { ca: file('gateway-ca.crt') })
  return async () => {
    const parcel = commitParcel('swift-crane', randomBytes(6).toString('hex'), randomBytes(16))
    const prepared = await device.prepare(parcel, (context) => card.readChip(context)).catch(() => undefined)
    if (!prepared) return false // No more challenges for it.
    const headers = { authorization: `Bearer ${device.token}`, 'content-type': 'application/json' }
    return call(`${url}/v1/verify`, agent, { method: 'POST', headers, body: JSON.stringify(prepared.body) })
  }
}

function askCarrier(url: string, tls: Tls, way: Way): Ask {
  const agent = agentFor(way, tls)
  return () => call(`${url}/v1/carrier`, agent, { method: 'GET' })
}

type Event = { asks: Ask[]; change(): Promise<unknown>; closers: (() => Promise<void>)[] }

async function deviceEvent(db: RegistryDb, gateways: GatewayProcess[], card: DeckCard): Promise<Event> {
  const registered = await registerDemoDevice(db, {
    carrier: 'swift-crane',
    outlet: 'harbour',
    clock: systemClock,
  })
  await sleep(600) // Until both gateways have read of it.
  const asks: Ask[] = []
  const closers: (() => Promise<void>)[] = []
  for (const gateway of gateways) {
    const place = { url: gateway.device, certsDir, clock: systemClock }
    const device = await openHandheld(place, registered)
    closers.push(() => device.close())
    for (const way of ['kept', 'resumed'] as const) asks.push(askDevice(gateway.device, device, card, way))
  }
  const id = present(parseBase64url(registered.id), 'a device id')
  return { asks, closers, change: () => revokeDevice(db, { id, operator, nowMs: systemClock.now() }) }
}

const everyWay = (gateways: GatewayProcess[], tls: Tls) =>
  gateways.flatMap(({ carrier }) => [askCarrier(carrier, tls, 'kept'), askCarrier(carrier, tls, 'resumed')])

async function certificateEvent(db: RegistryDb, gateways: GatewayProcess[]): Promise<Event> {
  const nowMs = systemClock.now()
  const issuer = {
    certificateDer: new X509Certificate(file('carrier-ca.crt')).raw,
    privateKey: createPrivateKey(file('carrier-ca.key')),
  }
  const leaf = await makeTlsLeaf(issuer, {
    ...{ commonName: 'swift-crane', use: 'client', names: { uri: ['urn:vouchsafe:carrier:swift-crane'] } },
    ...{ notBeforeMs: nowMs - 60_000, notAfterMs: nowMs + dayMs },
  })
  const certificate = new X509Certificate(leaf.certificateDer)
  const serial = certificate.serialNumber
  const key = leaf.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string
  const keyHash = sha256(certificate.publicKey.export({ format: 'der', type: 'spki' }))
  const kept = { serial, carrier: 'swift-crane', keyHash, notAfterMs: nowMs + dayMs }
  await recordCertificate(db, { ...kept, operator, nowMs })
  const tls = { ca: file('gateway-ca.crt'), cert: certificate.toString(), key }
  const change = () => revokeCertificate(db, { serial, reason: 'bench', operator, nowMs: systemClock.now() })
  return { asks: everyWay(gateways, tls), closers: [], change }
}

function carrierEvent(db: RegistryDb, gateways: GatewayProcess[]): Event {
  const tls = {
    ca: file('gateway-ca.crt'),
    cert: file('carrier-river-post.crt'),
    key: file('carrier-river-post.key'),
  }
  const act = (nowMs = systemClock.now()) => ({ id: 'river-post', operator, nowMs, reason: 'bench' })
  return {
    asks: everyWay(gateways, tls),
    change: () => suspendCarrier(db, act()),
    closers: [async () => void (await reinstateCarrier(db, act()))],
  }
}

type Seen = { lastMs: number; leaked: number }

/** Asks for a while, makes the change, and goes on asking; what came after the commit. */
async function observe({ asks, change, closers }: Event): Promise<Seen> {
  let end = Number.POSITIVE_INFINITY
  const watching = asks.map((ask) => watch(ask, () => end))
  await sleep(500)
  await change()
  const changedAt = performance.now()
  end = changedAt + watchedMs
  const all = await Promise.all(watching)
  for (const close of closers) await close()
  const late = all.map((good) => Math.max(0, ...good.map(({ cameAt }) => cameAt - changedAt)))
  // Each was let in before; else nothing was shown.
  for (const good of all) if (!good.some(({ cameAt }) => cameAt < changedAt)) defects++
  const leaked = all.flat().filter(({ askedAt }) => askedAt > changedAt + mustBiteMs).length
  return { lastMs: Math.max(...late), leaked }
}

async function runPass(db: RegistryDb, gateways: GatewayProcess[], name: string): Promise<Seen[]> {
  const place = { url: '', certsDir, clock: systemClock }
  const card = present(
    dealCards(place, 1).find(({ answer }) => answer === 'yes'),
    'a good card',
  )
  const seen: Seen[] = []
  const waves = Math.ceil(Number(values.events) / eventsPerWave)
  for (let wave = 1; wave <= waves; wave++) {
    const making = Array.from({ length: devicesPerWave }, () => deviceEvent(db, gateways, card))
    const events = [
      ...(await Promise.all(making)),
      await certificateEvent(db, gateways),
      carrierEvent(db, gateways),
    ]
    await sleep(700) // The certificate is known, and the carrier of the wave before is active again.
    seen.push(...(await Promise.all(events.map(observe))))
    const worst = Math.round(Math.max(...seen.map(({ lastMs }) => lastMs)))
    console.log(`${name}: ${seen.length} of ${waves * eventsPerWave} events, latest ${worst} ms`)
  }
  return seen
}

function summarize(seen: readonly Seen[]) {
  const sorted = seen.map(({ lastMs }) => lastMs).sort((a, b) => a - b)
  const at = (share: number) =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0)
  const leaked = seen.reduce((sum, one) => sum + one.leaked, 0)
  return { p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1), leaked }
}

const redis = await startRedis()
const env = { ...rates, REDIS_URL: redis.url, CARRIER_API_RATE: '100000' }
const first = await startGateway({ dataDir, certsDir, env })
const second = await startGateway({ dataDir, certsDir, env: { ...env, BUREAU_URL: first.bureau } })
const db = await openRegistry(join(dataDir, 'registry.db'))
const gateways = [first, second]
const withRedis = await runPass(db, gateways, 'with Redis')
await redis.stop()
const without = await runPass(db, gateways, 'Redis stopped')
await db.destroy()
for (const gateway of gateways.reverse()) await gateway.close()
rmSync(root, { recursive: true, force: true })
console.log(`with Redis     ${JSON.stringify(summarize(withRedis))}`)
console.log(`Redis stopped  ${JSON.stringify(summarize(without))}`)
console.log(`${connections} connections, ${resumed} of them resumed, ${defects} defects of the run`)
const all = summarize([...withRedis, ...without])
console.log(JSON.stringify(all))
process.exit(all.maxMs <= mustBiteMs && all.leaked === 0 && defects === 0 && resumed > 0 ? 0 : 1)
