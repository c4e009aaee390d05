// Every known way to be fooled, in both suites: a no with its refusal, never yes, never an exception, and little work.
import t from 'tap'
import { parseReading, printReading, type Reading } from '../../src/card/reading.ts'
import { makeAttacks } from '../helpers/attacks.ts'
import { checkOnce, context, worlds } from '../helpers/cards.ts'

const cpuMsMax = 5

function fits(reading: Reading): boolean {
  try {
    printReading(reading)
    return true
  } catch (error) {
    if (error instanceof RangeError) return false
    throw error
  }
}

for (const world of worlds) {
  t.test(world.signing.suite.name, async (t) => {
    for (const attack of makeAttacks(world)) {
      t.test(`${attack.name} (${attack.after})`, async (t) => {
        const reading = attack.read(context)
        const given = { context, trust: world.trust, nowMs: world.nowMs }
        let leastMs = Number.POSITIVE_INFINITY
        // The least of three, and of this thread: others' work on this machine is no part of it, nor is what the
        // engine compiles and collects beside it.
        for (let i = 0; i < 3; i++) {
          const before = process.threadCpuUsage()
          const verdict = checkOnce(reading, given)
          const { user, system } = process.threadCpuUsage(before)
          leastMs = Math.min(leastMs, (user + system) / 1000)
          t.equal(verdict.refusal, attack.refusal)
          t.notOk('card' in verdict)
        }
        t.ok(leastMs <= cpuMsMax, `${leastMs} ms of CPU`)
        if (!fits(reading)) return t.comment('row 6 would not let it in')
        t.same(parseReading(printReading(reading)), reading, 'it is let in by row 6, so row 7 must bear it')
      })
    }
  })
}
