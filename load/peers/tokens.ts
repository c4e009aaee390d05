// Tokens: a device's session with its first token against client credentials at oidc-provider, and introspection of
// tokens that are each asked for once, by an asker known by its certificate, at both.
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  randomUUID,
} from 'node:crypto'
import { SignJWT } from 'jose'
import { parseBase64url, printBase64url, sha256 } from '../../src/base/bytes.ts'
import { systemClock } from '../../src/base/clock.ts'
import { printP256Spki } from '../../src/base/p256.ts'
import { registerDemoDevice } from '../../src/development.ts'
import { Reader } from '../../src/sdk/reader.ts'
import { answerClaims } from '../../src/token/claims.ts'
import type { Request, Target } from './drive.ts'
import { type Peer, startPeer } from './processes.ts'
import type { PeerStage } from './stage.ts'

const json = { 'content-type': 'application/json' }
const form = { 'content-type': 'application/x-www-form-urlencoded' }
const carrier = 'swift-crane'
const client = 'handhelds'
/** Spares oidc-provider to look among tokens of other kinds. */
const hint = { token_type_hint: 'access_token' }

const list = (count: number) => Array.from({ length: count })

/** A reader that was told of the gateway's keys. */
export async function openReader(stage: PeerStage): Promise<Reader> {
  const place = { carrier, outlet: 'harbour', clock: systemClock }
  const registered = await registerDemoDevice(stage.db, place)
  const reader = new Reader({
    device: parseBase64url(registered.id) as Buffer,
    deviceKey: createPrivateKey(registered.key),
    directoryKey: createPublicKey(stage.file('directory.pub')),
    firmware: 1,
  })
  reader.acceptDirectory(await stage.fetchText('/v1/directory'), systemClock.now())
  return reader
}

/** The first half of a login; `take` gets each challenge. */
export function challengeRequests(
  reader: Reader,
  count: number,
  take: (challenge: Buffer) => void,
): Request[] {
  const body = JSON.stringify({ purpose: 'session', device: printBase64url(reader.device) })
  const isRight = (text: string) => {
    const { challenge } = JSON.parse(text) as { challenge?: string }
    if (challenge === undefined) return false
    take(parseBase64url(challenge) as Buffer)
    return true
  }
  return list(count).map(() => ({ path: '/v1/challenges', headers: json, body, isRight }))
}

/** The second half, which ends with a token. */
export function sessionRequests(reader: Reader, challenges: readonly Buffer[]): Request[] {
  return challenges.map((challenge) => ({
    path: '/v1/sessions',
    headers: json,
    body: JSON.stringify(reader.openSession(challenge, systemClock.now())),
    isRight: (text) => text.includes('"token":"'),
  }))
}

/** Introspection of an answer token at the gateway. */
export async function introspections(stage: PeerStage, count: number): Promise<Request[]> {
  const key = createPrivateKey(stage.file('token.key'))
  const kid = printBase64url(sha256(printP256Spki(createPublicKey(key))).subarray(0, 8))
  const tokens = await Promise.all(list(count).map(() => signAnswerToken(key, { kid, iss: stage.origin })))
  return tokens.map((token) => introspectionOf('/v1/introspect', `token=${token}`))
}

const introspectionOf = (path: string, body: string): Request => ({
  ...{ path, headers: form, body },
  isRight: (text) => text.includes('"active":true'),
})

/** As the gateway signs them, without a verification for each. */
function signAnswerToken(key: KeyObject, { kid, iss }: { kid: string; iss: string }): Promise<string> {
  const claims = answerClaims({
    ...{ answer: 'yes', carrier, index: 1, timeMs: systemClock.now() },
    ...{ device: randomBytes(16), parcel: randomBytes(32), jti: randomBytes(16), leaf: randomBytes(32) },
  })
  return new SignJWT({ iss, ...claims })
    .setProtectedHeader({ alg: 'ES256', typ: 'answer+jwt', kid })
    .sign(key)
}

export type TokenService = Awaited<ReturnType<typeof openTokenService>>

export const carrierTls = (stage: PeerStage) => ({
  ca: stage.file('gateway-ca.crt'),
  cert: stage.file(`carrier-${carrier}.crt`),
  key: stage.file(`carrier-${carrier}.key`),
})

/**
 * oidc-provider, and what is asked of it.
 * @param options.inMemory keeps what it issued in a Map of its own, not in the Redis that all use
 */
export async function openTokenService(stage: PeerStage, { inMemory = false } = {}) {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwk = { ...publicKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' }
  const peer: Peer = await startPeer('oidc', {
    ...{ certsDir: stage.certsDir, client, jwk, carrier },
    ...(!inMemory && { redis: `${stage.redis.url}/2` }),
  })
  const issued: string[] = []

  async function assertionFields(): Promise<Record<string, string>> {
    const assertion = await new SignJWT({})
      .setProtectedHeader({ alg: 'ES256' })
      .setIssuer(client)
      .setSubject(client)
      .setAudience(peer.url)
      .setJti(randomUUID())
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(privateKey)
    return {
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: assertion,
    }
  }

  async function credentialsRequest(): Promise<Request> {
    const body = new URLSearchParams({ grant_type: 'client_credentials', ...(await assertionFields()) })
    const isRight = (text: string) => {
      const { access_token: token } = JSON.parse(text) as { access_token?: string }
      if (token) issued.push(token)
      return token !== undefined
    }
    return { path: '/token', headers: form, body: body.toString(), isRight }
  }

  const target: Target = {
    ...{ url: peer.url, pid: peer.pid, tls: carrierTls(stage) },
    ...(!inMemory && { redisPid: stage.redis.pid }),
  }
  return {
    target,
    close: () => peer.close(),
    credentials: (count: number) => Promise.all(list(count).map(credentialsRequest)),
    /** Of tokens that it gave before, by an asker who signs an assertion for each request. */
    introspections: (count: number) =>
      Promise.all(
        issued.slice(0, count).map(async (token) => {
          const body = new URLSearchParams({ token, ...hint, ...(await assertionFields()) })
          return introspectionOf('/token/introspection', body.toString())
        }),
      ),
    /** The same tokens, each for the last time, by an asker known by its certificate. */
    introspectionsOverTls: (count: number) =>
      issued
        .splice(0, count)
        .map((token) =>
          introspectionOf(
            '/token/introspection',
            `client_id=${carrier}&${new URLSearchParams({ token, ...hint })}`,
          ),
        ),
  }
}
