// The open loop sees what a closed loop hides: a server that stands still for half a second.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { arrivals, printPost, runOpenLoop } from '../../load/open-loop.ts'
import { startTlsServer } from '../helpers/tls-server.ts'

t.test('arrivals are a Poisson process: as many as asked, gaps that vary as an exponential does', (t) => {
  const due = arrivals(20_000, 1000)
  const gaps = Array.from(due, (at, i) => at - (due[i - 1] ?? 0))
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length
  const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length
  // Five standard errors each: wrong once in millions of runs.
  t.ok(Math.abs(mean - 1) < 5 / Math.sqrt(20_000), `mean ${mean} ms`)
  t.ok(Math.abs(variance - 1) < 5 * Math.sqrt(8 / 20_000), `variance ${variance}`)
  t.ok(
    gaps.every((gap) => gap >= 0),
    'in order',
  )
  t.end()
})

t.test('a server stopped for 500 ms shows in all that should have been sent meanwhile', async (t) => {
  const { child, url, ca } = await startTlsServer(t)
  const rate = 400
  const requests = Array.from({ length: rate * 3 }, () => printPost(url, '/', {}, '{}'))
  const stop = (async () => {
    await sleep(1000)
    child.kill('SIGSTOP')
    await sleep(500)
    child.kill('SIGCONT')
  })()
  // Fewer connections than requests in the gap: most wait for one, and that wait counts.
  const told: string[] = []
  const { outcomes } = await runOpenLoop({
    url,
    tls: { ca },
    connections: 8,
    rate,
    requests,
    onSettled: () => told.push('settled'),
    onAnswer: () => told.push('answer'),
  })
  t.equal(told.indexOf('settled'), 0, 'before the first')
  t.equal(told.length, requests.length + 1)
  await stop
  t.equal(outcomes.length, requests.length)
  t.ok(
    outcomes.every(({ status, body }) => status === 200 && body === '{}'),
    'all answered',
  )
  const late = outcomes.filter(({ micros }) => micros > 100_000).length
  // Those due in its first 400 ms waited 100 ms and more: 160, and more if the machine is slow; in a closed loop, 8.
  t.ok(late > 0.6 * 0.4 * rate, `${late} late`)
  const max = Math.max(...outcomes.map(({ micros }) => micros)) / 1000
  t.ok(max > 450, `the longest waited ${max} ms`)
})
