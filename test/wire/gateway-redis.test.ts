// A whole gateway whose Redis hangs, dies and comes back: answers go on, because the ledger decides
// (PROTOCOL section 4).
import t from 'tap'
import { parcelOf, startTestGateway } from '../helpers/gateway.ts'
import { hasRedis, RedisServer } from '../helpers/redis-server.ts'

t.test(
  'without its Redis a gateway answers on, refuses replays by the ledger, and takes it back',
  async (t) => {
    if (!hasRedis(t)) return
    const redis = await RedisServer.start()
    t.teardown(() => redis.close())
    const g = await startTestGateway(t, { REDIS_URL: redis.url })
    const device = await g.openDevice()
    const read = (name: string) => device.prepare(parcelOf(), (c) => g.cardNamed(name).readChip(c))
    const first = await read('valid')
    t.equal((await device.send(first.body)).answer, 'yes')
    const waiting = await Promise.all([read('valid'), read('valid'), read('valid'), read('forged')])

    redis.pause()
    t.equal((await device.send(waiting[0].body)).answer, 'yes', 'hung')
    redis.resume()

    await redis.kill()
    await new Promise((resolve) => setTimeout(resolve, 200))
    t.equal(g.gateway.readiness()['store'], false)
    t.equal((await device.send(waiting[1].body)).answer, 'yes', 'dead')
    t.equal((await device.send(waiting[3].body)).answer, 'no')
    const again = await device.post('/v1/verify', first.body)
    t.same(
      [again.status, again.body['answer']],
      [200, 'yes'],
      'an exact retry gets its answer from the ledger',
    )
    const other = await device.again(first.body, parcelOf(), (c) => g.cardNamed('valid').readChip(c))
    t.equal((await device.post('/v1/verify', other.body)).body['code'], 'challenge_used', 'a replay does not')

    await redis.start()
    await new Promise((resolve) => setTimeout(resolve, 1500))
    t.equal(g.gateway.readiness()['store'], true)
    t.equal((await device.send(waiting[2].body)).answer, 'yes', 'back')
  },
)
