// Our two kinds of JWT: what is signed can be checked by others, and of what is sent only a device token of ours,
// whole and not ended, is let in (PROTOCOL sections 5, 7).
import {
  createHmac,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto'
import { join } from 'node:path'
import { createLocalJWKSet, jwtVerify } from 'jose'
import t, { type Test } from 'tap'
import { createTokenHolders } from '../../plugins/token-holders.ts'
import { printBase64url, sha256 } from '../../src/base/bytes.ts'
import { dayMs, hourMs, manualClock } from '../../src/base/clock.ts'
import { loadKeks } from '../../src/keys/kek.ts'
import { Keyring } from '../../src/keys/keyring.ts'
import { answerClaims, type DeviceClaims, sessionTimes } from '../../src/token/claims.ts'

const issuer = 'https://gateway.example'
const startMs = Date.UTC(2026, 10, 24, 12)
const id = () => printBase64url(randomBytes(16))
const json = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

async function open(t: Test) {
  const directory = t.testdir({ 'kek-1.key': printBase64url(randomBytes(32)) })
  const clock = manualClock(startMs)
  const keks = loadKeks(directory)
  const keyring = await Keyring.open({ file: join(directory, 'keyring.db'), keks, clock })
  t.teardown(() => keyring.close())
  const tokens = createTokenHolders({ keyring, issuer, clock })
  const day = keyring.epochNow('device-token')
  const key = keyring.get('device-token', day) as KeyObject
  return { clock, keyring, tokens, day, key }
}

const deviceClaims = (nowMs = startMs): DeviceClaims => ({
  sub: id(),
  carrier: 'swift-crane',
  outlet: 'harbour',
  courier: printBase64url(Buffer.alloc(16)),
  fw: 3,
  sid: id(),
  ...sessionTimes(nowMs),
  key: printBase64url(randomBytes(60)),
})
const whole = (claims: DeviceClaims) => ({ iss: issuer, aud: 'urn:vouchsafe:gateway', ...claims })
const answerOf = (nowMs = startMs) =>
  answerClaims({
    answer: 'yes',
    carrier: 'swift-crane',
    device: randomBytes(16),
    parcel: randomBytes(32),
    jti: randomBytes(16),
    leaf: randomBytes(32),
    index: 41,
    timeMs: nowMs,
  })

type Header = Record<string, unknown>
/** A JWT by hand, with any header, under any key. */
function forge(header: Header, claims: object | string, key: KeyObject | Buffer, hash = 'sha256'): string {
  const head = `${json(header)}.${typeof claims === 'string' ? claims : json(claims)}`
  return `${head}.${createHmac(hash, key).update(head).digest('base64url')}`
}
const partOf = (token: string, at: number) =>
  JSON.parse(Buffer.from(token.split('.')[at] ?? '', 'base64url').toString()) as Record<string, unknown>

const refused = { name: 'GatewayError', code: 'session_invalid' }

t.test('a device token comes back as it was signed, decoded', async (t) => {
  const { tokens, day } = await open(t)
  const claims = deviceClaims()
  const token = await tokens.signDevice(claims)
  t.same(partOf(token, 0), { alg: 'HS256', typ: 'device+jwt', kid: String(day) })
  t.same(partOf(token, 1), whole(claims))
  t.same(await tokens.checkDevice(token), {
    device: Buffer.from(claims.sub, 'base64url'),
    carrier: 'swift-crane',
    outlet: 'harbour',
    courier: Buffer.alloc(16),
    firmware: 3,
    sid: Buffer.from(claims.sid, 'base64url'),
    expS: startMs / 1000 + 43_200,
    wrappedKey: Buffer.from(claims.key, 'base64url'),
  })
})

t.test('the bytes of a session, which is kept, keep no other memory', async (t) => {
  const { tokens } = await open(t)
  const { device, courier, sid, wrappedKey } = await tokens.checkDevice(
    await tokens.signDevice(deviceClaims()),
  )
  for (const bytes of [device, courier, sid, wrappedKey]) t.equal(bytes.buffer.byteLength, 3 * 16 + 60)
})

t.test('the same made by hand is let in: only what is changed below makes the difference', async (t) => {
  const { tokens, day, key } = await open(t)
  const header = { alg: 'HS256', typ: 'device+jwt', kid: String(day) }
  t.equal((await tokens.checkDevice(forge(header, whole(deviceClaims()), key))).carrier, 'swift-crane')
})

t.test('a header that is not exactly ours is refused', async (t) => {
  const { tokens, day, key } = await open(t)
  const claims = whole(deviceClaims())
  const header = { alg: 'HS256', typ: 'device+jwt', kid: String(day) }
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const bare = (head: Header) => `${json(head)}.${json(claims)}.`
  const signed = (head: Header) => {
    const text = `${json(head)}.${json(claims)}`
    const signature = sign('sha256', Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' })
    return `${text}.${signature.toString('base64url')}`
  }
  const jwk = createPublicKey(privateKey).export({ format: 'jwk' })
  const { kid: _, ...noKid } = header
  const table: [what: string, token: string][] = [
    ['alg none, no signature', bare({ ...header, alg: 'none' })],
    ['alg None, no signature', bare({ ...header, alg: 'None' })],
    ['alg none, signed all the same', forge({ ...header, alg: 'none' }, claims, key)],
    ['no signature', bare(header)],
    ['alg HS512', forge({ ...header, alg: 'HS512' }, claims, key, 'sha512')],
    ['alg HS384', forge({ ...header, alg: 'HS384' }, claims, key, 'sha384')],
    ['alg in lower case', forge({ ...header, alg: 'hs256' }, claims, key)],
    ['no alg', forge({ typ: 'device+jwt', kid: String(day) }, claims, key)],
    ['alg ES256 by a key of its own', signed({ ...header, alg: 'ES256' })],
    ['alg ES256 with its key beside it', signed({ ...header, alg: 'ES256', jwk })],
    ['HS256 with a key beside it', forge({ ...header, jwk: { kty: 'oct', k: 'AA' } }, claims, Buffer.of(0))],
    ['typ of an answer', forge({ ...header, typ: 'answer+jwt' }, claims, key)],
    ['typ JWT', forge({ ...header, typ: 'JWT' }, claims, key)],
    ['typ of more', forge({ ...header, typ: 'device+jwt+more' }, claims, key)],
    ['no typ', forge({ alg: 'HS256', kid: String(day) }, claims, key)],
    ['typ a number', forge({ ...header, typ: 1 }, claims, key)],
    ['no kid', forge(noKid, claims, key)],
    ['kid of another day', forge({ ...header, kid: String(day - 1) }, claims, key)],
    ['kid of tomorrow', forge({ ...header, kid: String(day + 1) }, claims, key)],
    ['kid of long ago', forge({ ...header, kid: '0' }, claims, key)],
    ['kid far ahead', forge({ ...header, kid: '999999' }, claims, key)],
    ['kid of seven digits', forge({ ...header, kid: `00${day}` }, claims, key)],
    ['kid a number', forge({ ...header, kid: day }, claims, key)],
    ['kid a list', forge({ ...header, kid: [String(day)] }, claims, key)],
    ['kid negative', forge({ ...header, kid: `-${day}` }, claims, key)],
    ['kid with a blank', forge({ ...header, kid: `${day} ` }, claims, key)],
    ['kid a path', forge({ ...header, kid: '../token' }, claims, key)],
    ['kid by birth', forge({ ...header, kid: '__proto__' }, claims, key)],
    ['kid empty', forge({ ...header, kid: '' }, claims, key)],
  ]
  for (const [what, token] of table) await t.rejects(tokens.checkDevice(token), refused, what)
})

t.test('another key, or a byte changed anywhere, is refused', async (t) => {
  const { tokens, day, key, keyring } = await open(t)
  const header = { alg: 'HS256', typ: 'device+jwt', kid: String(day) }
  const claims = whole(deviceClaims())
  const others: [what: string, key: KeyObject | Buffer][] = [
    ['a random key', randomBytes(32)],
    ['an empty key', Buffer.alloc(0)],
    ['zeros', Buffer.alloc(32)],
    ['the session-wrap key of the day', keyring.get('session-wrap', day) as KeyObject],
    ['the cache key of the day', keyring.get('cache', day) as KeyObject],
    ['the kid', Buffer.from(String(day))],
    ['a public key, as text', Buffer.from(JSON.stringify(tokens.jwks().keys[0]))],
    ['its first half', key.export().subarray(0, 16)],
  ]
  for (const [what, other] of others) {
    await t.rejects(tokens.checkDevice(forge(header, claims, other)), refused, what)
  }
  const good = await tokens.signDevice(deviceClaims())
  t.ok(await tokens.checkDevice(good), 'known from now on; what is bent below is not')
  const parts = good.split('.')
  for (const [at, part] of parts.entries()) {
    const bytes = Buffer.from(part, 'base64url')
    for (let i = 0; i < bytes.length; i += at === 2 ? 1 : 7) {
      const bent = Buffer.from(bytes)
        .fill(bytes.readUInt8(i) ^ 1, i, i + 1)
        .toString('base64url')
      const token = parts.map((each, n) => (n === at ? bent : each)).join('.')
      await t.rejects(tokens.checkDevice(token), refused, `part ${at}, byte ${i}`)
    }
  }
})

t.test('what is not a token at all is refused in the same way', async (t) => {
  const { tokens, day } = await open(t)
  const head = json({ alg: 'HS256', typ: 'device+jwt', kid: String(day) })
  const real = await tokens.signDevice(deviceClaims())
  const garbage = [
    '',
    '.',
    '..',
    '...',
    'x',
    'x.y.z',
    `${head}..`,
    `${head}.${head}`,
    `${head}.e30.`,
    `${json([])}.e30.x`,
    `${json(null)}.e30.x`,
    `${json('x')}.e30.x`,
    `.${real}`,
    `${real}.`,
    `${real}.x`,
    real.split('.').slice(0, 2).join('.'),
    real.split('.').slice(1).join('.'),
    real.replaceAll('.', ' '),
    `${real.slice(0, 5)}=${real.slice(5)}`,
    'A'.repeat(10_000),
  ]
  for (const token of garbage)
    await t.rejects(tokens.checkDevice(token), refused, JSON.stringify(token.slice(0, 40)))
})

t.test('claims that lack, or have another form, are refused, one by one', async (t) => {
  const { tokens, day, key } = await open(t)
  const header = { alg: 'HS256', typ: 'device+jwt', kid: String(day) }
  const right = whole(deviceClaims())
  for (const name of Object.keys(right)) {
    const lacking = Object.fromEntries(Object.entries(right).filter(([each]) => each !== name))
    await t.rejects(tokens.checkDevice(forge(header, lacking, key)), refused, `no ${name}`)
    if (name === 'iat') continue // Must be there, but nothing follows from it: a session ends by its exp.
    for (const value of [null, {}, true]) {
      const bent = forge(header, { ...right, [name]: value }, key)
      await t.rejects(tokens.checkDevice(bent), refused, `${name} = ${JSON.stringify(value)}`)
    }
  }
  const table: [name: keyof typeof right, value: unknown][] = [
    ['iss', 'https://gateway.example/'],
    ['iss', 'https://other.example'],
    ['iss', ''],
    ['aud', 'urn:vouchsafe:carrier:swift-crane'],
    ['aud', 'urn:vouchsafe:gateway2'],
    ['aud', []],
    ['sub', id().slice(1)],
    ['sub', `${id()}AAAA`],
    ['sub', `${id().slice(0, -1)}B`],
    ['sid', ''],
    ['sid', `${id()}=`],
    ['courier', ''],
    ['courier', `${'A'.repeat(21)}B`],
    ['key', 'not base64url!'],
    ['fw', '3'],
    ['fw', 1.5],
    ['exp', String(right.exp)],
    ['exp', right.exp + 0.5],
    ['exp', -1],
    ['exp', 0],
    ['exp', 1e300],
    ['carrier', ['swift-crane']],
    ['outlet', 7],
  ]
  for (const [name, value] of table) {
    const bent = forge(header, { ...right, [name]: value }, key)
    await t.rejects(tokens.checkDevice(bent), refused, `${name} = ${JSON.stringify(value)}`)
  }
  for (const claims of ['', 'bnVsbA', 'W10', 'MQ', json('text'), 'e30', 'ew']) {
    await t.rejects(tokens.checkDevice(forge(header, claims, key)), refused, `claims ${claims}`)
  }
})

t.test('a token ends by the clock of the gateway, to the millisecond', async (t) => {
  const { tokens, clock, keyring } = await open(t)
  const token = await tokens.signDevice(deviceClaims())
  clock.advance(12 * hourMs - 1)
  await keyring.tend()
  t.equal(
    (await tokens.checkDevice(token)).carrier,
    'swift-crane',
    'in its last millisecond, on the next day',
  )
  clock.advance(1)
  await t.rejects(tokens.checkDevice(token), { ...refused, reason: 'token_ended' })
  clock.advance(dayMs)
  await keyring.tend()
  await t.rejects(tokens.checkDevice(token), refused, 'and stays ended')
})

t.test('once the key of its day is deleted a token is refused, even if it had not ended', async (t) => {
  const { tokens, clock, keyring, key, day } = await open(t)
  const header = { alg: 'HS256', typ: 'device+jwt', kid: String(day) }
  const token = forge(header, { ...whole(deviceClaims()), exp: startMs / 1000 + 10 * 86_400 }, key)
  t.ok(await tokens.checkDevice(token))
  clock.advance(2 * dayMs)
  await keyring.tend()
  await t.rejects(tokens.checkDevice(token), { ...refused, reason: 'kid_unknown' })
})

t.test('no refusal tells anything of the token', async (t) => {
  const { tokens, day } = await open(t)
  const header = { alg: 'HS256', typ: 'device+jwt', kid: String(day) }
  const claims = { ...whole(deviceClaims()), sub: 'planted-in-claims', iss: 'planted-issuer' }
  const token = forge(header, claims, randomBytes(32))
  const error = await tokens.checkDevice(token).catch((each: Error) => each)
  t.ok(error instanceof Error)
  t.notMatch(String(error instanceof Error && error.message), /planted|eyJ/)
})

t.test('an answer token is checked by jose with nothing but the published keys', async (t) => {
  const { tokens, clock } = await open(t)
  const claims = answerOf()
  const token = await tokens.signAnswer(claims)
  const keys = createLocalJWKSet(tokens.jwks())
  const expected = {
    issuer,
    audience: 'urn:vouchsafe:carrier:swift-crane',
    typ: 'answer+jwt',
    algorithms: ['ES256'],
    currentDate: new Date(clock.now()),
  }
  const { payload, protectedHeader } = await jwtVerify(token, keys, expected)
  t.same(payload, { iss: issuer, ...claims })
  const [published] = tokens.tokenKeys()
  t.same(protectedHeader, { alg: 'ES256', typ: 'answer+jwt', kid: published?.kid })
  const audience = 'urn:vouchsafe:carrier:river-post'
  await t.rejects(jwtVerify(token, keys, { ...expected, audience }), {
    code: 'ERR_JWT_CLAIM_VALIDATION_FAILED',
  })
  const currentDate = new Date(startMs + dayMs)
  await t.rejects(jwtVerify(token, keys, { ...expected, currentDate }), { code: 'ERR_JWT_EXPIRED' })
  await t.rejects(jwtVerify(`${token.slice(0, -4)}AAAA`, keys, expected), {
    code: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED',
  })
})

t.test('what is published is public: kids follow from the keys, and no private half is there', async (t) => {
  const { tokens, keyring } = await open(t)
  const { keys } = tokens.jwks()
  const listed = tokens.tokenKeys()
  t.equal(keys.length, keyring.all('token').length)
  t.same(
    keys.map((key) => key.kid),
    listed.map((key) => key.kid),
  )
  for (const [i, key] of keys.entries()) {
    const members = ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']
    t.same(Object.keys(key).sort(), members)
    t.match(key, { kty: 'EC', crv: 'P-256', alg: 'ES256', use: 'sig' })
    const spki = createPublicKey({ key: key as never, format: 'jwk' }).export({ format: 'der', type: 'spki' })
    t.same(listed[i]?.spki, spki)
    t.equal(key.kid, printBase64url(sha256(spki).subarray(0, 8)))
  }
})

t.test(
  'after a new key signs, what the last one signed is still checked with what is published',
  async (t) => {
    const { tokens, clock, keyring } = await open(t)
    const untilNextMs = (keyring.epochNow('token') + 1) * 30 * dayMs - clock.now()
    clock.advance(untilNextMs - hourMs)
    await keyring.tend()
    const before = await tokens.signAnswer(answerOf(clock.now()))
    const told = tokens.jwks().keys.map((key) => key.kid)
    clock.advance(2 * hourMs)
    await keyring.tend()
    const after = await tokens.signAnswer(answerOf(clock.now()))
    t.not(partOf(before, 0)['kid'], partOf(after, 0)['kid'])
    t.ok(told.includes(String(partOf(after, 0)['kid'])), 'the next key was published before it signed')
    const keys = createLocalJWKSet(tokens.jwks())
    const expected = { issuer, typ: 'answer+jwt', currentDate: new Date(clock.now()) }
    for (const token of [before, after])
      t.equal((await jwtVerify(token, keys, expected)).payload['answer'], 'yes')
  },
)

t.test('neither kind of token is taken for the other', async (t) => {
  const { tokens, day } = await open(t)
  const [device, answer] = [await tokens.signDevice(deviceClaims()), await tokens.signAnswer(answerOf())]
  const keys = createLocalJWKSet(tokens.jwks())
  const currentDate = new Date(startMs)
  await t.rejects(jwtVerify(device, keys, { issuer, currentDate }), 'by the published keys')
  await t.rejects(jwtVerify(device, keys, { issuer, typ: 'answer+jwt', currentDate }))
  await t.rejects(tokens.checkDevice(answer), refused)
  // With a kid that names a day, so that it is refused by its key and not only by its header.
  const [, claims = '', signature = ''] = answer.split('.')
  const renamed = { ...partOf(answer, 0), kid: String(day) }
  await t.rejects(tokens.checkDevice(`${json(renamed)}.${claims}.${signature}`), refused)
  const [{ spki } = { spki: Buffer.of() }] = tokens.tokenKeys()
  const confused = forge({ alg: 'HS256', typ: 'device+jwt', kid: String(day) }, whole(deviceClaims()), spki)
  await t.rejects(tokens.checkDevice(confused), refused, 'HS256 keyed with the published key')
})

t.test('a gateway of another name refuses the token, although it has the same keys', async (t) => {
  const { tokens, keyring, clock } = await open(t)
  const token = await tokens.signDevice(deviceClaims())
  const other = createTokenHolders({ keyring, issuer: 'https://other.example', clock })
  await t.rejects(other.checkDevice(token), refused)
  t.ok(await tokens.checkDevice(token))
})
