// A session: each check that refuses one, in its order; the exact retry; a challenge that is burnt.
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import t, { type Test } from 'tap'
import { parseBase64url } from '../../src/base/bytes.ts'
import { manualClock } from '../../src/base/clock.ts'
import { signP256 } from '../../src/base/p256.ts'
import { signedSession } from '../../src/channel/session.ts'
import { readDemoDevice } from '../../src/development.ts'
import { suspendCarrier } from '../../src/registry/carriers.ts'
import { Device, type Reply } from '../../src/sdk/device.ts'
import { Reader, type SessionBody } from '../../src/sdk/reader.ts'
import { startTestGateway, type TestGateway } from '../helpers/gateway.ts'

const bytes = (text: string) => parseBase64url(text) as Buffer

/** A courier app that logs in by hand: the body is made here and may be spoilt before it is signed. */
async function open(t: Test, g: TestGateway, firmware = 7) {
  const registered = readDemoDevice(g.dataDir)
  const deviceKey = createPrivateKey(registered.key)
  const directoryKey = createPublicKey(g.file('directory.pub'))
  const reader = new Reader({ device: bytes(registered.id), deviceKey, directoryKey, firmware })
  const ca = g.file('gateway-ca.crt')
  const device = new Device({ url: g.url, ca, reader, now: () => g.clock.now() })
  t.teardown(() => device.close())
  await device.logIn() // Takes the directory.
  async function body(
    change: (body: SessionBody) => Partial<SessionBody> = () => ({}),
  ): Promise<SessionBody> {
    const given = await device.post('/v1/challenges', { purpose: 'session', device: registered.id })
    const made = reader.openSession(bytes(String(given.body['challenge'])), g.clock.now())
    const bent = { ...made, ...change(made) }
    return { ...bent, signature: sign(bent, deviceKey).toString('base64url') }
  }
  const logIn = (body: SessionBody): Promise<Reply> => device.post('/v1/sessions', body)
  return { body, logIn, registered }
}

const sign = (body: SessionBody, key: Parameters<typeof signP256>[0]) =>
  signP256(
    key,
    signedSession({
      device: bytes(body.device),
      recipient: bytes(body.recipient),
      enc: bytes(body.enc),
      challenge: bytes(body.challenge),
      firmware: body.firmware,
      courier: bytes(body.courier),
    }),
  )

const codeOf = (reply: Reply) => [reply.status, reply.body['code']]

t.test('each check of a session refuses with its own code', async (t) => {
  const g = await startTestGateway(t, { MIN_FIRMWARE: '5' })
  const { body, logIn } = await open(t, g)
  const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  const other = Buffer.alloc(16, 9).toString('base64url')
  const hybrid = (enc: string) => Buffer.concat([Buffer.of(6), bytes(enc).subarray(1)]).toString('base64url')
  const offCurve = (enc: string) =>
    Buffer.concat([bytes(enc).subarray(0, 64), Buffer.of(bytes(enc).readUInt8(64) ^ 1)]).toString('base64url')
  const good = await body()
  const table: [what: string, sent: SessionBody, status: number, code: string][] = [
    ['a recipient nobody has', await body(() => ({ recipient: 'AAAAAAAAAAA' })), 422, 'recipient_unknown'],
    ['a bent challenge', await body((b) => ({ challenge: bend(b.challenge, 12) })), 422, 'challenge_invalid'],
    ['a challenge of another device', await body(() => ({ device: other })), 422, 'challenge_invalid'],
    ['firmware too old', await body(() => ({ firmware: 4 })), 403, 'firmware_too_old'],
    [
      'a stranger’s signature',
      { ...good, signature: sign(good, stranger).toString('base64url') },
      401,
      'signature_invalid',
    ],
    ['another courier than was signed', { ...good, courier: other }, 401, 'signature_invalid'],
    [
      'r and s of zero',
      { ...good, signature: Buffer.alloc(64).toString('base64url') },
      401,
      'signature_invalid',
    ],
    ['a hybrid point', await body((b) => ({ enc: hybrid(b.enc) })), 422, 'enc_invalid'],
    ['a point off the curve', await body((b) => ({ enc: offCurve(b.enc) })), 422, 'enc_invalid'],
    ['a shorter signature', { ...good, signature: good.signature.slice(4) }, 400, 'malformed'],
    ['firmware as text', { ...good, firmware: '7' as never }, 400, 'malformed'],
  ]
  for (const [what, sent, status, code] of table) t.same(codeOf(await logIn(sent)), [status, code], what)
  const reply = await logIn(good)
  t.equal(reply.status, 200, 'the good one was spoilt by none of them')
  t.same(Object.keys(reply.body).sort(), ['carrier', 'challenge', 'count', 'expiresIn', 'token'])
})

const bend = (text: string, at: number) => {
  const raw = Buffer.from(text, 'base64url')
  raw.writeUInt8(raw.readUInt8(at) ^ 1, at)
  return raw.toString('base64url')
}

t.test('an exact retry gets the same session and a fresh batch, and no second entry', async (t) => {
  const g = await startTestGateway(t)
  const { body, logIn } = await open(t, g)
  const sent = await body()
  const first = await logIn(sent)
  const again = await logIn(sent)
  t.equal(first.headers['idempotent-replayed'], undefined)
  t.equal(again.headers['idempotent-replayed'], 'true')
  const claims = (reply: Reply) =>
    JSON.parse(Buffer.from(String(reply.body['token']).split('.')[1] ?? '', 'base64url').toString())
  const [a, b] = [claims(first), claims(again)]
  t.same([a.sid, a.iat, a.exp], [b.sid, b.iat, b.exp])
  t.not(first.body['challenge'], again.body['challenge'])
  t.not(a.key, b.key, 'sealed anew')
  const other = await body()
  t.same(codeOf(await logIn({ ...other, challenge: sent.challenge })), [401, 'signature_invalid'])
})

t.test('another request on a used challenge is refused, a wrong point burns its challenge', async (t) => {
  const g = await startTestGateway(t)
  const { body, logIn, registered } = await open(t, g)
  const key = createPrivateKey(registered.key)
  const resign = (b: SessionBody) => ({ ...b, signature: sign(b, key).toString('base64url') })
  const used = await body()
  t.equal((await logIn(used)).status, 200)
  t.same(codeOf(await logIn(resign({ ...used, firmware: 8 }))), [409, 'challenge_used'])
  const good = await body()
  const bad = resign({ ...good, enc: Buffer.concat([Buffer.of(4), Buffer.alloc(64)]).toString('base64url') })
  t.same(codeOf(await logIn(bad)), [422, 'enc_invalid'])
  t.same(codeOf(await logIn(good)), [409, 'challenge_used'], 'burnt')
})

t.test('a suspended carrier logs nobody in', async (t) => {
  const g = await startTestGateway(t)
  const { body, logIn, registered } = await open(t, g)
  const act = { id: registered.carrier, operator: 'founder', reason: 'test', nowMs: g.clock.now() }
  const sent = await body()
  await suspendCarrier(g.db, act)
  await new Promise((resolve) => setTimeout(resolve, 1000))
  t.same(codeOf(await logIn(sent)), [403, 'carrier_suspended'])
})

t.test('an address beyond its rate is told the limit and when to come again', async (t) => {
  const g = await startTestGateway(t, { ADDRESS_RATE: '300' }, manualClock(Date.now()))
  const { logIn, body } = await open(t, g) // Takes three of the burst of five.
  const sent = await body()
  const replies = await Promise.all(Array.from({ length: 6 }, () => logIn(sent)))
  const limited = replies.filter((reply) => reply.status === 429)
  t.equal(limited.length, 4)
  for (const { body, headers } of limited) {
    t.equal(body['code'], 'rate_limited')
    t.equal(headers['ratelimit-policy'], '"address";q=300;w=60')
    t.match(headers['ratelimit'], /^"address";r=0;t=\d+$/)
    t.equal(headers['retry-after'], '1')
  }
})
