// Decorates `verifier`: the subjects joined into one service for the routes. Wiring only; what is opened
// here is nothing, so there is nothing to close (the gateway owns its resources: src/gateway.ts).
import type { KeyObject } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import fp from 'fastify-plugin'
import { networkOf } from '../src/base/address.ts'
import { createBuckets } from '../src/base/buckets.ts'
import { printBase64url } from '../src/base/bytes.ts'
import { type Clock, dayMs, epochOf } from '../src/base/clock.ts'
import type { Config } from '../src/base/config.ts'
import { limits } from '../src/base/limits.ts'
import type { Question } from '../src/bureau/protocol.ts'
import { createAnswerCache, type FeedView } from '../src/cache/answers.ts'
import { createQuestions } from '../src/cache/questions.ts'
import type { ChipVerifier } from '../src/card/verdict.ts'
import { epochFromByte, issueChallenges, type Purpose, purpose } from '../src/channel/challenge.ts'
import type { Keyring } from '../src/keys/keyring.ts'
import type { Store } from '../src/store/store.ts'
import type { DeviceSession } from '../src/token/claims.ts'
import { assertAdmitted } from '../src/verify/admission.ts'
import { createLogin, type LoginServices } from '../src/verify/login.ts'
import { createVerifier } from '../src/verify/pipeline.ts'
import type { Quotas } from '../src/verify/quota.ts'
import type { Alert, BureauVerdict, LedgerView, MisuseReason, RegistryView } from '../src/verify/services.ts'
import { findRecipient } from './directory.ts'
import type { Metrics } from './metrics.ts'
import type { TokenHolders } from './token-holders.ts'

export type VerifierParts = {
  config: Config
  clock: Clock
  keyring: Keyring
  registry: RegistryView
  store: Store
  ledger: LedgerView
  bureau: { ask(question: Question): Promise<BureauVerdict>; delayP999Ms(): number }
  sam: { delayP999Ms(): number }
  feed: FeedView
  tokens: TokenHolders
  verifiers: ReadonlyMap<number, ChipVerifier>
  metrics: Metrics
  quotas: Pick<Quotas, 'assertWithin'>
  /** How many nodes live, this one included. */
  nodes: () => number
  log: Log
  /** Suspends a device for its misuse, with an entry. Rejects if it cannot; it is tried again then. */
  suspendDevice(device: Buffer, reason: MisuseReason): Promise<void>
}

type LogLine = (fields: Record<string, unknown>, message: string) => void
type Log = { warn: LogLine; error: LogLine }

declare module 'fastify' {
  interface FastifyInstance {
    verifier: Verifier
  }
}

export type Verifier = ReturnType<typeof createVerifierService>

export function createVerifierService(parts: VerifierParts) {
  const services = joinServices(parts)
  const { clock, tokens } = parts

  async function challenge(given: { use: Purpose; device: Buffer; count: number }) {
    const key = await services.currentChallengeKey()
    const { challenge, ttlS } = issueChallenges(key, { ...given, nowMs: clock.now() })
    return { challenge: printBase64url(challenge), count: given.count, expiresIn: ttlS }
  }

  return {
    verify: createVerifier(services),
    logIn: createLogin(services),
    challenge,
    takeAddress: services.takeAddress,
    /** Challenges for readings: rows 3 and 4 come first. */
    async challengeReadings(session: DeviceSession, count: number) {
      await assertAdmitted(services, session)
      services.takeRate(session)
      return challenge({ use: purpose.reading, device: session.device, count })
    },
    jwks: tokens.jwks,
  }
}

function joinServices(parts: VerifierParts): LoginServices {
  const { clock, config, keyring, metrics, tokens } = parts
  return {
    clock,
    sleep: (ms) => sleep(ms),
    minFirmware: config.MIN_FIRMWARE,
    registry: parts.registry,
    async assertQuota(carrier) {
      const standing = await parts.registry.carrier(carrier)
      parts.quotas.assertWithin(carrier, standing?.quota ?? null)
    },
    takeRate: createRates(parts),
    takeAddress: createAddressRate(parts),
    async challengeKey(byte) {
      const epoch = epochFromByte(byte, keyring.epochNow('challenge'))
      return epoch === undefined ? undefined : keyring.find('challenge', epoch)
    },
    currentChallengeKey: async () => (await keyring.current('challenge')).key,
    wrapKey: (expS) => keyring.find('session-wrap', epochOf((expS - limits.sessionLifeS) * 1000, dayMs)),
    recipientKey: (id): KeyObject | undefined => findRecipient(keyring, id, clock.now()),
    verifiers: parts.verifiers,
    store: parts.store,
    ...createAnswers(parts),
    // Whoever refuses, the SAM service was asked before the bureau.
    bureauDelayP999Ms: () => parts.bureau.delayP999Ms() + parts.sam.delayP999Ms(),
    ledger: parts.ledger,
    signAnswer: (claims) => tokens.signAnswer(claims),
    signDevice: (claims) => tokens.signDevice(claims),
    onStoreLost: () => metrics.storeFailures.inc(),
    ...createMisuseParts(parts),
  }
}

type MisuseParts = 'counters' | 'cacheKey' | 'misuseLimits' | 'canaries' | 'suspendDevice' | 'alert'

function createMisuseParts(parts: VerifierParts): Pick<LoginServices, MisuseParts> {
  const { config, keyring, store, log, metrics } = parts
  return {
    counters: store,
    cacheKey: (day) => keyring.get('cache', day),
    misuseLimits: { refusals: config.DEVICE_REFUSALS, people: config.DEVICE_PEOPLE_PER_DAY },
    canaries: new Set(config.CANARIES),
    async suspendDevice(device, reason) {
      try {
        await parts.suspendDevice(device, reason)
      } catch (err) {
        log.error({ err, device: printBase64url(device) }, 'device not suspended')
        throw err
      }
    },
    alert(alert) {
      metrics.alerts.inc({ kind: alert.kind })
      tell(log, alert)
    },
  }
}

/** A canary is never a courier's doing: an issuer's key is in other hands, or this gateway is. */
function tell(log: Log, { kind, device, ...found }: Alert): void {
  const fields = { alert: kind, device: printBase64url(device), ...found }
  if (kind === 'canary') log.error(fields, 'canary seen: a card issuer or a gateway is compromised')
  else log.warn(fields, 'device misused')
}

/** Row 4: one bucket for each device, outlet and carrier; the nodes that live share each limit evenly. */
function createRates({ config, clock, nodes }: VerifierParts): (session: DeviceSession) => void {
  const share = () => 1 / nodes()
  const bucketsOf = (policy: string, quota: number) =>
    createBuckets({ policy, quota, share, clock, namesMax: limits.bucketsMax })
  const ofDevice = bucketsOf('device', config.DEVICE_RATE)
  const ofOutlet = bucketsOf('outlet', config.OUTLET_RATE)
  const ofCarrier = bucketsOf('carrier', config.CARRIER_RATE)
  return ({ device, carrier, outlet }) => {
    ofDevice.mustTake(device.toString('latin1'))
    ofOutlet.mustTake(`${carrier}/${outlet}`)
    ofCarrier.mustTake(carrier)
  }
}

/** For those who have no session yet; by the minute. */
function createAddressRate({ config, clock, nodes }: VerifierParts): (address: string) => void {
  const share = () => 1 / nodes()
  const limit = { policy: 'address', quota: config.ADDRESS_RATE, windowS: 60 }
  const ofAddress = createBuckets({ ...limit, share, clock, namesMax: limits.bucketsMax })
  return (address) => ofAddress.mustTake(networkOf(address))
}

/** The cache, and the bureau behind it. */
function createAnswers(parts: VerifierParts): Pick<LoginServices, 'answers' | 'ask'> {
  const { store, keyring, feed, clock, bureau } = parts
  const secretOf = (day: number) => keyring.get('cache', day)
  const cache = createAnswerCache({ store, secretOf, feed, clock })
  return createQuestions({ cache, feed, ask: (question) => bureau.ask(question) })
}

export default fp<{ parts: VerifierParts }>(
  async (app, { parts }) => {
    app.decorate('verifier', createVerifierService(parts))
  },
  { name: 'verifier', dependencies: ['errors'] },
)
