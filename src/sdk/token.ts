// Checks an answer token offline, with the token keys of the directory or of the JWKS: what a carrier's back end can
// know without asking. Whether the token was revoked since, only the gateway knows (introspection, change cursor).
import { createPublicKey, type KeyObject, type webcrypto } from 'node:crypto'
import { printBase64url } from '../base/bytes.ts'
import { claimsOf, isSignedBy, parseToken } from '../token/answer-token.ts'
import { carrierAudience, type SignedAnswerClaims } from '../token/claims.ts'

/** RFC 7517 set, as `GET /.well-known/jwks.json` gives it. */
export type TokenKeys = { keys: readonly (webcrypto.JsonWebKey & { kid?: string })[] }

export type TokenExpectation = {
  keys: TokenKeys
  /** The gateway's origin, as its tokens name it. */
  issuer: string
  carrier: string
  nowMs: number
  /** The commitment of the parcel at hand, 32 bytes; left out, the token's parcel is not looked at. */
  parcel?: Buffer
}

/** Why a token is not good; the first that applies, in this order. */
export type TokenFault = 'malformed' | 'key_unknown' | 'signature' | 'issuer' | 'carrier' | 'ended' | 'parcel'
export type TokenVerdict = { good: true; claims: SignedAnswerClaims } | { good: false; why: TokenFault }

const skewMs = 5000

/** An import takes a third of a check: keys are imported once. */
const imported = new WeakMap<object, KeyObject>()

/** The key of a kid; undefined unless it is there, for ES256 and on P-256. */
function keyOf({ keys }: TokenKeys, kid: unknown): KeyObject | undefined {
  const found = keys.find((key) => key.kid === kid && key.kty === 'EC' && key.crv === 'P-256')
  if (!found) return undefined
  const key = imported.get(found) ?? createPublicKey({ key: found, format: 'jwk' })
  imported.set(found, key)
  return key
}

/** Whether a token is one of the gateway's for this carrier, in force by its own times. `answer` is in its claims. */
export function checkToken(token: string, expected: TokenExpectation): TokenVerdict {
  const refuse = (why: TokenFault): TokenVerdict => ({ good: false, why })
  const parsed = parseToken(token)
  if (!parsed) return refuse('malformed')
  const key = keyOf(expected.keys, parsed.kid)
  if (!key) return refuse('key_unknown')
  if (!isSignedBy(key, parsed)) return refuse('signature')
  const claims = claimsOf(parsed)
  if (claims.iss !== expected.issuer) return refuse('issuer')
  if (claims.aud !== carrierAudience(expected.carrier)) return refuse('carrier')
  const inTime = claims.iat * 1000 <= expected.nowMs + skewMs && expected.nowMs < claims.exp * 1000
  if (!inTime) return refuse('ended')
  const { parcel } = expected
  if (parcel && claims.parcel !== printBase64url(parcel)) return refuse('parcel')
  return { good: true, claims }
}
