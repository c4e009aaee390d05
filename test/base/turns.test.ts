// A lane of turns: in order, few in each turn of the event loop, and nobody lost.
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { createTurns } from '../../src/base/turns.ts'

const lane = { waitingMax: 1000, waitMsMax: 500, loopMs: 0, mono: () => performance.now() }

t.test('whoever comes to an empty lane does not wait', async (t) => {
  const takeTurn = createTurns(lane)
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

t.test(
  'of many that take long, one is served in each turn of the loop, in the order of asking',
  async (t) => {
    const takeTurn = createTurns(lane)
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
  },
)

t.test('of short pieces, as many are served in one turn of the loop as fit its time', async (t) => {
  let nowMs = 0
  const takeTurn = createTurns({ ...lane, loopMs: 1, mono: () => nowMs })
  let loops = 0
  const perLoop: number[] = []
  const count = () => {
    loops++
    if (perLoop.length <= loops && loops < 20) setImmediate(count)
  }
  await takeTurn() // The lane is taken now.
  setImmediate(count)
  await Promise.all(
    Array.from({ length: 12 }, async () => {
      await takeTurn()
      nowMs += 0.4
      perLoop[loops] = (perLoop[loops] ?? 0) + 1
    }),
  )
  const served = perLoop.filter((pieces) => pieces > 0)
  t.same(served, [3, 3, 3, 3], 'the third is begun before 1 ms is over')
})

t.test('a piece that fails holds up nobody behind it', async (t) => {
  const takeTurn = createTurns(lane)
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

t.test('whoever finds the lane full is told so, and those who wait are served all the same', async (t) => {
  const takeTurn = createTurns({ ...lane, waitingMax: 3 })
  const results = await Promise.allSettled(Array.from({ length: 6 }, () => takeTurn()))
  t.same(
    results.map(({ status }) => status),
    ['fulfilled', 'fulfilled', 'fulfilled', 'fulfilled', 'rejected', 'rejected'],
  )
  const [full] = results.filter((result) => result.status === 'rejected')
  t.match(full, { reason: { code: 'overloaded', reason: 'turns_all_taken' } })
  await takeTurn()
})

t.test('whoever waited too long is told so instead of served, and the next in time is served', async (t) => {
  let nowMs = 0
  const takeTurn = createTurns({ ...lane, waitMsMax: 500, mono: () => nowMs })
  await takeTurn()
  const early = [takeTurn(), takeTurn()]
  nowMs = 400
  const later = takeTurn()
  nowMs = 501
  const results = await Promise.allSettled([...early, later])
  t.same(
    results.map(({ status }) => status),
    ['rejected', 'rejected', 'fulfilled'],
  )
  t.match(results[0], { reason: { code: 'overloaded', reason: 'turn_came_late' } })
})
