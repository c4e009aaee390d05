// What is waited for comes, fails or is late, and what comes too late is heard by nobody.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { within } from '../../src/base/deadline.ts'

const late = () => new Error('late')

t.test('work in time gives its value, or its error as told', async (t) => {
  t.equal(await within(10_000, Promise.resolve(7), { late }), 7)
  const own = new Error('own')
  await t.rejects(within(10_000, Promise.reject(own), { late }), own)
  const fault = (error: unknown) => new Error(`told of ${(error as Error).message}`)
  await t.rejects(within(10_000, Promise.reject(own), { late, fault }), { message: 'told of own' })
})

t.test('work that is late is told so once, whatever comes of it then', async (t) => {
  let unheard = 0
  const count = () => {
    unheard++
  }
  process.on('unhandledRejection', count)
  t.teardown(() => process.off('unhandledRejection', count))
  const ends: (() => void)[] = []
  const fails = new Promise<number>((_, reject) => ends.push(() => reject(new Error('then'))))
  const comes = new Promise<number>((resolve) => ends.push(() => resolve(1)))
  for (const work of [fails, comes]) await t.rejects(within(5, work, { late }), { message: 'late' })
  for (const end of ends) end()
  await sleep(5)
  t.equal(unheard, 0)
})
