// A lane of turns: in order, one in each turn of the event loop, and nobody lost.
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { createTurns } from '../../src/base/turns.ts'

t.test('whoever comes to an empty lane does not wait', async (t) => {
  const takeTurn = createTurns()
  for (let i = 0; i < 3; i++) {
    let isNext = false
    setImmediate(() => {
      isNext = true
    })
    await takeTurn()
    t.notOk(isNext, 'the same turn of the loop')
    await turn()
    await turn()
  }
})

t.test('of many, one is served in each turn of the loop, in the order of asking', async (t) => {
  const takeTurn = createTurns()
  const served: number[] = []
  let loops = 0
  let counting = true
  const count = () => {
    loops++
    if (counting) setImmediate(count)
  }
  setImmediate(count)
  const perLoop = new Map<number, number>()
  await Promise.all(
    Array.from({ length: 50 }, async (_, i) => {
      await takeTurn()
      served.push(i)
      perLoop.set(loops, (perLoop.get(loops) ?? 0) + 1)
    }),
  )
  counting = false
  t.same(
    served,
    Array.from({ length: 50 }, (_, i) => i),
  )
  t.ok(Math.max(...perLoop.values()) <= 2, 'the first of all shares a turn with the one before it at most')
  t.ok(loops >= 48, `${loops} turns of the loop`)
})

t.test('a piece that fails holds up nobody behind it', async (t) => {
  const takeTurn = createTurns()
  const results = await Promise.allSettled(
    [0, 1, 2].map(async (i) => {
      await takeTurn()
      if (i === 1) throw new Error('a defect')
      return i
    }),
  )
  t.same(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  )
  await takeTurn()
})
