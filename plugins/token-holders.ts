// Signs and checks our two kinds of JWT with @fastify/jwt: one detached instance per key, because its keys
// are fixed at registration (PROTOCOL sections 5, 7). Owns nothing to close: holders have no resources.
import { createPublicKey, type KeyObject } from 'node:crypto'
import jwt, { type FastifyJWTOptions, type JWT } from '@fastify/jwt'
import Fastify from 'fastify'
import { parseBase64url, printBase64url, sha256 } from '../src/base/bytes.ts'
import { type Clock, dayMs, epochOf } from '../src/base/clock.ts'
import { createCohort } from '../src/base/cohort.ts'
import { GatewayError } from '../src/base/errors.ts'
import { limits } from '../src/base/limits.ts'
import { printP256Spki } from '../src/base/p256.ts'
import { RecentMap } from '../src/base/recent.ts'
import type { Keyring } from '../src/keys/keyring.ts'
import { claimsOf, isSignedBy, parseToken } from '../src/token/answer-token.ts'
import {
  type AnswerClaims,
  type DeviceClaims,
  type DeviceSession,
  gatewayAudience,
  parseDeviceClaims,
  type SignedAnswerClaims,
} from '../src/token/claims.ts'

export type TokenKey = { kid: string; spki: Buffer }

const refusal = (reason: string, cause?: unknown) => new GatewayError('session_invalid', reason, { cause })
const kidOf = (spki: Buffer) => printBase64url(sha256(spki).subarray(0, 8))

/** A Fastify of its own that only holds one registration of @fastify/jwt under `namespace`. */
async function hold(namespace: string, options: FastifyJWTOptions): Promise<JWT> {
  const app = Fastify()
  await app.register(jwt, { ...options, namespace })
  await app.ready()
  return (app.jwt as unknown as Record<string, JWT>)[namespace] as JWT
}

function holdAnswer(key: KeyObject, kid: string, issuer: string): Promise<JWT> {
  const pem = { format: 'pem' } as const
  const secret = {
    private: key.export({ ...pem, type: 'pkcs8' }) as string,
    public: createPublicKey(key).export({ ...pem, type: 'spki' }) as string,
  }
  const header = { alg: 'ES256', typ: 'answer+jwt', kid }
  return hold('answer', {
    secret,
    sign: { algorithm: 'ES256', iss: issuer, header },
  } as FastifyJWTOptions)
}

function holdDevice(key: KeyObject, kid: string, issuer: string): Promise<JWT> {
  return hold('device', {
    secret: key.export(),
    sign: {
      algorithm: 'HS256',
      iss: issuer,
      aud: gatewayAudience,
      header: { alg: 'HS256', typ: 'device+jwt', kid },
    },
    verify: {
      algorithms: ['HS256'],
      allowedIss: issuer,
      allowedAud: gatewayAudience,
      checkTyp: 'device+jwt',
      requiredClaims: ['iss', 'aud', 'sub', 'iat', 'exp'],
      cache: false,
      ignoreExpiration: true, // Checked below, by the gateway's own clock.
    },
  } as FastifyJWTOptions)
}

type Options = { keyring: Keyring; issuer: string; clock: Clock }

export function createTokenHolders(options: Options) {
  return { ...createAnswerHolders(options), ...createDeviceHolders(options) }
}

/** One holder for each token key of the keyring. */
function createAnswerHolders({ keyring, issuer }: Omit<Options, 'clock'>) {
  const holders = new Map<number, Promise<JWT>>()
  const inCohort = createCohort()
  /** Public halves of the token keys by kid. */
  let publicKeys: Map<string, KeyObject> | undefined
  keyring.onChange(() => {
    publicKeys = undefined
    for (const epoch of holders.keys()) if (!keyring.get('token', epoch)) holders.delete(epoch)
  })

  function holderOf({ epoch, key }: { epoch: number; key: KeyObject }): Promise<JWT> {
    const holder = holders.get(epoch) ?? holdAnswer(key, kidOf(printP256Spki(key)), issuer)
    holders.set(epoch, holder)
    return holder
  }

  function publicKeyOf(kid: string): KeyObject | undefined {
    publicKeys ??= new Map(
      keyring.all('token').map(({ key }) => [kidOf(printP256Spki(key)), createPublicKey(key)]),
    )
    return publicKeys.get(kid)
  }

  return {
    async signAnswer(claims: AnswerClaims): Promise<string> {
      return (await holderOf(await keyring.current('token'))).sign(claims)
    },

    /** Claims of an answer token that we signed, ended or not; undefined for any other text. */
    async readAnswer(token: string): Promise<SignedAnswerClaims | undefined> {
      const parsed = parseToken(token)
      const key = parsed && publicKeyOf(parsed.kid)
      if (!key) return undefined
      if (!(await inCohort(() => isSignedBy(key, parsed)))) return undefined
      const claims = claimsOf(parsed)
      return claims.iss === issuer ? claims : undefined
    },

    /** Public halves of the token keys in use, oldest first. */
    tokenKeys(): TokenKey[] {
      return keyring.all('token').map(({ key }) => {
        const spki = printP256Spki(key)
        return { kid: kidOf(spki), spki }
      })
    },

    /** RFC 7517 set of the token keys. */
    jwks() {
      const keys = keyring.all('token').map(({ key }) => {
        const kid = kidOf(printP256Spki(key))
        const { kty = '', crv = '', x = '', y = '' } = createPublicKey(key).export({ format: 'jwk' })
        return { ...{ kty, crv, x, y, kid }, alg: 'ES256' as const, use: 'sig' as const }
      })
      return { keys }
    },
  }
}

/** One holder for each day of device tokens. */
function createDeviceHolders({ keyring, issuer, clock }: Options) {
  const holders = new Map<number, Promise<JWT>>()
  /** Sessions by tokens whose signature was right: a handheld sends the same one all day. */
  let checked = new RecentMap<DeviceSession>(limits.checkedTokensMax)
  keyring.onChange(() => {
    checked = new RecentMap(limits.checkedTokensMax) // What is being checked now goes into the old one.
    for (const day of holders.keys()) if (!keyring.get('device-token', day)) holders.delete(day)
  })

  async function holderOf(day: number): Promise<JWT | undefined> {
    const key = await keyring.find('device-token', day)
    if (!key) return undefined
    const holder = holders.get(day) ?? holdDevice(key, String(day), issuer)
    holders.set(day, holder)
    return holder
  }

  async function checkSigned(token: string): Promise<DeviceSession> {
    const holder = await holderOf(kidOfDay(token))
    if (!holder) throw refusal('kid_unknown')
    let claims: DeviceClaims
    try {
      claims = holder.verify<DeviceClaims>(token)
    } catch (cause) {
      throw refusal('token_refused', cause)
    }
    const session = parseDeviceClaims(claims)
    if (!session) throw refusal('claims_malformed')
    return session
  }

  return {
    /** Signed under the day of its `iat`, which is also the day of the key that wraps the session key. */
    async signDevice(claims: DeviceClaims): Promise<string> {
      const holder = await holderOf(epochOf(claims.iat * 1000, dayMs))
      if (!holder) throw new GatewayError('internal', 'device_token_key_missing')
      return holder.sign(claims)
    },

    /** Row 2 of PROTOCOL section 7. Throws `session_invalid`, whatever was wrong. */
    async checkDevice(token: string): Promise<DeviceSession> {
      const known = checked
      const standing = known.get(token)
      const session = standing ?? (await checkSigned(token))
      if (!Number.isSafeInteger(session.expS) || session.expS * 1000 <= clock.now())
        throw refusal('token_ended')
      if (!standing) known.set(token, session)
      return session
    },
  }
}

export type TokenHolders = ReturnType<typeof createTokenHolders>

/** The day in a device token's header. */
function kidOfDay(token: string): number {
  const kid = readKid(token)
  if (kid !== undefined && /^\d{1,6}$/.test(kid)) return Number(kid)
  throw refusal('header_malformed')
}

/** The kid in a token's header; nothing else of it is believed before the signature is checked. */
function readKid(token: string): string | undefined {
  const head = parseBase64url(token.slice(0, Math.max(0, token.indexOf('.'))))
  try {
    const { kid } = JSON.parse(head?.toString() ?? '') as { kid?: unknown }
    return typeof kid === 'string' ? kid : undefined
  } catch {
    return undefined // Not JSON: refused like every other wrong header.
  }
}
