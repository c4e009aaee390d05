// One challenge, one answer: identical and different requests at once, replays, a cache that asks once.
import t from 'tap'
import { parcelOf, startTestGateway } from '../helpers/gateway.ts'

t.test('a hundred identical requests at once: one question, one entry, one answer', async (t) => {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  const card = g.cardNamed('valid')
  await device.verify(parcelOf(), (context) => g.cardNamed('valid').readChip(context))
  const before = Number((await g.knobs.seen())['questions'])
  const { body } = await device.prepare(parcelOf(), (context) => card.readChip(context))
  const replies = await Promise.all(Array.from({ length: 100 }, () => device.post('/v1/verify', body)))
  t.same(new Set(replies.map((reply) => reply.status)), new Set([200]))
  t.same(new Set(replies.map((reply) => reply.body['answer'])), new Set(['yes']))
  const indices = replies.map((reply) => claimsOf(String(reply.body['token'])).index)
  t.equal(new Set(indices).size, 1, 'one entry')
  t.equal(Number((await g.knobs.seen())['questions']), before + 1, 'one question')
  const again = await device.post('/v1/verify', body)
  t.equal(again.headers['idempotent-replayed'], 'true')
  t.equal(claimsOf(String(again.body['token'])).jti, claimsOf(String(replies[0]?.body['token'])).jti)
})

t.test('a hundred different requests on one challenge: one answer, 99 times 409', async (t) => {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  const card = g.cardNamed('valid')
  const { body } = await device.prepare(parcelOf(), (context) => card.readChip(context))
  const bodies = [body]
  for (let i = 1; i < 100; i++)
    bodies.push((await device.again(body, parcelOf(), (c) => card.readChip(c))).body)
  const replies = await Promise.all(bodies.map((each) => device.post('/v1/verify', each)))
  const codes = replies.map((reply) => (reply.status === 200 ? 'answer' : String(reply.body['code'])))
  t.equal(codes.filter((code) => code === 'answer').length, 1)
  t.equal(codes.filter((code) => code === 'challenge_used').length, 99)
})

// A thousand callers of one flight are in test/cache/flight.test.ts; here what two cores seal and open in time.
t.test('fifty requests at once about one person ask the bureau once', async (t) => {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  const card = g.cardNamed('valid')
  const bodies = []
  for (let i = 0; i < 50; i++) bodies.push((await device.prepare(parcelOf(), (c) => card.readChip(c))).body)
  await g.knobs.setFaults({ delayMs: { min: 400, max: 400 } })
  const replies = await Promise.all(bodies.map((body) => device.post('/v1/verify', body)))
  t.equal(replies.filter((reply) => reply.body['answer'] === 'yes').length, 50)
  t.equal((await g.knobs.seen(card.holder.number))['ofNumber'], 1)
})

t.test('a card reported lost is refused within a second, although it was cached as yes', async (t) => {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  const card = g.cardNamed('valid')
  const ask = async () => (await device.verify(parcelOf(), (context) => card.readChip(context))).answer
  t.equal(await ask(), 'yes')
  t.equal(await ask(), 'yes')
  await g.knobs.setStatus(card.holder.number, 'lost')
  await new Promise((resolve) => setTimeout(resolve, 1000))
  t.equal(await ask(), 'no')
})

const claimsOf = (token: string) =>
  JSON.parse(Buffer.from(token.split('.')[1] as string, 'base64url').toString()) as {
    index: number
    jti: string
  }
