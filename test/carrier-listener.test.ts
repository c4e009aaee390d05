// What is told of refused certificates: the first at once, then one line a second with how many more there were.
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import { createMetrics } from '../plugins/metrics.ts'
import { tellRefused } from '../src/carrier-listener.ts'
import { causeWords } from '../src/pki/causes.ts'

type Line = { level: string; cause: string; serial?: string; count: number }

function start(t: Test) {
  const lines: Line[] = []
  const tell = (level: string) => (fields: unknown) =>
    lines.push({ level, ...(fields as Omit<Line, 'level'>) })
  const { certificatesRefused: counter } = createMetrics()
  const refused = tellRefused({ log: { info: tell('info'), warn: tell('warn') }, counter })
  t.teardown(refused.close)
  const counted = async () => {
    const { values } = await counter.get()
    return Object.fromEntries(values.map(({ labels, value }) => [String(labels.cause), value]))
  }
  const counts = () => lines.splice(0).map(({ cause, serial, count }) => [cause, serial, count])
  return { ...refused, lines, counts, counted }
}

t.test('a flood of one cause is one line at once and one a second after, and is counted', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const { tell, counts, counted, lines } = start(t)
  for (let i = 0; i < 10_000; i++) tell('expired')
  t.equal(lines[0]?.level, 'warn')
  t.same(counts(), [['expired', undefined, 1]])
  mock.timers.tick(1000)
  t.same(counts(), [['expired', undefined, 9999]])
  for (let second = 0; second < 3; second++) {
    for (let i = 0; i < 500; i++) tell('expired')
    t.same(counts(), [], 'nothing within the second')
    mock.timers.tick(1000)
    t.same(counts(), [['expired', undefined, 500]])
  }
  mock.timers.tick(5000)
  t.same(counts(), [], 'nothing once it is over')
  tell('expired')
  t.same(counts(), [['expired', undefined, 1]], 'and at once again')
  t.match(await counted(), { expired: 11_501, revoked: 0 })
  t.same(Object.keys(await counted()).sort(), [...causeWords].sort(), 'a row for each from the start')
})

t.test('each serial has its own line, until there are too many', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const { tell, counts, counted } = start(t)
  tell('weak_key', 'A1')
  tell('weak_key', 'A2')
  tell('weak_key', 'A1')
  t.same(counts(), [
    ['weak_key', 'A1', 1],
    ['weak_key', 'A2', 1],
  ])
  mock.timers.tick(1000)
  t.same(counts(), [['weak_key', 'A1', 1]])
  mock.timers.tick(2000)
  for (let i = 0; i < 5000; i++) tell('weak_key', `B${i}`)
  const first = counts()
  t.equal(first.length, 101, '100 by serial, one for all the others')
  t.same(first.at(-1), ['weak_key', undefined, 1])
  mock.timers.tick(1000)
  t.same(counts(), [['weak_key', undefined, 4899]])
  t.match(await counted(), { weak_key: 5003 })
})

t.test('what was not told yet is told at the end', async (t) => {
  const { tell, close, counts, lines } = start(t)
  tell('not_tls')
  tell('not_tls')
  tell('not_tls')
  t.equal(lines[0]?.level, 'info')
  close()
  t.same(counts(), [
    ['not_tls', undefined, 1],
    ['not_tls', undefined, 2],
  ])
})
