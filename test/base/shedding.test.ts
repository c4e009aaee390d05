// When requests are refused because a queue stands, and when no longer.
import t from 'tap'
import { limits } from '../../src/base/limits.ts'
import { Shedding } from '../../src/base/shedding.ts'

const { shedLateMs: late, shedAfterMs: after, shedPerTurn: perTurn, shedQuietMs: quiet } = limits
const samples = limits.shedSamples

/** How many of 1000 requests in one turn are taken. */
function turn(shedding: Shedding, now: number): number {
  const taken = Array.from({ length: 1000 }, () => shedding.take(now)).filter(Boolean).length
  shedding.endTurn()
  return taken
}

t.test('a burst is taken whole, however long its one turn is', (t) => {
  const shedding = new Shedding()
  t.equal(turn(shedding, 0), 1000)
  shedding.sample(late * 2, late * 2)
  t.equal(turn(shedding, late * 2), 1000)
  for (const now of [1000, 2000, 3000, 9000]) {
    shedding.sample(0, now - 200)
    shedding.sample(0, now - 150)
    shedding.sample(0, now - 100)
    shedding.sample(5000, now)
    t.equal(turn(shedding, now), 1000, 'late again, but on time between')
  }
  t.end()
})

t.test('a queue that stands is refused but for a few in each turn, until none had to be', (t) => {
  const shedding = new Shedding()
  let now = 1000
  for (; now < 1000 + after + samples * late; now += late) shedding.sample(late, now)
  shedding.sample(late, now)
  t.ok(shedding.isOn(now))
  t.equal(turn(shedding, now), perTurn)
  t.equal(turn(shedding, now), perTurn, 'in each turn')
  shedding.sample(0, now)
  t.equal(turn(shedding, now + quiet - 1), perTurn, 'on time, but others were refused within the second')
  const last = now + quiet - 1
  for (let i = 0; i < perTurn; i++) t.ok(shedding.take(last + quiet - 1))
  shedding.endTurn()
  t.notOk(shedding.isOn(last + quiet))
  t.equal(turn(shedding, last + quiet), 1000, 'over')
  t.end()
})

t.test('long turns and short ones: it is late as they are on average', (t) => {
  const [standing, passing] = [new Shedding(), new Shedding()]
  const seen = [42, 178, 52, 163, 54, 146] // Of a gateway with 2,048 requests on their way: answers after 2 s.
  const calm = [5, 90, 10, 80] // 46 on average; 512 requests at once made it 35, answered after 0.3 s.
  for (let i = 0; i < 20; i++) {
    standing.sample(seen[i % seen.length] ?? 0, i * 120)
    passing.sample(calm[i % calm.length] ?? 0, i * 120)
  }
  t.ok(standing.isOn(19 * 120))
  t.notOk(passing.isOn(19 * 120))
  t.end()
})

t.test('a timer that is on time says nothing of a queue', (t) => {
  const shedding = new Shedding()
  for (let now = 0; now < 10 * after; now += 20) shedding.sample(late - 1, now)
  t.equal(turn(shedding, 10 * after), 1000)
  shedding.sample(Number.NEGATIVE_INFINITY, 10 * after)
  t.equal(turn(shedding, 10 * after), 1000, 'the first sample has nothing to compare with')
  t.end()
})
