// One call at a time for a key of a carrier: while it is under way another is told so, and afterwards answered alike.
import Fastify from 'fastify'
import fp from 'fastify-plugin'
import t, { type Test } from 'tap'
import errors from '../../plugins/errors.ts'
import idempotency from '../../plugins/idempotency.ts'
import { systemClock } from '../../src/base/clock.ts'
import { callOnce } from '../../src/registry/calls.ts'
import { openRegistry } from '../../src/registry/schema.ts'

async function start(t: Test) {
  const db = await openRegistry(`${t.testdir()}/registry.db`)
  const app = Fastify()
  const who = fp(
    async (instance) => {
      instance.decorateRequest('carrier', '')
      instance.addHook('onRequest', async (request) => {
        request.carrier = String(request.headers['x-carrier'])
      })
    },
    { name: 'carrier-auth' },
  )
  await app.register(errors)
  await app.register(who)
  await app.register(idempotency, { db, clock: systemClock })
  const gate: { held?: Promise<void>; open(): void; fails: boolean; ran: number } = {
    open() {},
    fails: false,
    ran: 0,
  }
  app.post('/things', (request, reply) =>
    app.answerOnce(request, reply, async (call) => {
      gate.ran++
      await gate.held
      if (gate.fails) throw new Error('the disk is gone')
      return callOnce(db, call, async () => ({
        reply: { status: 200, body: `{"ran":${gate.ran}}` },
        acts: [],
      }))
    }),
  )
  t.teardown(async () => {
    await app.close()
    await db.destroy()
  })
  const post = (carrier: string, key: string, body: object = {}) =>
    app.inject({
      method: 'POST',
      url: '/things',
      payload: body,
      headers: { 'x-carrier': carrier, 'idempotency-key': key },
    })
  const hold = () => {
    gate.held = new Promise((resolve) => {
      gate.open = resolve
    })
  }
  return { post, gate, hold }
}

t.test('in flight 409, then the same answer; of another carrier it is another key', async (t) => {
  const { post, gate, hold } = await start(t)
  hold()
  const first = post('swift-crane', 'k')
  while (gate.ran === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  const meanwhile = await post('swift-crane', '"k"')
  t.match(meanwhile.json(), { status: 409, code: 'in_progress', retry: 'same' })
  const other = await post('swift-crane', 'k', { other: true })
  t.equal(other.statusCode, 409, 'whatever it asks for')
  const theirs = post('river-post', 'k')
  while (gate.ran < 2) await new Promise((resolve) => setTimeout(resolve, 5))
  gate.open()
  t.same((await first).json(), { ran: 2 })
  t.equal((await theirs).statusCode, 200)
  const again = await post('swift-crane', 'k')
  t.same([again.json(), again.headers['idempotent-replayed']], [{ ran: 2 }, 'true'])
  t.equal((await post('swift-crane', 'k', { other: true })).json().code, 'idempotency_key_reused')
  t.equal(gate.ran, 2, 'nothing was done twice')
})

t.test('a failure frees the key', async (t) => {
  const { post, gate } = await start(t)
  gate.fails = true
  t.equal((await post('swift-crane', 'k')).statusCode, 500)
  gate.fails = false
  t.same((await post('swift-crane', 'k')).json(), { ran: 2 })
})
