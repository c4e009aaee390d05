// The naive twin of the gateway's card, token and store steps: Express, jsonwebtoken, an ioredis that is awaited
// command by command, and one question to the bureau for each person. It takes the same sealed requests as the gateway,
// with the keys of the gateway's own data folder, and must give the same answers. It has no ledger, no registry, no
// change feed, no limits and no hold: all that is to its advantage.
import { createHmac, createPublicKey, createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { createServer } from 'node:https'
import { join } from 'node:path'
import express from 'express'
import { Redis } from 'ioredis'
import jwt from 'jsonwebtoken'
import { Pool } from 'undici'
import { printBase64url, sha256 } from '../../../src/base/bytes.ts'
import { dayMs, epochOf, systemClock } from '../../../src/base/clock.ts'
import { printP256Spki } from '../../../src/base/p256.ts'
import { bind, parseT2l } from '../../../src/base/t2l.ts'
import { checkChallenge, epochByteOf, epochFromByte, purpose } from '../../../src/channel/challenge.ts'
import { openReading, requestDigest } from '../../../src/channel/sealing.ts'
import { unwrapSessionKey } from '../../../src/channel/session.ts'
import { loadKeks } from '../../../src/keys/kek.ts'
import { Keyring } from '../../../src/keys/keyring.ts'
import { announce, fileOf, listen, readConfig, type Told, tlsOf } from './serving.ts'
import { checkCard, type Reading, readIssuers } from './twin-card.ts'
import type { Person } from './twin-record.ts'

type Settings = Told & { dataDir: string; origin: string; redis: string; bureau: string }
type Claims = { sub: string; carrier: string; sid: string; exp: number; key: string }
type Body = { challenge: string; parcel: string; sealed: string }
type Answer = 'yes' | 'no'
type Guard = { digest: string; answer?: Answer; at?: number }

const settings = readConfig<Settings>()
const keyring = await Keyring.open({
  file: join(settings.dataDir, 'keyring.db'),
  keks: loadKeks(settings.certsDir),
  clock: systemClock,
})
const issuers = readIssuers(settings)
const redis = new Redis(settings.redis)
const bureau = new Pool(settings.bureau, {
  connections: 8,
  connect: {
    ca: fileOf(settings, 'bureau-ca.crt'),
    cert: fileOf(settings, 'bureau-client.crt'),
    key: fileOf(settings, 'bureau-client.key'),
  },
})
const tokenKey = (await keyring.current('token')).key
const tokenPem = tokenKey.export({ format: 'pem', type: 'pkcs8' }) as string
const kid = printBase64url(sha256(printP256Spki(createPublicKey(tokenKey))).subarray(0, 8))

class Refused extends Error {
  readonly status: number
  constructor(status: number, code: string) {
    super(code)
    this.status = status
  }
}

const decode = (text: string) => Buffer.from(text, 'base64url')
const must = <T>(value: T | undefined, status: number, code: string): T => {
  if (value === undefined) throw new Refused(status, code)
  return value
}

/** The device's session, from its token. */
function readSession(authorization: string | undefined): Claims {
  try {
    const token = (authorization ?? '').replace('Bearer ', '')
    const day = Number(jwt.decode(token, { complete: true })?.header.kid)
    const secret = (keyring.get('device-token', day) as KeyObject).export()
    const options = { issuer: settings.origin, audience: 'urn:vouchsafe:gateway' }
    return jwt.verify(token, secret, { ...options, algorithms: ['HS256'] }) as unknown as Claims
  } catch {
    throw new Refused(401, 'session_invalid')
  }
}

async function assertChallenge(challenge: Buffer, device: Buffer): Promise<void> {
  const epoch = epochFromByte(epochByteOf(challenge), keyring.epochNow('challenge'))
  const key = epoch === undefined ? undefined : await keyring.find('challenge', epoch)
  const verdict = checkChallenge(challenge, { key, use: purpose.reading, device, nowMs: systemClock.now() })
  if (verdict.state !== 'fresh') throw new Refused(422, `challenge_${verdict.state}`)
}

async function unseal(claims: Claims, body: Body): Promise<Reading> {
  const { carrier, exp } = claims
  const [device, sid] = [decode(claims.sub), decode(claims.sid)]
  const wrap = await keyring.find('session-wrap', epochOf(exp * 1000 - 12 * 3_600_000, dayMs))
  const raw = wrap && unwrapSessionKey(wrap, decode(claims.key), { device, sid, carrier, expS: exp })
  const key = createSecretKey(must(raw, 401, 'session_invalid'))
  const context = { device, sid, carrier, challenge: decode(body.challenge), parcel: decode(body.parcel) }
  const plain = must(openReading(key, decode(body.sealed), context), 400, 'seal_rejected')
  const fields = parseT2l(plain.subarray(2, 2 + plain.readUInt16BE(0)), [1, 2, 3, 4, 5, 6, 7])
  const [suite, sod, dg1, dg14, dg15, chipSignature] = must(fields, 422, 'reading_malformed') as Buffer[]
  return { suite: suite?.[0], sod, dg1, dg14, dg15, chipSignature } as Reading
}

async function askBureau(person: Person): Promise<Answer> {
  const { statusCode, body } = await bureau.request({
    path: '/v1/queries',
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify([
      {
        id: '1',
        docType: 'ID',
        issuingState: 'CHN',
        ...person,
        transaction: randomBytes(16).toString('base64url'),
      },
    ]),
  })
  const answers = (await body.json()) as { result: string }[]
  if (statusCode !== 200 || !answers[0]) throw new Refused(503, 'bureau_unavailable')
  return answers[0].result === 'match' ? 'yes' : 'no'
}

/** From the cache, or from the bureau and into the cache. The carrier is part of the key. */
async function answerFor(person: Person, carrier: string): Promise<Answer> {
  const secret = must(keyring.get('cache', keyring.epochNow('cache')), 503, 'no_key')
  const name = createHmac('sha256', secret)
    .update(JSON.stringify([carrier, person]))
    .digest('base64url')
  const known = await redis.get(`twin:answer:${name}`)
  if (known === 'yes' || known === 'no') return known
  const answer = await askBureau(person)
  await redis.set(`twin:answer:${name}`, answer, 'EX', answer === 'yes' ? 86_400 : 60)
  return answer
}

/** `leaf` and `index` are the ledger's; here they only have their size. */
function signAnswer(
  claims: Claims,
  given: { answer: Answer; parcel: string; digest: Buffer; at: number },
): string {
  const { answer, parcel, digest, at } = given
  const leaf = digest.toString('base64url')
  const payload = { iat: at, answer, parcel, device: claims.sub, level: 'chip+bureau', leaf, index: 1 }
  return jwt.sign(payload, tokenPem, {
    algorithm: 'ES256',
    header: { alg: 'ES256', typ: 'answer+jwt', kid },
    issuer: settings.origin,
    audience: `urn:vouchsafe:carrier:${claims.carrier}`,
    jwtid: sha256(bind('jti', digest)).subarray(0, 16).toString('base64url'),
    expiresIn: 86_400,
  })
}

const app = express()
app.use(express.json())

app.post('/v1/verify', async (request, response) => {
  const claims = readSession(request.headers.authorization)
  const body = request.body as Body
  const [challenge, parcel, device] = [decode(body.challenge), decode(body.parcel), decode(claims.sub)]
  await assertChallenge(challenge, device)
  const reading = await unseal(claims, body)
  const digest = requestDigest({ device, sid: decode(claims.sid), challenge, parcel }, decode(body.sealed))

  const guard: Guard = { digest: digest.toString('hex') }
  const key = `twin:guard:${body.challenge}`
  const first = await redis.set(key, JSON.stringify(guard), 'EX', 800, 'NX')
  if (first === null) {
    const standing = JSON.parse((await redis.get(key)) ?? '{}') as Guard
    if (standing.digest !== guard.digest) throw new Refused(409, 'challenge_used')
    const { answer, at } = standing
    if (!answer || !at) throw new Refused(409, 'in_progress')
    response.set('idempotent-replayed', 'true')
    response.json({ answer, token: signAnswer(claims, { answer, parcel: body.parcel, digest, at }) })
    return
  }

  const person = checkCard(reading, {
    issuers,
    now: systemClock.now(),
    chipMessage: (sodHash) => bind('chip', challenge, device, parcel, claims.carrier, sodHash),
  })
  const answer = person ? await answerFor(person, claims.carrier) : 'no'
  const at = Math.floor(systemClock.now() / 1000)
  const token = signAnswer(claims, { answer, parcel: body.parcel, digest, at })
  await redis.set(key, JSON.stringify({ ...guard, answer, at }), 'EX', 800)
  response.json({ answer, token })
})

app.use(
  (error: Error, _request: express.Request, response: express.Response, _next: express.NextFunction) => {
    const { status, message: code } = error instanceof Refused ? error : new Refused(500, 'internal')
    response.status(status).json({ type: `urn:vouchsafe:error:${code}`, status, code })
  },
)

announce(await listen(createServer(tlsOf(settings), app)), async () => {
  await Promise.all([redis.quit(), bureau.close(), keyring.close()])
})
