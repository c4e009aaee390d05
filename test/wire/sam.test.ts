// A gateway and the simulated SAM service in a process of its own: yes for a card that it read for this very request,
// no for everything that it did not, and an error, with the challenge unburnt, while it cannot be asked.
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { ChipContext } from '../../src/card/verdict.ts'
import type { Device } from '../../src/sdk/device.ts'
import type { CardHolder } from '../../src/simulator/cards.ts'
import { prepareSlowly, printSamReading, readThroughSam } from '../../src/simulator/sam.ts'
import { parcelOf, startTestGateway, type TestGateway } from '../helpers/gateway.ts'
import { type SamProcess, samKnobs, samTls, startSam } from '../helpers/sam.ts'

/** A port that was free just now: the gateway is told of it before the service is there. */
async function freePort(): Promise<string> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return String(port)
}

type Scene = {
  g: TestGateway
  sam: SamProcess
  device: Device
  knobs: ReturnType<typeof samKnobs>
  holder(): CardHolder
  read(context: ChipContext, holder?: CardHolder): Promise<Buffer>
}

async function startScene(t: Test): Promise<Scene> {
  const port = await freePort()
  const g = await startTestGateway(t, { SAM_URL: `https://localhost:${port}` })
  const sam = await startSam(t, g.certsDir, port)
  const device = await g.openDevice()
  const place = { url: sam.url, tls: samTls(g.certsDir, 'sam-reader') }
  const holder = () => g.cardNamed('valid').holder
  return {
    ...{ g, sam, device, holder },
    knobs: samKnobs(sam.url, g.certsDir),
    read: (context, of = holder()) => readThroughSam(of, context, place),
  }
}

const shown = ({ status, body }: { status: number; body: Record<string, unknown> }) =>
  status === 200 ? String(body['answer']) : `${status} ${body['code']}`

/** Sends what `read` makes for a new challenge. */
async function answerTo(device: Device, read: (context: ChipContext) => Promise<Buffer>): Promise<string> {
  const { body } = await prepareSlowly(device, parcelOf(), read)
  return shown(await device.post('/v1/verify', body))
}

t.test('a card read through the SAM for this request is answered yes', async (t) => {
  const { g, device, read, knobs } = await startScene(t)
  const { body } = await prepareSlowly(device, parcelOf(), read)
  const reply = await device.post('/v1/verify', body)
  t.equal(shown(reply), 'yes')
  const again = await device.post('/v1/verify', body)
  t.equal(shown(again), 'yes', 'the same bytes again')
  t.equal(again.headers['idempotent-replayed'], 'true')
  t.same(await knobs.seen(), { reads: 1, records: 2, found: 2 })
  t.equal(await answerTo(device, (context) => read(context, g.cardNamed('expired').holder)), 'no', 'expired')
  t.equal(await answerTo(device, (context) => read(context, g.cardNamed('unknown').holder)), 'no', 'unknown')
})

t.test('what the SAM did not read for this very request is answered no', async (t) => {
  const { device, read, knobs } = await startScene(t)
  let used: Buffer = Buffer.alloc(0)
  t.equal(
    await answerTo(device, async (context) => {
      used = await read(context)
      return used
    }),
    'yes',
  )
  t.equal(await answerTo(device, async () => used), 'no', 'a transaction that was used')
  t.equal(await answerTo(device, async () => printSamReading(randomBytes(32))), 'no', 'one that never was')
  const others: [string, Partial<ChipContext>][] = [
    ['challenge', { challenge: randomBytes(42) }],
    ['parcel', { parcel: randomBytes(32) }],
    ['device', { device: randomBytes(16) }],
    ['carrier', { carrier: 'river-post' }],
  ]
  for (const [what, changes] of others) {
    t.equal(await answerTo(device, (context) => read({ ...context, ...changes })), 'no', `another ${what}`)
  }
  const faults: [string, object][] = [
    ['a forged attestation', { forged: true }],
    ['a reading of long ago', { clockMs: -700_000 }],
    ['a reading of the future', { clockMs: 60_000 }],
  ]
  for (const [what, fault] of faults) {
    await knobs.setFaults(fault)
    t.equal(await answerTo(device, (context) => read(context)), 'no', what)
  }
  await knobs.clearFaults()
  t.equal(await answerTo(device, (context) => read(context)), 'yes', 'and then it goes on')
})

t.test('an honest reading is not used up by others who name its transaction', async (t) => {
  const { device, read } = await startScene(t)
  let stolen: Buffer = Buffer.alloc(0)
  const { body: own } = await prepareSlowly(device, parcelOf(), async (mine) => {
    stolen = await read(mine)
    return stolen
  })
  t.equal(await answerTo(device, async () => stolen), 'no', 'named first by a thief')
  t.equal(shown(await device.post('/v1/verify', own)), 'yes')
})

t.test('while the service fails nothing is answered, and the same bytes are once it is back', async (t) => {
  const { g, device, read, knobs } = await startScene(t)
  const faults: [string, object][] = [
    ['errors', { error: true }],
    ['garbage', { garbage: 'json' }],
    ['no HTTP', { garbage: 'http' }],
    ['too much', { oversized: true }],
    ['cut connections', { down: true }],
    ['silence', { silent: true }],
    ['an answer that is too late', { delayMs: 2000 }],
  ]
  for (const [what, fault] of faults) {
    const { body } = await prepareSlowly(device, parcelOf(), read)
    await knobs.setFaults(fault)
    const began = performance.now()
    const reply = await device.post('/v1/verify', body)
    t.equal(shown(reply), '503 sam_unavailable', what)
    t.equal(reply.body['retry'], 'same')
    t.equal(reply.headers['retry-after'], '1')
    t.ok(performance.now() - began < 2500, `within the request: ${Math.round(performance.now() - began)} ms`)
    await knobs.clearFaults()
    t.equal(shown(await device.post('/v1/verify', body)), 'yes', `${what}: over`)
  }
  const lines = (message: string) => g.lines.filter((line) => line.includes(`"${message}"`)).length
  t.equal(lines('sam service failed'), faults.length, 'one line each')
  t.equal(lines('sam service answers again'), faults.length)
})

t.test('a service that hangs or was killed is no answer either, and comes back', async (t) => {
  const { g, sam, device, read } = await startScene(t)
  const bodies = await Promise.all(
    Array.from({ length: 40 }, async () => (await prepareSlowly(device, parcelOf(), read)).body),
  )
  sam.child.kill('SIGSTOP')
  const hung = await Promise.all(bodies.map((body) => device.post('/v1/verify', body)))
  t.same([...new Set(hung.map(shown))], ['503 sam_unavailable'], 'hung')
  const card = g.cardNamed('valid')
  t.equal((await device.verify(parcelOf(), (c) => card.readChip(c))).answer, 'yes', 'other cards go on')
  sam.child.kill('SIGCONT')
  let back = ''
  for (let tries = 0; tries < 20 && back !== 'yes'; tries++) {
    await sleep(100)
    back = shown(await device.post('/v1/verify', bodies[0]))
  }
  t.equal(back, 'yes', 'goes on')
  const all = await Promise.all(bodies.map((body) => device.post('/v1/verify', body)))
  t.same([...new Set(all.map(shown))], ['yes'])
  sam.child.kill('SIGKILL')
  await sam.ended
  const { body } = await prepareSlowly(device, parcelOf(), async () => printSamReading(randomBytes(32)))
  t.equal(shown(await device.post('/v1/verify', body)), '503 sam_unavailable', 'killed')
  await startSam(t, g.certsDir, sam.port)
  t.equal(shown(await device.post('/v1/verify', body)), 'no', 'started again: it knows of no such reading')
  t.equal(await answerTo(device, (context) => read(context)), 'yes')
})

t.test('without SAM_URL such a reading is malformed', async (t) => {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  t.equal(await answerTo(device, async () => printSamReading(randomBytes(32))), '422 reading_malformed')
})
