// Row 5 of the order of checks: a challenge of ours, for this device and use, in time (PROTOCOL section 4).
import { GatewayError } from '../base/errors.ts'
import { checkChallenge, epochByteOf, type Purpose } from '../channel/challenge.ts'
import type { Services } from './services.ts'

/** What a challenge allows: an answer, or only one that was already given. Throws if neither. */
export async function assertChallenge(
  services: Pick<Services, 'challengeKey' | 'clock'>,
  given: { challenge: Buffer; device: Buffer; use: Purpose },
) {
  const key = await services.challengeKey(epochByteOf(given.challenge))
  const { use, device } = given
  const verdict = checkChallenge(given.challenge, { key, use, device, nowMs: services.clock.now() })
  if (verdict.state === 'invalid') throw new GatewayError('challenge_invalid', 'challenge_invalid')
  if (verdict.state === 'expired') throw new GatewayError('challenge_expired', 'challenge_expired')
  return verdict
}
