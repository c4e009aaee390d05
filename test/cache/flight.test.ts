// Single flight: one start for callers at once, and nothing kept (PROTOCOL section 7, row 14).
import { setImmediate as tick } from 'node:timers/promises'
import t from 'tap'
import { Flight } from '../../src/cache/flight.ts'

/** A start that counts itself and ends when told. */
function question() {
  let starts = 0
  const ends: { resolve(value: string): void; reject(error: Error): void }[] = []
  const start = () => {
    starts += 1
    return new Promise<string>((resolve, reject) => ends.push({ resolve, reject }))
  }
  return { start, ends, starts: () => starts }
}

t.test('1000 callers at once share one start and its answer', async (t) => {
  const flight = new Flight<string>()
  const { start, ends, starts } = question()
  const callers = Array.from({ length: 1000 }, () => flight.run('a', start))
  t.equal(flight.size, 1)
  await tick()
  ends[0]?.resolve('yes')
  t.same(new Set(await Promise.all(callers)), new Set(['yes']))
  t.equal(starts(), 1)
  t.equal(flight.size, 0)
})

t.test('keys do not share', async (t) => {
  const flight = new Flight<string>()
  const answers = await Promise.all(['a', 'b', 'c'].map((key) => flight.run(key, async () => key)))
  t.same(answers, ['a', 'b', 'c'])
})

t.test('a start begins in the same tick', async (t) => {
  const { start, ends, starts } = question()
  const running = new Flight<string>().run('a', start)
  t.equal(starts(), 1)
  ends[0]?.resolve('yes')
  await running
})

t.test('an answer is not kept: the next caller starts anew', async (t) => {
  const flight = new Flight<number>()
  let count = 0
  const start = async () => {
    count += 1
    return count
  }
  t.equal(await flight.run('a', start), 1)
  t.equal(await flight.run('a', start), 2)
})

t.test('a failure is shared by those who wait and then forgotten', async (t) => {
  const flight = new Flight<string>()
  const { start, ends, starts } = question()
  const callers = Array.from({ length: 100 }, () => flight.run('a', start))
  const again = callers.map((caller) => caller.catch(() => flight.run('a', start)))
  ends[0]?.reject(new Error('late'))
  const settled = await Promise.allSettled(callers)
  t.ok(settled.every((each) => each.status === 'rejected' && each.reason.message === 'late'))
  t.equal(starts(), 2, 'all who try again share one new start')
  ends[1]?.resolve('yes')
  t.same(new Set(await Promise.all(again)), new Set(['yes']))
  t.equal(flight.size, 0)
})

t.test('a start that throws at once is a failure like any other', async (t) => {
  const flight = new Flight<string>()
  const start = () => {
    throw new Error('at once')
  }
  await t.rejects(flight.run('a', start), /at once/)
  t.equal(flight.size, 0)
  t.equal(await flight.run('a', async () => 'yes'), 'yes')
})
