// The percentile that H is made from, against sorting all samples (PROTOCOL section 0.2).
import fc from 'fast-check'
import t from 'tap'
import { manualClock } from '../../src/base/clock.ts'
import { limits } from '../../src/base/limits.ts'
import { createDelays } from '../../src/bureau/delay.ts'

const stepMs = limits.holdStepMs

t.test('without a sample it is 0, and one sample is rounded up to its bin', async (t) => {
  const delays = createDelays(manualClock(0))
  t.equal(delays.p999Ms(), 0)
  delays.record(3)
  t.equal(delays.p999Ms(), stepMs)
  delays.record(stepMs)
  t.equal(delays.p999Ms(), 2 * stepMs)
})

t.test('one slow answer of a thousand does not count, two do', async (t) => {
  const delays = createDelays(manualClock(0))
  for (let i = 0; i < 999; i++) delays.record(1)
  delays.record(700)
  t.equal(delays.p999Ms(), stepMs)
  delays.record(700)
  t.equal(delays.p999Ms(), 750)
})

t.test('what is older than a minute is forgotten, second by second', async (t) => {
  const clock = manualClock(0)
  const delays = createDelays(clock)
  delays.record(800)
  clock.advance(30_000)
  delays.record(10)
  clock.advance(29_000)
  t.equal(delays.p999Ms(), 850, '59 s later it counts')
  clock.advance(1_000)
  t.equal(delays.p999Ms(), stepMs, '60 s later only the other does')
  clock.advance(3_600_000)
  t.equal(delays.p999Ms(), 0)
  delays.record(120)
  t.equal(delays.p999Ms(), 150)
})

t.test('it is what sorting the samples of the last minute gives', async (t) => {
  const sample = fc.record({ afterMs: fc.nat(9_000), delayMs: fc.integer({ min: 0, max: 4000 }) })
  fc.assert(
    fc.property(fc.array(sample, { maxLength: 200 }), (samples) => {
      const clock = manualClock(0)
      const delays = createDelays(clock)
      const all: { second: number; delayMs: number }[] = []
      for (const { afterMs, delayMs } of samples) {
        clock.advance(afterMs)
        delays.record(delayMs)
        all.push({ second: Math.floor(clock.mono() / 1000), delayMs })
        const now = Math.floor(clock.mono() / 1000)
        const last = all.filter(({ second }) => now - second < 60).map((one) => one.delayMs)
        const slowest = last.sort((a, b) => a - b)[Math.ceil(last.length * 0.999) - 1] as number
        const expected = Math.min(limits.requestMsMax + stepMs, (Math.floor(slowest / stepMs) + 1) * stepMs)
        if (delays.p999Ms() !== expected) return false
      }
      return true
    }),
  )
  t.pass('drawn samples')
})
