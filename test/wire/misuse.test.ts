// Misuse and canaries against whole gateways, and counts that several gateways share in one Redis.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/base/clock.ts'
import { personAt } from '../../src/bureau-mock/people.ts'
import { printReading } from '../../src/card/reading.ts'
import { loadKeks } from '../../src/keys/kek.ts'
import { Keyring } from '../../src/keys/keyring.ts'
import { openRow, parsePrivate } from '../../src/ledger/entry.ts'
import { changesAfter } from '../../src/registry/changes.ts'
import type { Device } from '../../src/sdk/device.ts'
import { type CardHolder, issueCard, readCard } from '../../src/simulator/cards.ts'
import { canaryOf } from '../../src/verify/canary.ts'
import { createMisuse } from '../../src/verify/misuse.ts'
import { parcelOf, startTestGateway, type TestGateway } from '../helpers/gateway.ts'
import { hasRedis, RedisServer } from '../helpers/redis-server.ts'
import { openRedisStore, startRedis } from '../helpers/redis-store.ts'

type Line = { level: number; alert?: string; device?: string; index?: number; msg: string }

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const linesOf = (g: TestGateway) => g.lines.map((line) => JSON.parse(line) as Line)
const alertsOf = (g: TestGateway) => linesOf(g).filter(({ alert }) => alert !== undefined)

/** What was counted after the last answer is counted now. */
const counted = () => sleep(100)

const prepare = async (g: TestGateway, device: Device, name: string) =>
  (await device.prepare(parcelOf(), (context) => g.cardNamed(name).readChip(context))).body

/** The acts by which the gateway itself suspended somebody. */
async function suspensionsOf(g: TestGateway) {
  const acts = (await changesAfter(g.db, 0, 1000)).map(({ operator, act }) => ({
    operator,
    ...JSON.parse(act),
  }))
  return acts.filter(({ act }) => act === 'device.suspend')
}

/** So many cards at once; each must get a no. */
async function refuse(t: Test, g: TestGateway, device: Device, count: number) {
  const bodies = []
  for (let i = 0; i < count; i += 1) bodies.push(await prepare(g, device, i % 2 ? 'forged' : 'expired'))
  const given = await Promise.all(bodies.map((body) => device.send(body)))
  t.ok(
    given.every(({ answer }) => answer === 'no'),
    `${count} are refused`,
  )
  await counted()
  return bodies
}

async function metricOf(g: TestGateway, line: RegExp): Promise<number> {
  const credentials = Buffer.from(`${g.first.operator?.name}:${g.first.operator?.secret}`).toString('base64')
  const response = await fetch(`http://127.0.0.1:${g.ports.operator}/metrics`, {
    headers: { authorization: `Basic ${credentials}` },
  })
  return Number(line.exec(await response.text())?.[1] ?? 0)
}

function movingClock() {
  let ahead = 0
  const skip = (ms: number) => {
    ahead += ms
  }
  return { now: () => systemClock.now() + ahead, mono: () => systemClock.mono(), skip }
}

t.test(
  'the 20th refusal suspends the device, once; a yes, a retry and an error are no refusals',
  async (t) => {
    const g = await startTestGateway(t, { DEVICE_REFUSALS: '20' })
    const device = await g.openDevice()
    const bodies = await refuse(t, g, device, 19)
    for (const body of bodies.slice(0, 5)) {
      const again = await device.post('/v1/verify', body)
      t.same([again.body['answer'], again.headers['idempotent-replayed']], ['no', 'true'])
    }
    for (let i = 0; i < 5; i += 1) {
      const good = await prepare(g, device, 'valid')
      t.equal((await device.send(good)).answer, 'yes')
      const reply = await device.post('/v1/verify', { ...good, sealed: bodies[0]?.sealed })
      t.equal(reply.body['code'], 'seal_rejected')
    }
    await g.knobs.setFaults({ errorRate: 1 })
    const undecided = await device.post('/v1/verify', await prepare(g, device, 'valid'))
    t.equal(undecided.body['code'], 'bureau_unavailable')
    await g.knobs.clearFaults()
    await counted()
    t.same([alertsOf(g), await suspensionsOf(g)], [[], []], '19 do not')
    const [last, later] = [await prepare(g, device, 'forged'), await prepare(g, device, 'valid')]
    t.equal((await device.send(last)).answer, 'no')
    await counted()
    const [alert, ...more] = alertsOf(g)
    t.match(alert, { level: 40, alert: 'device_refusals', msg: 'device misused' })
    t.match(alert?.device, /^[\w-]{22}$/)
    t.same(more, [])
    t.match(await suspensionsOf(g), [
      { operator: 'system:misuse', device: alert?.device, reason: 'refusals' },
    ])
    await sleep(1000)
    t.equal((await device.post('/v1/verify', later)).body['code'], 'device_inactive', 'within a second')
    t.equal(await metricOf(g, /vouchsafe_alerts_total\{kind="device_refusals"\} (\d+)/), 1)
  },
)

t.test('refusals eleven minutes apart do not add up', async (t) => {
  const clock = movingClock()
  const g = await startTestGateway(t, { DEVICE_REFUSALS: '6' }, clock)
  const device = await g.openDevice()
  await refuse(t, g, device, 5)
  clock.skip(660_000)
  await sleep(1000) // The registry's news must be of after the skip.
  await device.logIn() // Its challenges have ended.
  await refuse(t, g, device, 5)
  t.same(alertsOf(g), [])
  await refuse(t, g, device, 1)
  t.equal(alertsOf(g).length, 1)
})

t.test('far more people than a device may see suspend it', async (t) => {
  const g = await startTestGateway(t, { DEVICE_PEOPLE_PER_DAY: '3' })
  const device = await g.openDevice()
  for (const card of ['valid', 'expired', 'unknown'].map((name) => g.cardNamed(name))) {
    for (let again = 0; again < 3; again += 1) await device.verify(parcelOf(), (c) => card.readChip(c))
  }
  for (let i = 0; i < 5; i += 1) await device.send(await prepare(g, device, 'forged'))
  await counted()
  t.same(alertsOf(g), [], 'nobody is known of a forged card')
  await device.send(await prepare(g, device, 'valid'))
  await counted()
  t.match(alertsOf(g), [{ level: 40, alert: 'device_people', count: 4, limit: 3 }])
  t.match(await suspensionsOf(g), [{ reason: 'people' }])
})

t.test('64 refusals at once are one suspension and one alert', async (t) => {
  const g = await startTestGateway(t, { DEVICE_REFUSALS: '20' })
  const device = await g.openDevice()
  const bodies = []
  for (let i = 0; i < 64; i += 1) bodies.push(await prepare(g, device, 'forged'))
  const replies = await Promise.allSettled(bodies.map((body) => device.post('/v1/verify', body)))
  const refused = replies.filter(
    (reply) => reply.status === 'fulfilled' && reply.value.body['answer'] === 'no',
  )
  t.ok(refused.length >= 20, `${refused.length} got their no, the others were cut off with the device`)
  await counted()
  t.same([alertsOf(g).length, (await suspensionsOf(g)).length], [1, 1])
})

t.test('over two stores on one Redis refusals and people add up, and one of them suspends', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis(t)
  const suspended: string[] = []
  const nodeOf = async (name: string) => {
    const { store } = await openRedisStore(t, { server })
    const secret = { cacheKey: () => undefined }
    return createMisuse({
      ...{ clock: systemClock, counters: store, ...secret, misuseLimits: { refusals: 20, people: 0 } },
      suspendDevice: async (_, reason) => void suspended.push(`${name} ${reason}`),
      alert: () => {},
      onStoreLost: (cause) => t.fail(String(cause)),
    })
  }
  const [a, b] = [await nodeOf('a'), await nodeOf('b')]
  const released = { device: randomBytes(16), refused: true, person: undefined }
  for (let i = 0; i < 9; i += 1) await Promise.all([a.note(released), b.note(released)])
  await a.note(released)
  t.same(suspended, [], '10 here and 9 there')
  await b.note(released)
  t.same(suspended, ['b refusals'])
})

t.test('a Redis that is gone stops neither answers nor counting', async (t) => {
  if (!hasRedis(t)) return
  const redis = await RedisServer.start()
  t.teardown(() => redis.close())
  const g = await startTestGateway(t, { REDIS_URL: redis.url, DEVICE_REFUSALS: '6' })
  const device = await g.openDevice()
  await refuse(t, g, device, 3)
  await redis.kill()
  await sleep(200)
  t.equal((await device.send(await prepare(g, device, 'valid'))).answer, 'yes')
  await refuse(t, g, device, 2)
  t.same(alertsOf(g), [])
  await refuse(t, g, device, 1)
  t.match(alertsOf(g), [{ alert: 'device_refusals' }], 'three before and three after')
})

const canary = personAt('vouchsafe-test', 4242) as CardHolder

/** A card of the canary as only a document signer can make it. */
function cardOf(g: TestGateway, holder: CardHolder) {
  const card = issueCard(holder, g.signer, { signedMs: g.clock.now() - 60_000 })
  return { readChip: (context: Parameters<typeof readCard>[1]) => printReading(readCard(card, context)) }
}

async function openPrivate(g: TestGateway, index: number) {
  const keyring = await Keyring.open({
    ...{ file: join(g.dataDir, 'keyring.db'), keks: loadKeks(g.certsDir), clock: g.clock },
  })
  const ledger = new DatabaseSync(join(g.dataDir, 'ledger.db'), { readOnly: true })
  const row = ledger.prepare('select day, blob from private_rows where idx = ?').get(index) as {
    day: number
    blob: Uint8Array
  }
  const plain = openRow(await keyring.ofDay('record', row.day), row.day, Buffer.from(row.blob))
  await keyring.close()
  ledger.close()
  return plain && parsePrivate(plain)
}

const claimsOf = (token: string) =>
  JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Record<string, unknown>

t.test('a canary gets a no like all others, unasked and uncached, and is an alert of its own', async (t) => {
  if (!hasRedis(t)) return
  const redis = await RedisServer.start()
  t.teardown(() => redis.close())
  const CANARIES = canaryOf('ID', 'CHN', canary.number)
  const g = await startTestGateway(t, { CANARIES, REDIS_URL: redis.url })
  const device = await g.openDevice()
  const good = await prepare(g, device, 'valid')
  const no = await prepare(g, device, 'expired')
  const { body } = await device.prepare(parcelOf(), (context) => cardOf(g, canary).readChip(context))
  const late = { ...canary, validFrom: '20090301', validTo: '20190301' }
  const expired = await device.prepare(parcelOf(), (context) => cardOf(g, late).readChip(context))

  const first = await device.post('/v1/verify', body)
  const second = await device.post('/v1/verify', expired.body)
  await counted()
  const reads = await redis.command('INFO', 'commandstats')
  t.notMatch(reads, /cmdstat_mget:calls=/, 'the cache was not read')
  t.equal(await redis.command('KEYS', 'v1:c:*'), '', 'nor written')
  t.equal(Number((await g.knobs.seen())['questions']), 0, 'and the bureau not asked')
  const other = await device.post('/v1/verify', no)
  t.equal((await device.send(good)).answer, 'yes', 'others are asked for as ever')
  await counted()
  t.match(await redis.command('INFO', 'commandstats'), /cmdstat_mget:calls=1/)

  const shapeOf = (reply: typeof first) => ({
    ...{ status: reply.status, fields: Object.keys(reply.body), answer: reply.body['answer'] },
    headers: Object.keys(reply.headers).sort(),
    claims: Object.keys(claimsOf(String(reply.body['token']))),
  })
  for (const reply of [first, second]) {
    t.same(shapeOf(reply), shapeOf(other), 'one cannot be told from the other')
    const { length } = String(reply.body['token'])
    t.ok(Math.abs(length - String(other.body['token']).length) <= 8)
  }
  const indices = [first, second].map((reply) => Number(claimsOf(String(reply.body['token']))['index']))
  for (const index of indices)
    t.match(await openPrivate(g, index), { refusal: 33, transaction: Buffer.alloc(16) })

  const alerts = alertsOf(g)
  t.match(
    alerts,
    indices.map((index) => ({ level: 50, alert: 'canary', index, device: /^[\w-]{22}$/ })),
  )
  t.equal(alerts.length, 2)
  for (const text of [canary.number, canary.name, canary.number.slice(6, 14), CANARIES]) {
    t.notOk(g.lines.join('').includes(text), 'no line names the person')
  }
  t.equal(await metricOf(g, /vouchsafe_alerts_total\{kind="canary"\} (\d+)/), 2)
})

t.test('a canary is held as long as each other no', async (t) => {
  const g = await startTestGateway(t, { CANARIES: canaryOf('ID', 'CHN', canary.number) })
  const device = await g.openDevice()
  const least: Record<string, number> = {}
  for (let i = 0; i < 5; i += 1) {
    for (const name of ['canary', 'forged', 'expired', 'unknown']) {
      const card = name === 'canary' ? cardOf(g, canary) : g.cardNamed(name)
      const { body } = await device.prepare(parcelOf(), (context) => card.readChip(context))
      const from = g.lines.length
      await device.send(body)
      least[name] = Math.min(least[name] ?? 9999, await heldMs(g.lines, from))
    }
  }
  const held = Object.values(least)
  t.ok(Math.min(...held) >= 149, `none before 150 ms, but for a timer's rounding: ${JSON.stringify(least)}`)
  t.ok(Math.max(...held) - Math.min(...held) < 45, `within one step of the grid: ${JSON.stringify(least)}`)
})

/** How long the gateway says that the one answer after line `from` took. */
async function heldMs(lines: string[], from: number): Promise<number> {
  for (;;) {
    for (const line of lines.slice(from)) {
      const { msg, route, ms } = JSON.parse(line) as { msg: string; route?: string; ms: number }
      if (msg === 'request done' && route === '/v1/verify') return ms
    }
    await sleep(1) // Logged when the last byte has left.
  }
}

t.test('without the setting the same card is a yes', async (t) => {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  const given = await device.verify(parcelOf(), (context) => cardOf(g, canary).readChip(context))
  t.equal(given.answer, 'yes')
})
