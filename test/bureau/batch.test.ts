// Who leaves with whom: no idle wait, at most 64 together, a bounded queue without those who gave up.
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { limits } from '../../src/base/limits.ts'
import { Batcher } from '../../src/bureau/batch.ts'

type Item = { n: number; done: boolean }
const itemOf = (n: number): Item => ({ n, done: false })

function createRig() {
  const batches: number[][] = []
  const free: (() => void)[] = []
  const batcher = new Batcher<Item>((batch) => {
    batches.push(batch.map((item) => item.n))
    return new Promise((resolve) => free.push(resolve))
  })
  return { batcher, batches, free }
}

t.test('a lone item leaves at the end of its turn, and those of one turn leave together', async (t) => {
  const { batcher, batches } = createRig()
  batcher.add(itemOf(1))
  t.same(batches, [], 'not in the call itself')
  await turn()
  t.same(batches, [[1]])
  for (let n = 2; n < 5; n++) batcher.add(itemOf(n))
  await turn()
  t.same(batches, [[1], [2, 3, 4]])
})

t.test('batches are full, in order, and no more than the slots are in flight', async (t) => {
  const { batcher, batches, free } = createRig()
  const { bureauBatchMax: max, bureauBatchesInFlightMax: slots } = limits
  const total = max * slots + max + 3
  for (let n = 0; n < total; n++) batcher.add(itemOf(n))
  await turn()
  t.equal(batches.length, slots)
  for (const batch of batches) t.equal(batch.length, max)
  free.shift()?.()
  await turn()
  t.equal(batches.length, slots + 1, 'the next leaves when a slot is free')
  while (free.length > 0) {
    free.shift()?.()
    await turn()
  }
  t.same(
    batches.flat(),
    Array.from({ length: total }, (_, n) => n),
  )
})

t.test('who gave up while waiting does not leave, and leaves the place to another', async (t) => {
  const { batcher, batches, free } = createRig()
  const { bureauBatchMax: max, bureauBatchesInFlightMax: slots } = limits
  for (let n = 0; n < max * slots; n++) batcher.add(itemOf(-1))
  await turn()
  const waiting = Array.from({ length: max + 10 }, (_, n) => itemOf(n))
  for (const item of waiting) batcher.add(item)
  for (const item of waiting.slice(0, 20)) item.done = true
  free.shift()?.()
  await turn()
  t.same(
    batches.at(-1),
    waiting.slice(20, 20 + max).map((item) => item.n),
  )
})

t.test('a full queue takes nobody, until somebody in it gives up', async (t) => {
  const { batcher } = createRig()
  const waiting = Array.from({ length: limits.bureauQueueMax }, (_, n) => itemOf(n))
  t.ok(waiting.every((item) => batcher.add(item)))
  t.equal(batcher.add(itemOf(-1)), false)
  ;(waiting[7] as Item).done = true
  t.equal(batcher.add(itemOf(-1)), true)
  t.equal(batcher.add(itemOf(-2)), false)
})
