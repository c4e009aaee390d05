// A session: one signature and one key agreement per shift (PROTOCOL section 5). The order of its checks
// stands in `createLogin`; what is signed and derived stands in channel/session.ts.
import type { KeyObject } from 'node:crypto'
import { printBase64url } from '../base/bytes.ts'
import { createCohort } from '../base/cohort.ts'
import { GatewayError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { checkP256 } from '../base/p256.ts'
import { issueChallenges, purpose } from '../channel/challenge.ts'
import { decapsulateSession } from '../channel/hpke.ts'
import {
  deriveSid,
  type SessionRequest,
  sessionDigest,
  signedSession,
  wrapSessionKey,
} from '../channel/session.ts'
import { type DeviceClaims, sessionTimes } from '../token/claims.ts'
import { assertAdmitted } from './admission.ts'
import { withinRequest } from './deadline.ts'
import { assertChallenge } from './freshness.ts'
import { type Consumed, Once, type Outcome } from './once.ts'
import type { DeviceStanding, Services } from './services.ts'

/** `arrivedAt`: monotonic ms at which the last body byte was read. */
export type LoginRequest = SessionRequest & { signature: Buffer; address: string; arrivedAt: number }

export type SessionGiven = {
  token: string
  carrier: string
  expiresIn: number
  challenge: string
  count: number
}

export type LoginServices = Services & {
  /** The private key of a recipient id that is accepted now. */
  recipientKey(id: Buffer): KeyObject | undefined
  /** Takes one from the bucket of an address; throws `rate_limited`. */
  takeAddress(address: string): void
  currentChallengeKey(): Promise<KeyObject>
  /** Wrap key of the day of a time in s. */
  signDevice(claims: DeviceClaims): Promise<string>
}

export const readingsPerBatch = 64

export function createLogin(services: LoginServices) {
  const once = new Once<SessionGiven>({
    store: services.store,
    find: (challenge) => services.ledger.find(challenge),
    clock: services.clock,
    onStoreLost: services.onStoreLost,
  })
  const inCohort = createCohort(limits.cohortPaceMs)

  return async function logIn(request: LoginRequest): Promise<Outcome<SessionGiven>> {
    if (!services.registry.isFresh()) throw new GatewayError('registry_stale', 'registry_stale')
    services.takeAddress(request.address)
    const recipientKey = services.recipientKey(request.recipient)
    if (!recipientKey) throw new GatewayError('recipient_unknown', 'recipient_unknown')
    return inCohort(() => go(request, recipientKey))
  }

  /** From the challenge on. */
  async function go(request: LoginRequest, recipientKey: KeyObject): Promise<Outcome<SessionGiven>> {
    const challenge = await assertChallenge(services, { ...request, use: purpose.session })
    const device = await assertKnownSigner(services, request)
    const digest = sessionDigest(request, request.signature)
    const { guardUntilMs, expiresMs } = challenge
    const give = (consumed: Consumed, sessionKey: KeyObject) =>
      giveSession(services, request, { device, sessionKey, consumed })
    return once.run<void>(
      { challenge: request.challenge, digest, guardUntilMs, replayOnly: challenge.state === 'replay_only' },
      {
        prefetch: () => {},
        run: async () => {
          const sessionKey = openSessionKey(recipientKey, request) // Before the entry: a wrong point leaves none.
          return give(await recordSession(services, request, { device, digest, expiresMs }), sessionKey)
        },
        again: async (consumed) => give(consumed, openSessionKey(recipientKey, request)),
      },
    )
  }
}

/** The device as registered, once its signature is right. An unknown device looks like a wrong signature. */
async function assertKnownSigner(services: LoginServices, request: LoginRequest): Promise<DeviceStanding> {
  const known = await services.registry.device(request.device)
  if (!known) throw new GatewayError('signature_invalid', 'device_unknown')
  const { device, firmware } = request
  const standing = await assertAdmitted(services, { device, firmware, carrier: known.carrier })
  if (!checkP256(standing.key, signedSession(request), request.signature)) {
    throw new GatewayError('signature_invalid', 'signature_invalid')
  }
  return standing
}

function openSessionKey(recipientKey: KeyObject, request: LoginRequest): KeyObject {
  const key = decapsulateSession(recipientKey, request.recipient, request.enc)
  if (!key) throw new GatewayError('enc_invalid', 'enc_invalid')
  return key
}

async function recordSession(
  services: LoginServices,
  request: LoginRequest,
  found: { device: DeviceStanding; digest: Buffer; expiresMs: number },
): Promise<Consumed> {
  const { digest, expiresMs } = found
  const sid = deriveSid(request.challenge, request.device, request.enc)
  const act = JSON.stringify({
    act: 'session.open',
    device: printBase64url(request.device),
    carrier: found.device.carrier,
    outlet: found.device.outlet,
    sid: printBase64url(sid),
    firmware: request.firmware,
  })
  await assertAdmitted(services, { ...request, carrier: found.device.carrier })
  const { challenge } = request
  const committed = services.ledger.append({ type: 'session', digest, challenge, expiresMs, act })
  const appended = await withinRequest(services.clock, request.arrivedAt, committed)
  if (!('lost' in appended)) return { ...appended, digest, answer: 0 }
  if (!appended.lost.equals(digest)) throw new GatewayError('challenge_used', 'consumed')
  const winner = await services.ledger.find(challenge)
  if (!winner) throw new GatewayError('ledger_unavailable', 'winner_not_found')
  return winner
}

/** Token and first batch; an exact retry gets the same sid and exp, and a fresh batch. */
async function giveSession(
  services: LoginServices,
  request: LoginRequest,
  found: { device: DeviceStanding; sessionKey: KeyObject; consumed: Consumed },
): Promise<SessionGiven> {
  const { device, sessionKey, consumed } = found
  const sid = deriveSid(request.challenge, request.device, request.enc)
  const { iat, exp } = sessionTimes(consumed.timeMs)
  const wrap = await services.wrapKey(exp)
  if (!wrap) throw new GatewayError('internal', 'wrap_key_missing')
  const { carrier, outlet } = device
  const wrapped = wrapSessionKey(wrap, sessionKey, {
    sid,
    device: request.device,
    carrier,
    expS: exp,
  })
  const token = await services.signDevice({
    sub: printBase64url(request.device),
    carrier,
    outlet,
    courier: printBase64url(request.courier),
    fw: request.firmware,
    sid: printBase64url(sid),
    iat,
    exp,
    key: printBase64url(wrapped),
  })
  const nowMs = services.clock.now()
  const { challenge } = issueChallenges(await services.currentChallengeKey(), {
    use: purpose.reading,
    device: request.device,
    count: readingsPerBatch,
    nowMs,
  })
  const expiresIn = Math.max(0, exp - Math.floor(nowMs / 1000))
  return { token, carrier, expiresIn, challenge: printBase64url(challenge), count: readingsPerBatch }
}
