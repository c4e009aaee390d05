// The offline check of an answer token, with jose as the other implementation: what either accepts, and each fault alone.
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { createLocalJWKSet, exportJWK, jwtVerify, SignJWT } from 'jose'
import t from 'tap'
import { checkToken, type TokenKeys } from '../../src/sdk/token.ts'
import { openCarrier, tokenFor } from '../helpers/carrier.ts'
import { parcelOf, startTestGateway } from '../helpers/gateway.ts'

const issuer = 'https://localhost:8443'
const audience = 'urn:vouchsafe:carrier:swift-crane'
const nowMs = Date.UTC(2026, 10, 24)
const iat = nowMs / 1000
const newKey = (namedCurve = 'P-256') => generateKeyPairSync('ec', { namedCurve }).privateKey

async function keysOf(key: KeyObject, kid = 'k1'): Promise<TokenKeys> {
  const { d: _, ...jwk } = await exportJWK(key)
  return { keys: [{ ...jwk, kid } as TokenKeys['keys'][number]] }
}

const claims = { iss: issuer, aud: audience, jti: 'a', iat, exp: iat + 86_400, answer: 'yes', parcel: 'p' }
const header = { alg: 'ES256', typ: 'answer+jwt', kid: 'k1' }
const sign = (key: KeyObject, over: object = {}, head: object = {}) =>
  new SignJWT({ ...claims, ...over }).setProtectedHeader({ ...header, ...head } as never).sign(key)

t.test('a good token, and each way in which one is not', async (t) => {
  const key = newKey()
  const keys = await keysOf(key)
  const expected = { keys, issuer, carrier: 'swift-crane', nowMs }
  const good = await sign(key)
  t.match(checkToken(good, expected), { good: true, claims: { answer: 'yes', jti: 'a' } })
  const jose = await jwtVerify(good, createLocalJWKSet(keys as never), { currentDate: new Date(nowMs) })
  t.equal(jose.payload['answer'], 'yes', 'jose says so too')
  const [head = '', body = '', signature = ''] = good.split('.')
  const turned = Buffer.from(JSON.stringify({ ...claims, answer: 'no' })).toString('base64url')
  const hmac = await new SignJWT(claims)
    .setProtectedHeader({ ...header, alg: 'HS256' })
    .sign(Buffer.alloc(32, 1))
  for (const [what, token, why] of [
    ['no token', 'x', 'malformed'],
    ['two parts', `${head}.${body}`, 'malformed'],
    ['four parts', `${good}.${signature}`, 'malformed'],
    ['padding', `${good}=`, 'malformed'],
    ['too long', 'a'.repeat(3000), 'malformed'],
    ['HMAC', hmac, 'malformed'],
    ['another type', await sign(key, {}, { typ: 'JWT' }), 'malformed'],
    ['an unknown kid', await sign(key, {}, { kid: 'k2' }), 'key_unknown'],
    ['another key', await sign(newKey()), 'signature'],
    ['another answer', `${head}.${turned}.${signature}`, 'signature'],
    ['another issuer', await sign(key, { iss: 'https://elsewhere' }), 'issuer'],
    ['another carrier', await sign(key, { aud: 'urn:vouchsafe:carrier:river-post' }), 'carrier'],
    ['ended', await sign(key, { exp: iat }), 'ended'],
    ['from the future', await sign(key, { iat: iat + 6 }), 'ended'],
    ['no end', await sign(key, { exp: undefined }), 'ended'],
  ] as const) {
    t.same(checkToken(token, expected), { good: false, why }, what)
  }
  const parcel = parcelOf()
  t.match(checkToken(good, { ...expected, parcel }), { why: 'parcel' })
  const p384 = newKey('P-384')
  t.match(
    checkToken(good, { ...expected, keys: await keysOf(p384) }),
    { why: 'key_unknown' },
    'a key of another curve',
  )
})

t.test('tokens of a gateway, with the keys that it gives', async (t) => {
  const g = await startTestGateway(t)
  const own = openCarrier(t, g)
  const { token, parcel } = await tokenFor(g, 'valid')
  const keys = await own.tokenKeys()
  const expected = { keys, issuer: g.config.VOUCHSAFE_ORIGIN, carrier: 'swift-crane', nowMs: g.clock.now() }
  t.match(checkToken(token, { ...expected, parcel }), { good: true, claims: { answer: 'yes' } })
  t.match(checkToken(token, { ...expected, parcel: parcelOf() }), { good: false, why: 'parcel' })
  t.match(checkToken(token, { ...expected, carrier: 'river-post' }), { good: false, why: 'carrier' })
})
