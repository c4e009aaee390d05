// Load shed: who is counted, who is refused, and that a place is free again whatever became of its asker.
import { connect } from 'node:net'
import Fastify from 'fastify'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import errors from '../../plugins/errors.ts'
import metricsPlugin, { createMetrics } from '../../plugins/metrics.ts'
import pressure from '../../plugins/pressure.ts'
import requests, { requestOptions } from '../../plugins/requests.ts'
import { systemClock } from '../../src/base/clock.ts'
import { limits } from '../../src/base/limits.ts'

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

function block(ms: number): void {
  const until = performance.now() + ms
  while (performance.now() < until);
}

/** A listener whose one route answers when it is told to; `startMs` of its start block the event loop. */
async function open(t: Test, inFlightMax: number, startMs = 0) {
  const lines: string[] = []
  const log = pino({ level: 'info' }, { write: (line: string) => lines.push(line) })
  const metrics = createMetrics()
  const app = Fastify({ ...requestOptions, loggerInstance: log })
  await app.register(errors)
  await app.register(requests, { clock: systemClock })
  await app.register(pressure, { inFlightMax })
  await app.register(metricsPlugin, { metrics })
  const waiting: (() => void)[] = []
  app.post('/work', () => new Promise((resolve) => waiting.push(() => resolve({ done: true }))))
  await app.ready()
  block(startMs)
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(async () => {
    for (const go of waiting) go()
    app.server.closeAllConnections()
    await app.close()
  })
  const post = () =>
    fetch(`${url}/work`, { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } })
  const raw = (text: string) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.on('error', () => {})
    socket.write(text)
    return socket
  }
  return { app, metrics, lines, waiting, post, raw }
}

const head = (length: number) =>
  `POST /work HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`

t.test(
  'beyond the bound a request is refused at once, and the next one is taken when a place is free',
  async (t) => {
    const { app, waiting, post } = await open(t, 2)
    const [first, second] = [post(), post()]
    while (app.inFlight() < 2) await sleep(5)
    const refused = await post()
    t.equal(refused.status, 503)
    t.same(((await refused.json()) as { code: string }).code, 'overloaded')
    t.ok(refused.headers.get('retry-after'))
    for (const go of waiting.splice(0)) go()
    t.same([(await first).status, (await second).status], [200, 200])
    const next = post()
    while (waiting.length === 0) await sleep(5)
    for (const go of waiting.splice(0)) go()
    t.equal((await next).status, 200)
  },
)

t.test('half a request takes nobody’s place', async (t) => {
  const { app, waiting, post, raw } = await open(t, 2)
  const halves = Array.from({ length: 20 }, () => raw(`${head(100)}{"a":`))
  await sleep(100)
  t.equal(app.inFlight(), 0)
  const asked = post()
  while (waiting.length === 0) await sleep(5)
  for (const go of waiting.splice(0)) go()
  t.equal((await asked).status, 200)
  for (const socket of halves) socket.destroy()
})

t.test('an asker who leaves before the answer frees the place, and is counted as cut', async (t) => {
  const { app, metrics, lines, waiting, raw } = await open(t, 50)
  const sockets = Array.from({ length: 20 }, () => raw(`${head(2)}{}`))
  while (waiting.length < 20) await sleep(5)
  t.equal(app.inFlight(), 20)
  for (const socket of sockets) socket.destroy()
  while (app.inFlight() > 0) await sleep(5)
  const text = await metrics.registry.metrics()
  t.match(text, /vouchsafe_requests_total\{route="\/work",status="cut",code="none"\} 20/)
  t.equal(lines.filter((line) => line.includes('"status":"cut"')).length, 20)
})

t.test('what the start itself took is no overload; the same delay later is one', async (t) => {
  const { waiting, post } = await open(t, 2, 1100)
  const timer = setInterval(() => {
    for (const go of waiting.splice(0)) go()
  }, 5)
  t.teardown(() => clearInterval(timer))
  await sleep(10) // The sample that covers the start is taken.
  t.equal((await post()).status, 200)
  await sleep(limits.shedNotBeforeMs)
  for (let i = 0; i < 3; i++) {
    block(limits.shedAfterMs + 100)
    await sleep(1)
  }
  const statuses = (await Promise.all(Array.from({ length: 100 }, post))).map(({ status }) => status)
  t.ok(statuses.includes(503))
})
