// A cohort: who comes while the event loop reads goes on together, in order.
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { createCohort } from '../../src/base/cohort.ts'

t.test('those who joined take each step one after another', async (t) => {
  const join = createCohort()
  const steps: string[] = []
  const task = async (name: string) => {
    await join()
    steps.push(`${name}1`)
    await undefined
    steps.push(`${name}2`)
  }
  const tasks = [task('a')]
  await undefined
  tasks.push(task('b'))
  await new Promise((resolve) => process.nextTick(resolve))
  tasks.push(task('c'))
  t.same(steps, [], 'nobody goes on in the turn in which they came')
  await Promise.all(tasks)
  t.same(steps, ['a1', 'b1', 'c1', 'a2', 'b2', 'c2'])
})

t.test('all who came go on at once, in the order of asking, and who comes later with the next', async (t) => {
  const join = createCohort()
  const went: number[] = []
  const task = async (i: number) => {
    await join()
    went.push(i)
  }
  const first = Array.from({ length: 1000 }, (_, i) => task(i))
  let seen = -1
  setImmediate(() => {
    seen = went.length
  })
  await Promise.all(first)
  t.same(
    went,
    Array.from({ length: 1000 }, (_, i) => i),
  )
  const second = task(1000)
  t.equal(went.length, 1000)
  await turn()
  await second
  t.equal(seen, 1000, 'one turn of the loop was enough for all')
  t.equal(went.length, 1001)
})

t.test('a task that fails holds up nobody', async (t) => {
  const join = createCohort()
  const results = await Promise.allSettled(
    [0, 1, 2, 3].map(async (i) => {
      await join()
      if (i % 2 === 0) throw new Error('a defect')
      return i
    }),
  )
  t.same(
    results.map(({ status }) => status),
    ['rejected', 'fulfilled', 'rejected', 'fulfilled'],
  )
})
