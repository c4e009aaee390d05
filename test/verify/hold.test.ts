// When a no may leave: on one grid that begins at arrival + H (PROTOCOL section 0.2).
import t from 'tap'
import { holdMs, recordAt, releaseAt } from '../../src/verify/hold.ts'

t.test('H is at least 150, rounded up to 50, at most 900', (t) => {
  const table = [
    [0, 150],
    [100, 150],
    [150, 200],
    [101, 200],
    [151, 250],
    [420, 500],
    [900, 900],
    [3000, 900],
  ] as const
  for (const [delay, hold] of table) t.equal(holdMs(delay), hold, `${delay} ms`)
  t.end()
})

t.test('a no is released at the first step of the grid at which it is ready', (t) => {
  const table = [
    [1000, 1150],
    [1150, 1150],
    [1150.1, 1200],
    [1200, 1200],
    [1999, 2000],
  ] as const
  for (const [ready, released] of table) t.equal(releaseAt(1000, ready, 150), released, `ready at ${ready}`)
  t.end()
})

t.test('the entry of a no is written one step before its release, whoever refused', (t) => {
  const table = [
    [1001, 1100],
    [1090, 1100],
    [1100, 1100],
    [1101, 1150],
  ] as const
  for (const [ready, recorded] of table) t.equal(recordAt(1000, ready, 150), recorded, `ready at ${ready}`)
  t.end()
})
