// What is under way: found while it is, and let go of when it ends.
import t from 'tap'
import { UnderWay } from '../../src/base/under-way.ts'

t.test('work is found by its name from its begin to its end', async (t) => {
  const running = new UnderWay<{ of: string }>()
  const [a, b] = [{ of: 'a' }, { of: 'b' }]
  running.begin('a', a)
  running.begin('b', b)
  t.equal(running.get('a'), a)
  t.equal(running.size, 2)
  running.end('a')
  t.equal(running.get('a'), undefined)
  t.equal(running.get('b'), b)
  t.equal(running.size, 1)
  running.end('a')
  running.end('never begun')
  t.equal(running.size, 1)
})

t.test('under a name that has ended other work may begin', async (t) => {
  const running = new UnderWay<object>()
  const [first, second] = [{}, {}]
  running.begin('a', first)
  running.end('a')
  running.begin('a', second)
  t.equal(running.get('a'), second)
})
