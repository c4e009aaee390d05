// Measures the gateway and its peers in one run: rounds, in each of which everything is asked in turn.

import { findDifferences } from './agreement.ts'
import { drive, type Rate, type Request, type Target } from './drive.ts'
import { type Figures, figuresOf, printTable, type Rates, type Subject } from './figures.ts'
import { ensureInstalled } from './install.ts'
import { type Peer, startPeer } from './processes.ts'
import { openPeerStage, type PeerStage } from './stage.ts'
import {
  carrierTls,
  challengeRequests,
  introspections,
  openReader,
  openTokenService,
  sessionRequests,
  type TokenService,
} from './tokens.ts'
import { sealColdCards, sealKnownCards } from './verifications.ts'

export type PeerOptions = {
  rounds?: number
  connections?: number
  /** Requests of each kind in a round: P-256 cards, SM2 cards, and everything that costs less than a card. */
  p256?: number
  sm2?: number
  light?: number
  /** Requests to warm up with, for new cards and for cards that return in turn. */
  warm?: number
  /** Told what is being done. */
  progress?(line: string): void
}

export type PeerReport = { figures: Figures; table: string[]; differences: string[] }

export const defaults = { rounds: 3, connections: 64, p256: 1280, sm2: 576, light: 2880, warm: 6144 }
/** In the twin an SM2 card takes some fifty times as long as a P-256 one here: it gets the first of them only. */
const twinSm2Share = 0.125
/** What is kept in a Map varies less: it gets fewer requests. */
const inMemoryShare = 1 / 3
/** Engines compile what runs often: the first round is not counted either. */
const warmRounds = 1

/** Made once: what is asked, and whom. */
type Field = { stage: PeerStage; constants: Map<Subject, Target>; oidc: TokenService; inMemory: TokenService }

/**
 * About two minutes at the defaults, most of it SM2 in the twin. Installs the peers' packages on first use.
 * @throws Error that says what to do if something cannot be started
 */
export async function measurePeers(options: PeerOptions = {}): Promise<PeerReport> {
  const plan = { ...defaults, progress: () => {}, ...options }
  ensureInstalled(plan.progress)
  plan.progress('Starting a gateway, a Redis and the peers ...')
  const stage = await openPeerStage()
  const closers: (() => Promise<unknown>)[] = [() => stage.close()]
  try {
    plan.progress('The deck, in both suites, to the gateway and to the twin ...')
    const differences = await findDifferences(stage)
    const peers = await startConstants(stage)
    closers.push(...[...peers.values()].map((peer) => () => peer.close()))
    const constants = new Map([...peers].map(([subject, { url, pid }]) => [subject, { url, pid }]))
    const oidc = await openTokenService(stage)
    closers.push(() => oidc.close())
    const inMemory = await openTokenService(stage, { inMemory: true })
    closers.push(() => inMemory.close())
    plan.progress('Warming up ...')
    await warmUp(stage, plan)
    const rates: Rates = {}
    for (let round = 1 - warmRounds; round <= plan.rounds; round++) {
      plan.progress(round < 1 ? 'A round that does not count ...' : `Round ${round} of ${plan.rounds} ...`)
      const seen = await measureRound({ stage, constants, oidc, inMemory }, plan, round)
      for (const [subject, rate] of seen) {
        const { wrong, unanswered, fault } = rate
        if (fault) plan.progress(`${subject}: ${wrong} wrong, ${unanswered} unanswered, the first: ${fault}`)
        if (wrong > 0 && round < 1) differences.push(`${subject}: ${wrong} wrong while warming up`)
        if (round > 0) rates[subject] = [...(rates[subject] ?? []), rate]
      }
    }
    return { figures: figuresOf(rates), table: printTable(rates), differences }
  } finally {
    for (const close of closers.toReversed()) await close()
  }
}

/** Each answers what the gateway answers, of the same size. */
async function startConstants(stage: PeerStage): Promise<Map<Subject, Peer>> {
  const answer = JSON.stringify({ answer: 'yes', token: 'x'.repeat(await tokenChars(stage)) })
  const told = { certsDir: stage.certsDir, answer }
  return new Map([
    ['constantHttps', await startPeer('constant-https', told)],
    ['constantFastify', await startPeer('constant-fastify', told)],
    ['constantExpress', await startPeer('constant-express', told)],
  ])
}

async function tokenChars(stage: PeerStage): Promise<number> {
  const [request] = await sealColdCards(stage, 'P-256', 1)
  const reply = await stage.devices[0]?.post('/v1/verify', JSON.parse(request?.body ?? ''))
  return String(reply?.body['token']).length
}

type Plan = Required<PeerOptions>

/** In parts, so that what is sealed does not wait until its challenges have ended. */
const warmPartMax = 2048

async function warmUp(stage: PeerStage, plan: Plan): Promise<void> {
  for (let left = plan.warm, part = 0; left >= plan.connections; left -= warmPartMax, part++) {
    const count = Math.min(left, warmPartMax)
    const requests = await (part % 2 === 0
      ? sealColdCards(stage, 'P-256', count)
      : sealKnownCards(stage, count))
    await drive({ url: stage.gateway.device, pid: stage.worker }, requests, plan.connections)
    await drive(stage.twin, requests, plan.connections)
  }
}

/** How a round asks: `inTurn` has another go first in the next round. */
type Asking = {
  run(subject: Subject, target: Target, requests: readonly Request[], connections?: number): Promise<void>
  inTurn(...runs: (() => Promise<void>)[]): Promise<void>
}

async function measureRound(field: Field, plan: Plan, round: number): Promise<Map<Subject, Rate>> {
  const seen = new Map<Subject, Rate>()
  const asking: Asking = {
    async run(subject, target, requests, connections = plan.connections) {
      seen.set(subject, await drive(target, requests, connections))
    },
    async inTurn(...runs) {
      for (const one of round % 2 === 0 ? runs : runs.toReversed()) await one()
    },
  }
  await measureCards(field, plan, asking)
  await measureAccess(field, plan, { ...asking, seen })
  return seen
}

async function measureCards({ stage, constants }: Field, plan: Plan, { run, inTurn }: Asking) {
  const ours = { url: stage.gateway.device, pid: stage.worker, redisPid: stage.redis.pid }
  const twin = { url: stage.twin.url, pid: stage.twin.pid, redisPid: stage.redis.pid }
  const p256 = await sealColdCards(stage, 'P-256', plan.p256)
  await inTurn(
    () => run('verifyP256', ours, p256),
    () => run('twinP256', twin, p256),
  )
  const light = Array.from({ length: plan.light }, (_, i) => p256[i % p256.length] as Request)
  for (const [subject, target] of constants) await run(subject, target, light)
  const fewer = Math.ceil(plan.connections / 4) // With more, an SM2 card would wait seconds in the twin.
  const sm2 = await sealColdCards(stage, 'SM2', plan.sm2)
  await inTurn(
    () => run('verifySm2', ours, sm2, fewer),
    () => run('twinSm2', twin, sm2.slice(0, Math.ceil(sm2.length * twinSm2Share)), fewer),
  )
}

/** Logins and introspections. */
async function measureAccess(
  { stage, oidc, inMemory }: Field,
  plan: Plan,
  { run, inTurn, seen }: Asking & { seen: Map<Subject, Rate> },
) {
  const inMemoryCount = Math.ceil(plan.light * inMemoryShare)
  const credentials = await oidc.credentials(plan.light)
  const credentialsInMemory = await inMemory.credentials(inMemoryCount)
  await inTurn(
    async () => {
      seen.set('session', await measureLogins(stage, plan))
    },
    () => run('credentials', oidc.target, credentials),
    () => run('credentialsInMemory', inMemory.target, credentialsInMemory),
  )
  const tokens = await introspections(stage, plan.light)
  const tls = carrierTls(stage)
  const carrier = { url: stage.gateway.carrier, pid: stage.worker, tls, redisPid: stage.redis.pid }
  const asked = await oidc.introspections(plan.light)
  const askedOverTls = oidc.introspectionsOverTls(plan.light)
  const askedInMemory = await inMemory.introspections(inMemoryCount)
  const askedInMemoryOverTls = inMemory.introspectionsOverTls(inMemoryCount)
  await inTurn(
    () => run('introspect', carrier, tokens),
    () => run('oidcIntrospect', oidc.target, asked),
    () => run('oidcIntrospectTls', oidc.target, askedOverTls),
    () => run('oidcIntrospectInMemory', inMemory.target, askedInMemory),
    () => run('oidcIntrospectTlsInMemory', inMemory.target, askedInMemoryOverTls),
  )
}

/** A login is two requests: the challenge, and the session that signs it. */
async function measureLogins(stage: PeerStage, plan: Plan): Promise<Rate> {
  const reader = await openReader(stage)
  const { device: url } = stage.gateway
  const target = { url, pid: stage.worker, redisPid: stage.redis.pid }
  const challenges: Buffer[] = []
  const asked = challengeRequests(reader, plan.light, (challenge) => challenges.push(challenge))
  const first = await drive(target, asked, plan.connections)
  const second = await drive(target, sessionRequests(reader, challenges), plan.connections)
  return {
    perSecond: 1 / (1 / first.perSecond + 1 / second.perSecond),
    cpuMicros: first.cpuMicros + second.cpuMicros,
    redisMicros: first.redisMicros + second.redisMicros,
    sent: first.sent + second.sent,
    wrong: first.wrong + second.wrong,
    unanswered: first.unanswered + second.unanswered,
    fault: first.fault ?? second.fault,
  }
}
