// The claims of our two tokens (PROTOCOL sections 5, 7). Signing is not known here.
import { ownCopies, parseBase64url, printBase64url } from '../base/bytes.ts'
import { limits } from '../base/limits.ts'

export type DeviceClaims = {
  sub: string
  carrier: string
  outlet: string
  courier: string
  fw: number
  sid: string
  iat: number
  exp: number
  key: string
}

export type AnswerClaims = {
  aud: string
  jti: string
  iat: number
  exp: number
  answer: 'yes' | 'no'
  parcel: string
  device: string
  level: 'chip+bureau'
  leaf: string
  index: number
}

/** The claims of a signed answer token: what the signer adds is in them. */
export type SignedAnswerClaims = AnswerClaims & { iss: string }

/** A device token that was checked, decoded; the session key is still wrapped. */
export type DeviceSession = {
  device: Buffer
  carrier: string
  outlet: string
  courier: Buffer
  firmware: number
  sid: Buffer
  expS: number
  wrappedKey: Buffer
}

export const gatewayAudience = 'urn:vouchsafe:gateway'
export const carrierAudience = (carrier: string) => `urn:vouchsafe:carrier:${carrier}`

/** The times of a session whose entry was made at `entryTimeMs`, in s. */
export function sessionTimes(entryTimeMs: number): { iat: number; exp: number } {
  const iat = Math.floor(entryTimeMs / 1000)
  return { iat, exp: iat + limits.sessionLifeS }
}

/** Everything in an answer token follows from the entry and the request, so any node can make it again. */
export function answerClaims(given: {
  answer: 'yes' | 'no'
  carrier: string
  device: Buffer
  parcel: Buffer
  jti: Buffer
  leaf: Buffer
  index: number
  timeMs: number
}): AnswerClaims {
  const iat = Math.floor(given.timeMs / 1000)
  return {
    aud: carrierAudience(given.carrier),
    jti: printBase64url(given.jti),
    iat,
    exp: iat + limits.answerTokenLifeS,
    answer: given.answer,
    parcel: printBase64url(given.parcel),
    device: printBase64url(given.device),
    level: 'chip+bureau',
    leaf: printBase64url(given.leaf),
    index: given.index,
  }
}

/**
 * Decodes the claims of a device token whose signature was checked; undefined if one has a wrong form. A session is
 * kept as long as its token is known: its bytes are its own.
 */
export function parseDeviceClaims(claims: DeviceClaims): DeviceSession | undefined {
  const texts = [claims.sub, claims.courier, claims.sid, claims.key, claims.carrier, claims.outlet]
  if (texts.some((text) => typeof text !== 'string')) return undefined
  const device = parseBase64url(claims.sub, 16)
  const courier = parseBase64url(claims.courier, 16)
  const sid = parseBase64url(claims.sid, 16)
  const wrappedKey = parseBase64url(claims.key)
  if (!device || !courier || !sid || !wrappedKey || !Number.isSafeInteger(claims.fw)) return undefined
  const [ownDevice, ownCourier, ownSid, ownKey] = ownCopies(device, courier, sid, wrappedKey)
  const { carrier, outlet, fw, exp } = claims
  return {
    ...{ device: ownDevice, courier: ownCourier, sid: ownSid, wrappedKey: ownKey },
    ...{ carrier, outlet, firmware: fw, expS: exp },
  }
}
