// Logins that come one by one go on together: the dear steps of one follow those of another.
import { randomBytes } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { manualClock } from '../../src/base/clock.ts'
import { createLogin, type LoginRequest, type LoginServices } from '../../src/verify/login.ts'

const request = (): LoginRequest => ({
  ...{ device: randomBytes(16), recipient: randomBytes(8), enc: randomBytes(65), challenge: randomBytes(32) },
  ...{
    courier: randomBytes(16),
    firmware: 1,
    signature: randomBytes(64),
    address: '127.0.0.1',
    arrivedAt: 0,
  },
})

t.test('a login waits for those who come a moment later, where another is under way', async (t) => {
  const steps: string[] = []
  const { promise: away, reject: end } = Promise.withResolvers<never>()
  const services = {
    registry: { isFresh: () => true },
    takeAddress: () => steps.push('came'),
    recipientKey: () => ({}),
    challengeKey: () => {
      steps.push('goes on')
      return away
    },
    clock: manualClock(0),
    store: {},
  } as unknown as LoginServices
  const logIn = createLogin(services)
  const ended: Promise<unknown>[] = []
  const come = () => ended.push(logIn(request()).catch((error: Error) => error.message))
  come()
  t.same(steps, ['came'], 'the rate is taken before anyone waits')
  await turn()
  await turn()
  t.same(steps, ['came', 'goes on'], 'alone it waits for nobody')
  steps.length = 0
  come()
  await turn()
  come()
  await turn()
  await turn()
  t.same(steps, ['came', 'came', 'goes on', 'goes on'])
  end(new Error('over'))
  t.same(await Promise.all(ended), ['over', 'over', 'over'], 'each is told what came of its own')
})
