// A cohort: who comes while the event loop reads goes on together, in order.
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
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

t.test('a lone request never waits: twenty one after another take less than the pace', async (t) => {
  const pace = 200
  const run = createCohort(pace)
  const began = performance.now()
  for (let i = 0; i < 20; i++) await run(() => undefined)
  t.ok(performance.now() - began < pace)
})

/** A cohort that tells when each went, in ms since it was made. */
function timed(pace: number) {
  const run = createCohort(pace)
  const went: number[] = []
  const began = performance.now()
  const task = (work: () => Promise<unknown> | undefined = () => undefined) =>
    run(() => {
      went.push(performance.now() - began)
      return work()
    })
  return { run, went, task }
}

t.test('while work is under way who comes gathers for the pace', async (t) => {
  const pace = 200
  const { went, task } = timed(pace)
  let end: () => void = () => {}
  const long = [0, 1, 2, 3, 4, 5].map((i) =>
    task(() => (i > 0 ? undefined : new Promise<void>((r) => (end = r)))),
  )
  await turn()
  await turn()
  t.equal(went.length, 6)
  const cameAt = performance.now()
  const others = []
  for (let i = 0; i < 5; i++) {
    others.push(task())
    await turn()
  }
  t.equal(went.length, 6, 'they gather')
  await Promise.all(others)
  const waitedMs = performance.now() - cameAt
  t.ok(waitedMs >= pace - 1.5, `${waitedMs} ms after the first came`)
  t.ok((went[10] ?? 0) - (went[6] ?? 0) < pace / 2, 'and go on together')
  end()
  await Promise.all(long)
})

t.test('once as many have come as were there before, they wait no longer', async (t) => {
  const pace = 2000
  const { went, task } = timed(pace)
  await Promise.all([task(), task(), task()])
  const began = performance.now() // Within 100 ms of those, or nobody would wait: the loop has nothing else to do.
  const [first, second] = [task(), task()]
  await turn()
  await turn()
  t.equal(went.length, 3, 'the third is waited for')
  await Promise.all([first, second, task()])
  t.ok(performance.now() - began < pace / 2)
})

t.test('those who went long ago are not waited for', async (t) => {
  const pace = 2000
  const { task } = timed(pace)
  await Promise.all([task(), task(), task()])
  await sleep(150)
  const began = performance.now()
  await task()
  t.ok(performance.now() - began < pace / 2)
})

t.test('one that is held is not waited for, nor one who was there before the last two cohorts', async (t) => {
  const pace = 2000
  const { run, task } = timed(pace)
  let end: () => void = () => {}
  const held = run((leave) => {
    leave()
    leave()
    return new Promise<void>((resolve) => (end = resolve))
  })
  await Promise.all([task(), task()])
  const began = performance.now()
  await Promise.all([task(), task()])
  t.ok(performance.now() - began < pace / 2, 'two went with the one that is held, and two came back')
  end()
  await held
  await Promise.all([task(), task()])
  t.ok(performance.now() - began < pace / 2, 'and it is counted out once')
})

t.test('those under way are waited for, also where the last cohort had fewer', async (t) => {
  const pace = 300
  const { went, task } = timed(pace)
  const ends: (() => void)[] = []
  const long = () => task(() => new Promise<void>((resolve) => ends.push(resolve)))
  const underWay = [long(), long(), long()]
  await turn()
  await turn()
  const one = task()
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.equal(went.length, 3, 'one waits for the three')
  for (const end of ends) end()
  await Promise.all(underWay)
  const began = performance.now()
  await Promise.all([one, task(), task(), task()])
  t.equal(went.length, 7)
  t.ok(performance.now() - began < pace / 2, 'four are as many as were there')
})
