// The ends of the gateway's own certificates: gauges, and a line at the start and each day from 30 days before.
import t from 'tap'
import { createMetrics } from '../plugins/metrics.ts'
import { dayMs, hourMs, manualClock } from '../src/base/clock.ts'
import { watchEnds } from '../src/own-certificates.ts'
import { warningOf } from '../src/pki/ending.ts'

const startMs = Date.UTC(2030, 0, 1)

function watch(ends: Record<string, number>) {
  const clock = manualClock(startMs)
  const metrics = createMetrics()
  const lines: string[] = []
  const tell = (level: string) => (fields: unknown, message: string) => {
    const { certificate, warning } = fields as { certificate: string; warning: string }
    lines.push(`${level} ${certificate} ${warning} ${message}`)
  }
  const log = { warn: tell('warn'), error: tell('error') }
  const watched = watchEnds({ ends: () => ends, clock, log, metrics })
  const said = () => lines.splice(0)
  const gauges = async () => {
    const text = await metrics.registry.metrics()
    const rows = text.matchAll(/^vouchsafe_certificate(?:s_ending|_expiry_seconds)\{\w+="([^"]+)"\} (\d+)$/gm)
    return Object.fromEntries([...rows].map(([, name, value]) => [name, Number(value)]))
  }
  return { clock, said, gauges, ...watched }
}

t.test('a warning is due from 30, 7 and 1 days before, and what has ended stays at the last', async (t) => {
  const table: [leftMs: number, warning: string | null][] = [
    [31 * dayMs, null],
    [30 * dayMs + 1, null],
    [30 * dayMs, '30_days'],
    [7 * dayMs + 1, '30_days'],
    [7 * dayMs, '7_days'],
    [dayMs + 1, '7_days'],
    [dayMs, '1_day'],
    [0, '1_day'],
    [-dayMs, '1_day'],
  ]
  for (const [leftMs, warning] of table)
    t.equal(warningOf(startMs + leftMs, startMs), warning, String(leftMs))
})

t.test('gauges have the ends, and how many are near', async (t) => {
  const endMs = startMs + 31 * dayMs
  const { clock, look, close, gauges } = watch({
    gateway: endMs,
    'gateway-ca': endMs + 1000 * dayMs,
    'bureau-client': startMs + 6 * dayMs,
  })
  t.teardown(close)
  t.same(await gauges(), {
    ...{ gateway: endMs / 1000, 'gateway-ca': (endMs + 1000 * dayMs) / 1000 },
    ...{ 'bureau-client': (startMs + 6 * dayMs) / 1000, '30_days': 1, '7_days': 1, '1_day': 0 },
  })
  clock.advance(dayMs)
  look()
  t.match(await gauges(), { '30_days': 2, '7_days': 1, '1_day': 0 })
  clock.advance(29.5 * dayMs)
  look()
  t.match(await gauges(), { '30_days': 2, '7_days': 2, '1_day': 2 }, 'what has ended is among them')
})

t.test('a line at the start, one a day, one when it grows worse, and none after a renewal', async (t) => {
  const ends = { gateway: startMs + 29 * dayMs, 'carrier-ca': startMs + 400 * dayMs }
  const { clock, look, close, said } = watch(ends)
  t.teardown(close)
  const ends30 = 'warn gateway 30_days certificate ends soon'
  t.same(said(), [ends30], 'at the start')
  look()
  clock.advance(dayMs - 1)
  look()
  t.same(said(), [], 'not again on that day')
  clock.advance(1)
  look()
  t.same(said(), [ends30], 'the day after')
  clock.advance(20 * dayMs + hourMs)
  look()
  t.same(said(), [ends30])
  clock.advance(23 * hourMs)
  look()
  t.same(said(), ['warn gateway 7_days certificate ends soon'], 'at once when 7 days are left')
  clock.advance(6 * dayMs)
  look()
  t.same(said(), ['warn gateway 1_day certificate ends soon'])
  clock.advance(dayMs)
  look()
  t.same(said(), ['error gateway 1_day certificate has ended'])
  ends.gateway = clock.now() + 90 * dayMs
  look()
  clock.advance(dayMs)
  look()
  t.same(said(), [], 'renewed')
})
