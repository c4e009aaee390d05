// A cohort: who comes while the event loop reads goes on together, in order.
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { createCohort } from '../../src/base/cohort.ts'

t.test('those who joined take each step one after another', async (t) => {
  const run = createCohort()
  const steps: string[] = []
  const task = (name: string) =>
    run(async () => {
      steps.push(`${name}1`)
      await undefined
      steps.push(`${name}2`)
    })
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
  const run = createCohort()
  const went: number[] = []
  const task = (i: number) => run(() => went.push(i))
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
  const run = createCohort()
  const results = await Promise.allSettled(
    [0, 1, 2, 3].map((i) =>
      run(async () => {
        if (i % 2 === 0) throw new Error('a defect')
        return i
      }),
    ),
  )
  t.same(
    results.map(({ status }) => status),
    ['rejected', 'fulfilled', 'rejected', 'fulfilled'],
  )
})

t.test('while work is under way who comes gathers for the pace; a lone one never waits', async (t) => {
  const pace = 200
  const run = createCohort(pace)
  const went: number[] = []
  const began = performance.now()
  const task = async (work: () => Promise<unknown> | undefined) => {
    await run(() => {
      went.push(performance.now() - began)
      return work()
    })
  }
  for (let i = 0; i < 20; i++) await task(() => undefined)
  t.ok((went[19] ?? pace) < pace, `twenty one after another: ${went[19]} ms`)
  went.length = 0
  let end: () => void = () => {}
  const long = task(() => new Promise<void>((resolve) => (end = resolve)))
  await turn()
  await turn()
  t.equal(went.length, 1)
  const others = []
  for (let i = 0; i < 5; i++) {
    others.push(task(() => undefined))
    await turn()
  }
  t.equal(went.length, 1, 'they gather')
  await Promise.all(others)
  const [first = 0, ...rest] = went
  for (const at of rest) t.ok(at - first >= pace - 1.5, `${at - first} ms after the last cohort`)
  t.ok((rest[4] ?? 0) - (rest[0] ?? 0) < 50, 'and go on together')
  end()
  await long
})
