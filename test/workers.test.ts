// Several workers of one gateway: one ledger, one store, the same ports; one that dies is replaced; what one learns of
// revocation counts for the tickets of all.
import { X509Certificate } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { servingOf } from '../load/cpu.ts'
import { dealCards, makeHandhelds, prepare } from '../load/handhelds.ts'
import { dealt, rates } from '../load/stage.ts'
import { systemClock } from '../src/base/clock.ts'
import { startGateway } from '../src/gateway-process.ts'
import { prepareReader } from '../src/ledger/reader.ts'
import { openLedgerReadOnly } from '../src/ledger/sqlite.ts'
import { revokeCertificate } from '../src/registry/certificates.ts'
import { openRegistry } from '../src/registry/schema.ts'
import type { Device } from '../src/sdk/device.ts'
import type { DeckCard } from '../src/simulator/deck.ts'
import { shake, sleep, until } from './helpers/carrier-calls.ts'
import { hasRedis, RedisServer } from './helpers/redis-server.ts'

async function open(t: Test) {
  const redis = await RedisServer.start()
  t.teardown(() => redis.close())
  const root = t.testdir()
  const [dataDir, certsDir] = [join(root, 'data'), join(root, 'certs')]
  const env = { ...rates, REDIS_URL: redis.url, WORKERS: '2' }
  const gateway = await startGateway({ dataDir, certsDir, env })
  t.teardown(() => gateway.close())
  const db = await openRegistry(join(dataDir, 'registry.db'))
  t.teardown(() => db.destroy())
  const workers = () => servingOf(gateway.pid)
  const secret = /secret (\S+)/.exec(gateway.output())?.[1] ?? ''
  return { gateway, dataDir, certsDir, db, workers, secret, redisUrl: redis.url }
}
type Opened = Awaited<ReturnType<typeof open>>

async function metric({ gateway, secret }: Opened, name: string): Promise<number> {
  const auth = `Basic ${Buffer.from(`founder:${secret}`).toString('base64')}`
  const text = await (await fetch(`${gateway.operator}/metrics`, { headers: { authorization: auth } })).text()
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
}

const claimsOf = (token: unknown) =>
  JSON.parse(Buffer.from(String(token).split('.')[1] ?? '', 'base64url').toString()) as Record<
    string,
    unknown
  >

t.test('two workers are one gateway', async (t) => {
  if (!hasRedis(t)) return
  const g = await open(t)
  const { gateway, dataDir, certsDir, db, workers } = g
  const place = { url: gateway.device, certsDir, clock: systemClock }
  const devices = await makeHandhelds(place, db, 20) // Each has a connection of its own, to one worker or the other.
  t.teardown(() => Promise.all(devices.map((device) => device.close())))
  const cards = dealCards(place, 3)
  const pair = workers()
  t.equal(pair.length, 2)

  await t.test('answers are right, each in the one ledger once, and counted together', async (t) => {
    const asked = await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        const device = dealt(devices, i)
        const { body, expected } = await prepare(device, dealt(cards, i))
        const reply = await device.post('/v1/verify', JSON.parse(body))
        return { expected, answer: reply.body['answer'], claims: claimsOf(reply.body['token']) }
      }),
    )
    for (const { expected, answer } of asked) if (answer !== expected) t.fail(`${answer}, not ${expected}`)
    t.equal(new Set(asked.map(({ claims }) => claims['index'])).size, 100, 'an index each')
    const file = openLedgerReadOnly(join(dataDir, 'ledger.db'))
    const reader = prepareReader(file)
    for (const { claims } of asked) {
      const leaf = reader.readEntry(Number(claims['index']))?.leaf.toString('base64url')
      if (leaf !== claims['leaf']) t.fail(`entry ${claims['index']} has another leaf`)
    }
    file.close()
    t.equal(await metric(g, 'vouchsafe_answers_total'), 100, 'of both workers')
    t.equal(await metric(g, 'vouchsafe_ready_parts{part="ledger"}'), 1, 'not added up')
  })

  await t.test(
    'a retry at either has the first answer, and another request for its challenge none',
    async (t) => {
      const [device] = devices
      const { body } = await prepare(device as Device, cards[0] as DeckCard)
      const token = (device as Device).token ?? ''
      const replies = []
      for (const other of devices) {
        const headers = { authorization: `Bearer ${token}` }
        replies.push(await other.postText('/v1/verify', body, headers))
      }
      const all = replies.map((reply) => JSON.stringify(claimsOf(reply.body['token'])))
      t.equal(new Set(all).size, 1, 'twenty connections, one answer')
      const changed = JSON.stringify({ ...JSON.parse(body), parcel: Buffer.alloc(32).toString('base64url') })
      for (const other of devices) {
        const reply = await other.postText('/v1/verify', changed, { authorization: `Bearer ${token}` })
        t.match(reply.body, { code: /^(seal_rejected|challenge_used)$/ })
      }
    },
  )

  await t.test('tickets of one are accepted by the other, and by none after a revocation', async (t) => {
    const port = Number(new URL(gateway.carrier).port)
    const file = (name: string) => join(certsDir, name)
    const as = ['-cert', file('carrier-swift-crane.crt'), '-key', file('carrier-swift-crane.key')]
    const ca = ['-CAfile', file('gateway-ca.crt')]
    const kept = join(t.testdir(), 'session')
    for (const version of ['-tls1_2', '-tls1_3']) {
      await shake(port, [...as, ...ca, version, '-sess_out', kept])
      for (let i = 0; i < 10; i++) {
        const again = await shake(port, [...as, ...ca, version, '-sess_in', kept])
        t.match(again, { resumed: true, status: 200 }, version)
      }
      const river = new X509Certificate(readFileSync(file('carrier-river-post.crt'))).serialNumber
      if (version === '-tls1_3') {
        const how = { operator: 'founder', nowMs: systemClock.now(), reason: 'test' }
        await revokeCertificate(db, { serial: river, ...how })
        await sleep(1000)
        for (let i = 0; i < 10; i++) {
          const after = await shake(port, [...as, ...ca, version, '-sess_in', kept])
          t.match(after, { resumed: false, status: 200 }, 'a whole handshake, for another carrier’s sake')
        }
      }
    }
  })

  await t.test('one that dies is replaced, and no answer is wrong meanwhile', async (t) => {
    const counted = await metric(g, 'vouchsafe_answers_total')
    // A connection to the dead is tried once more; nobody is answered meanwhile who could make up for a fall.
    const isCounted = async () =>
      (await metric(g, 'vouchsafe_answers_total').catch(() => Number.NaN)) >= counted
    process.kill(pair[0] as number, 'SIGKILL')
    await until(t, () => workers().length === 1, 'gone', 5000)
    await until(t, isCounted, 'what it counted stays counted', 5000)
    let answered = 0
    for (let i = 0; i < 40; i++) {
      const device = dealt(devices, i)
      const { body, expected } = await prepare(device, dealt(cards, i)).catch(() => ({
        body: '',
        expected: '',
      }))
      if (body === '') continue // Its connection died with the worker.
      const reply = await device.post('/v1/verify', JSON.parse(body)).catch(() => undefined)
      if (reply?.status !== 200) continue
      answered++
      t.equal(reply.body['answer'], expected)
    }
    t.ok(answered >= 15, `${answered} of 40 answered while one was away`)
    await until(t, () => workers().length === 2 && !workers().includes(pair[0] as number), 'replaced', 20_000)
    await until(
      t,
      async () => (await fetch(`${gateway.operator}/health/ready`)).status === 200,
      'ready',
      10_000,
    )
    await until(t, isCounted, 'also beside its successor', 5000)
  })

  await t.test('a port in use is told, though workers could share it', async (t) => {
    const env = { ...rates, REDIS_URL: g.redisUrl, WORKERS: '2', DEVICE_PORT: new URL(gateway.device).port }
    const data = join(t.testdir(), 'data')
    await t.rejects(startGateway({ dataDir: data, certsDir, env }), /EADDRINUSE/)
  })

  await t.test('workers end with their primary', async (t) => {
    const left = workers()
    await gateway.kill()
    const gone = () => left.every((pid) => !existsSync(`/proc/${pid}/cmdline`))
    await until(t, gone, 'ended', 10_000)
  })
})
