// A cohort: who comes while the event loop reads goes on together, in order, and never too many at once.
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { createCohort } from '../../src/base/cohort.ts'

t.test('those who joined take each step one after another', async (t) => {
  const join = createCohort({ sizeMax: 10 })
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

t.test(
  'no more than a cohort goes on in one turn of the loop, and all do in the order of asking',
  async (t) => {
    const join = createCohort({ sizeMax: 4 })
    const went: number[] = []
    const perTurn: number[] = []
    let counting = true
    const count = () => {
      perTurn.push(went.length)
      if (counting) setImmediate(count)
    }
    const all = Promise.all(
      Array.from({ length: 10 }, async (_, i) => {
        await join()
        went.push(i)
      }),
    )
    setImmediate(count)
    await all
    counting = false
    await turn()
    t.same(
      went,
      Array.from({ length: 10 }, (_, i) => i),
    )
    const steps = perTurn.map((sum, i) => sum - (perTurn[i - 1] ?? 0)).filter((more) => more > 0)
    t.ok(Math.max(...steps) <= 4, `${steps}`)
    await join()
    t.pass('who comes to an empty cohort later goes on too')
  },
)

t.test('a task that fails holds up nobody', async (t) => {
  const join = createCohort({ sizeMax: 2 })
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
