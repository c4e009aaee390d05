// A carrier's own limit of calls: told as its own, before the body is read, and nobody else's.
import t from 'tap'
import { manualClock } from '../../src/base/clock.ts'
import { openRaw } from '../helpers/carrier.ts'
import { parcelOf, startTestGateway } from '../helpers/gateway.ts'

t.test('more calls a second than a carrier has are 429, with what it may know of the limit', async (t) => {
  const clock = manualClock(Date.now())
  const g = await startTestGateway(t, { CARRIER_API_RATE: '2' }, clock)
  const [own, theirs] = [openRaw(t, g), openRaw(t, g, 'river-post')]
  const replies = []
  for (let i = 0; i < 5; i++) replies.push(await own({ method: 'GET', path: '/v1/carrier' }))
  const statuses = replies.map(({ status }) => status)
  t.same(statuses.slice(0, 2), [200, 200])
  const limited = replies.find(({ status }) => status === 429)
  t.match(limited, {
    body: { code: 'rate_limited', retry: 'later', detail: undefined },
    headers: {
      'retry-after': '1',
      'ratelimit-policy': '"carrier-api";q=2;w=1',
      ratelimit: '"carrier-api";r=0;t=1',
    },
  })
  t.equal((await theirs({ method: 'GET', path: '/v1/carrier' })).status, 200, 'another carrier has its own')
  const big = { method: 'POST', path: '/v1/devices', body: 'x'.repeat(600 * 1024) }
  const posts = await Promise.all([1, 2, 3, 4].map(() => own(big).catch(() => ({ status: 0 }))))
  t.ok(
    posts.some(({ status }) => status === 429 || status === 0),
    'before its body is read',
  )
  t.equal((await own({ method: 'GET', path: '/.well-known/jwks.json' })).status, 200, 'keys are for anyone')
  clock.advance(500)
  t.equal((await own({ method: 'GET', path: '/v1/carrier' })).status, 200, 'half a second later')
})

t.test('outlet and carrier have limits of their own beside the device’s', async (t) => {
  for (const [setting, policy] of [
    ['OUTLET_RATE', 'outlet'],
    ['CARRIER_RATE', 'carrier'],
    ['DEVICE_RATE', 'device'],
  ] as const) {
    const g = await startTestGateway(t, { [setting]: '2' }, manualClock(Date.now()))
    const device = await g.openDevice()
    const card = g.cardNamed('valid')
    const bodies = []
    for (let i = 0; i < 6; i++)
      bodies.push((await device.prepare(parcelOf(), (context) => card.readChip(context))).body)
    const replies = await Promise.all(bodies.map((body) => device.post('/v1/verify', body)))
    const limited = replies.filter(({ status }) => status === 429)
    t.equal(limited.length, 4, setting)
    t.match(limited[0]?.headers['ratelimit-policy'], `"${policy}";q=2;w=1`)
  }
})
