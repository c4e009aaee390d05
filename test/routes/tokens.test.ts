// Introspection over mTLS (RFC 7662): the claims of a token in force to its own carrier, and to everybody else, and of
// everything else, the same two words.
import { generateKeyPairSync } from 'node:crypto'
import { SignJWT } from 'jose'
import t, { type Test } from 'tap'
import { Agent, request } from 'undici'
import { manualClock, systemClock } from '../../src/base/clock.ts'
import { limits } from '../../src/base/limits.ts'
import { Carrier } from '../../src/sdk/carrier.ts'
import type { SignedAnswerClaims } from '../../src/token/claims.ts'
import { createIntrospection } from '../../src/token/introspect.ts'
import { parcelOf, startTestGateway, type TestGateway } from '../helpers/gateway.ts'

const formType = 'application/x-www-form-urlencoded'

const pemOf = (g: TestGateway, carrier: string) => ({
  ca: g.file('gateway-ca.crt'),
  cert: g.file(`carrier-${carrier}.crt`),
  key: g.file(`carrier-${carrier}.key`),
})

function carrierOf(t: Test, g: TestGateway, name: string): Carrier {
  const carrier = new Carrier({ url: `https://localhost:${g.ports.carrier}`, ...pemOf(g, name) })
  t.teardown(() => carrier.close())
  return carrier
}

async function tokenOf(g: TestGateway, card: string) {
  const device = await g.openDevice()
  const parcel = parcelOf()
  return { ...(await device.verify(parcel, (context) => g.cardNamed(card).readChip(context))), parcel }
}

/** Each way in which a text is not a token of ours in force, made from one that is. */
async function spoil(token: string): Promise<[what: string, text: string][]> {
  const [head = '', body = '', signature = ''] = token.split('.')
  const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as Record<string, unknown>
  const header = JSON.parse(Buffer.from(head, 'base64url').toString()) as Record<string, string>
  const print = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const foreign = await new SignJWT(claims).setProtectedHeader({ ...header, alg: 'ES256' }).sign(privateKey)
  const hmac = await new SignJWT(claims)
    .setProtectedHeader({ ...header, alg: 'HS256' })
    .sign(Buffer.alloc(32, 1))
  const turned = print({ ...claims, answer: claims['answer'] === 'yes' ? 'no' : 'yes' })
  const last = signature.at(-1) as string
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const spare = alphabet[alphabet.indexOf(last) ^ 1] as string
  return [
    ['no token', 'x'],
    ['three empty parts', '..'],
    ['two parts', `${head}.${body}`],
    ['four parts', `${token}.${signature}`],
    ['another answer', `${head}.${turned}.${signature}`],
    ['no signature', `${head}.${body}.`],
    ['alg none', `${print({ ...header, alg: 'none' })}.${body}.`],
    ['a key that is not ours', foreign],
    ['HMAC', hmac],
    ['another type', `${print({ ...header, typ: 'JWT' })}.${body}.${signature}`],
    ['an unknown kid', `${print({ ...header, kid: 'AAAAAAAAAAA' })}.${body}.${signature}`],
    ['a spare bit of base64url', `${head}.${body}.${signature.slice(0, -1)}${spare}`],
    ['padding', `${token}=`],
    ['white space', ` ${token}`],
    ['as long as may be', 'a'.repeat(limits.tokenCharsMax)],
  ]
}

t.test('a token in force is active for its own carrier alone, and nothing else is', async (t) => {
  const g = await startTestGateway(t)
  const [own, other] = [carrierOf(t, g, 'swift-crane'), carrierOf(t, g, 'river-post')]
  for (const [card, answer] of [
    ['valid', 'yes'],
    ['forged', 'no'],
  ] as const) {
    const { token, parcel } = await tokenOf(g, card)
    for (const time of ['first', 'again']) {
      t.match(await own.introspect(token), {
        ...{ active: true, iss: g.config.VOUCHSAFE_ORIGIN, aud: 'urn:vouchsafe:carrier:swift-crane', answer },
        ...{ parcel: parcel.toString('base64url'), level: 'chip+bureau' },
      })
      t.same(await other.introspect(token), { active: false }, `${time}, of another carrier`)
    }
    for (const [what, text] of await spoil(token)) t.same(await own.introspect(text), { active: false }, what)
  }
  const session = g.lines.join('').includes('eyJ')
  t.notOk(session, 'no token is logged')
})

t.test(
  'forms and JSON are taken; anything else is a problem, and who may not ask is told first',
  async (t) => {
    const g = await startTestGateway(t)
    const { token } = await tokenOf(g, 'valid')
    const connect = pemOf(g, 'swift-crane')
    const agent = new Agent({ connect })
    const bare = new Agent({ connect: { ca: connect.ca } })
    t.teardown(() => Promise.all([agent.destroy(), bare.destroy()]))
    const post = async (type: string, body: string, dispatcher = agent) => {
      const url = `https://localhost:${g.ports.carrier}/v1/introspect`
      const headers = { 'content-type': type }
      const reply = await request(url, { method: 'POST', dispatcher, headers, body })
      return {
        status: reply.statusCode,
        cache: reply.headers['cache-control'],
        body: await reply.body.json(),
      }
    }
    const form = new URLSearchParams({ token, token_type_hint: 'access_token' }).toString()
    for (const [type, body] of [
      [formType, form],
      [`${formType};charset=UTF-8`, form],
      ['application/json', JSON.stringify({ token })],
    ] as const) {
      t.match(await post(type, body), { status: 200, cache: 'no-store', body: { active: true } }, type)
    }
    for (const [type, body, status] of [
      [formType, `${form}&token=x`, 400],
      [formType, 'token_type_hint=x', 400],
      [formType, 'token=', 400],
      [formType, `token=${'a'.repeat(limits.tokenCharsMax + 1)}`, 400],
      [formType, 'token=a&scope=b', 400],
      [formType, `token=${'a'.repeat(limits.bodyBytesMax)}`, 413],
      ['application/json', '{"token":1}', 400],
      ['application/json', '{"token":"a","token":"b"}', 400],
      ['application/json', '', 400],
      ['text/plain', token, 415],
    ] as const) {
      t.equal((await post(type, body)).status, status, `${type} ${body.slice(0, 30)}`)
    }
    const refused = await post(formType, `${form}&token=x`, bare).catch(() => undefined)
    t.ok(refused === undefined || refused.status === 403, 'without a certificate the form is not looked at')
  },
)

t.test('a token is remembered, its end and its owner are not: they are looked at every time', async (t) => {
  const clock = manualClock(systemClock.now())
  const endS = Math.floor(clock.now() / 1000) + 10
  const claims = { aud: 'urn:vouchsafe:carrier:swift-crane', jti: 'one', exp: endS } as SignedAnswerClaims
  let asked = 0
  const readAnswer = async (token: string) => {
    asked++
    return token.startsWith('good') ? claims : undefined
  }
  const revoked = new Set<string>()
  let fresh = true
  const isRevoked = (jti: string) => revoked.has(jti)
  const { introspect, size } = createIntrospection({ readAnswer, clock, isRevoked, isNewsFresh: () => fresh })
  for (let i = 0; i < 3; i++) t.match(await introspect('good', 'swift-crane'), '"active":true')
  t.equal(asked, 1)
  t.equal(await introspect('good', 'river-post'), undefined)
  for (let i = 0; i < 3; i++) t.equal(await introspect('bad', 'swift-crane'), undefined)
  t.equal(asked, 4, 'what is wrong is never remembered')
  fresh = false
  await t.rejects(introspect('good', 'swift-crane'), { code: 'bureau_unavailable' })
  t.equal(await introspect('bad', 'swift-crane'), undefined, 'a wrong one is wrong whatever the news')
  asked--
  fresh = true
  clock.advance(endS * 1000 - clock.now() - 1)
  t.match(await introspect('good', 'swift-crane'), '"active":true')
  clock.advance(1)
  t.equal(await introspect('good', 'swift-crane'), undefined, 'at its end')
  t.equal(asked, 4)
  for (let i = 0; i < 2 * limits.tokensKnownMax; i++) await introspect(`good ${i}`, 'swift-crane')
  t.ok(size() > limits.tokensKnownMax * 0.9 && size() <= limits.tokensKnownMax, `${size()} are remembered`)
})

t.test('what does not fit a row is true all the same, and is read anew each time', async (t) => {
  const clock = manualClock(systemClock.now())
  const exp = Math.floor(clock.now() / 1000) + 10
  const fixed = { aud: 'urn:vouchsafe:carrier:swift-crane', jti: 'one', exp }
  for (const iss of ['https://é.test', `https://${'a'.repeat(700)}.test`]) {
    let asked = 0
    const readAnswer = async () => {
      asked++
      return { ...fixed, iss } as SignedAnswerClaims
    }
    const { introspect, read, size } = createIntrospection({
      ...{ readAnswer, clock },
      ...{ isRevoked: () => false, isNewsFresh: () => true },
    })
    for (let i = 0; i < 3; i++) t.match(JSON.parse((await introspect('a', 'swift-crane')) ?? ''), { iss })
    t.same(await read('a', 'swift-crane'), { iss, ...fixed })
    t.equal(asked, 4)
    t.equal(size(), 0)
  }
})

t.test('a token that is being checked while a key goes is not remembered past that', async (t) => {
  const clock = manualClock(systemClock.now())
  const exp = Math.floor(clock.now() / 1000) + 10
  const claims = { aud: 'urn:vouchsafe:carrier:swift-crane', jti: 'one', exp } as SignedAnswerClaims
  let keyIsHere = true
  let goOn = () => {}
  const readAnswer = async () => {
    const found = keyIsHere ? claims : undefined
    await new Promise<void>((resolve) => {
      goOn = resolve
    })
    return found
  }
  const { introspect, forget, size } = createIntrospection({
    ...{ readAnswer, clock },
    ...{ isRevoked: () => false, isNewsFresh: () => true },
  })
  const asked = introspect('good', 'swift-crane')
  keyIsHere = false
  forget()
  goOn()
  t.match(await asked, '"active":true', 'asked while the key was there')
  t.equal(size(), 0)
  const again = introspect('good', 'swift-crane')
  goOn()
  t.equal(await again, undefined)
})
