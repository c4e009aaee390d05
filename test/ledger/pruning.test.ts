// Which keys of used challenges lie where nothing is asked for any more, at any hour of the ring.
import t from 'tap'
import { hourMs } from '../../src/base/clock.ts'
import { limits } from '../../src/base/limits.ts'
import { endedRanges } from '../../src/ledger/pruning.ts'
import { challengeAt } from '../helpers/checked-ledger.ts'
import { noon } from '../helpers/ledger.ts'

const ringHours = 256
const secondMs = 1000

t.test('exactly what was issued longer ago than the life of a batch, all the way round', (t) => {
  for (let hour = 0; hour < ringHours; hour++) {
    const nowMs = noon + hour * hourMs + 1_234_567
    const endedMs = nowMs - limits.consumedKeepMs
    const ranges = endedRanges(endedMs, nowMs)
    const isEnded = (issuedMs: number) => {
      const { challenge } = challengeAt(issuedMs)
      return ranges.some(([from, below]) => from.compare(challenge) <= 0 && below.compare(challenge) > 0)
    }
    const cutMs = Math.floor(endedMs / secondMs) * secondMs - limits.challengeTtlBatchS * secondMs
    const wrong = [
      ...[cutMs, cutMs + secondMs, endedMs, nowMs, nowMs + hourMs].filter(isEnded),
      ...[1, secondMs, hourMs, 24 * hourMs, (ringHours - 5) * hourMs]
        .map((before) => cutMs - before)
        .filter((issuedMs) => !isEnded(issuedMs)),
    ]
    t.same(wrong, [], `at hour ${hour}`)
  }
  t.end()
})
