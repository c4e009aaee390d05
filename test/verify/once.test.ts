// One challenge, one answer: identical and different requests at once, replays, a cache that asks once.
// Then class Once alone, with a store and a ledger that do what the test says (PROTOCOL section 4).
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { GatewayError } from '../../src/base/errors.ts'
import { limits } from '../../src/base/limits.ts'
import { type GuardState, guardState, printGuard } from '../../src/verify/guard.ts'
import { parcelOf, startTestGateway } from '../helpers/gateway.ts'
import { openNode, refused, startMs, turn, unavailable } from '../helpers/once.ts'

t.test('a hundred identical requests at once: one question, one entry, one answer', async (t) => {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  const card = g.cardNamed('valid')
  await device.verify(parcelOf(), (context) => g.cardNamed('valid').readChip(context))
  const before = Number((await g.knobs.seen())['questions'])
  const { body } = await device.prepare(parcelOf(), (context) => card.readChip(context))
  const replies = await Promise.all(Array.from({ length: 100 }, () => device.post('/v1/verify', body)))
  t.same(new Set(replies.map((reply) => reply.status)), new Set([200]))
  t.same(new Set(replies.map((reply) => reply.body['answer'])), new Set(['yes']))
  const indices = replies.map((reply) => claimsOf(String(reply.body['token'])).index)
  t.equal(new Set(indices).size, 1, 'one entry')
  t.equal(Number((await g.knobs.seen())['questions']), before + 1, 'one question')
  const again = await device.post('/v1/verify', body)
  t.equal(again.headers['idempotent-replayed'], 'true')
  t.equal(claimsOf(String(again.body['token'])).jti, claimsOf(String(replies[0]?.body['token'])).jti)
})

t.test('a hundred different requests on one challenge: one answer, 99 times 409', async (t) => {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  const card = g.cardNamed('valid')
  const { body } = await device.prepare(parcelOf(), (context) => card.readChip(context))
  const bodies = [body]
  for (let i = 1; i < 100; i++)
    bodies.push((await device.again(body, parcelOf(), (c) => card.readChip(c))).body)
  const replies = await Promise.all(bodies.map((each) => device.post('/v1/verify', each)))
  const codes = replies.map((reply) => (reply.status === 200 ? 'answer' : String(reply.body['code'])))
  t.equal(codes.filter((code) => code === 'answer').length, 1)
  t.equal(codes.filter((code) => code === 'challenge_used').length, 99)
})

// A thousand callers of one flight are in test/cache/flight.test.ts; here what two cores seal and open in time.
t.test('fifty requests at once about one person ask the bureau once', async (t) => {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  const card = g.cardNamed('valid')
  const bodies = []
  for (let i = 0; i < 50; i++) bodies.push((await device.prepare(parcelOf(), (c) => card.readChip(c))).body)
  await g.knobs.setFaults({ delayMs: { min: 400, max: 400 } })
  const replies = await Promise.all(bodies.map((body) => device.post('/v1/verify', body)))
  t.equal(replies.filter((reply) => reply.body['answer'] === 'yes').length, 50)
  t.equal((await g.knobs.seen(card.holder.number))['ofNumber'], 1)
})

t.test('a card reported lost is refused within a second, although it was cached as yes', async (t) => {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  const card = g.cardNamed('valid')
  const ask = async () => (await device.verify(parcelOf(), (context) => card.readChip(context))).answer
  t.equal(await ask(), 'yes')
  t.equal(await ask(), 'yes')
  await g.knobs.setStatus(card.holder.number, 'lost')
  await new Promise((resolve) => setTimeout(resolve, 1000))
  t.equal(await ask(), 'no')
})

const claimsOf = (token: string) =>
  JSON.parse(Buffer.from(token.split('.')[1] as string, 'base64url').toString()) as {
    index: number
    jti: string
  }

t.test('the first runs, with what it prefetched in the tick of the claim, and leaves done', async (t) => {
  const node = openNode()
  const work = node.work()
  const outcome = node.once.run(node.attempt(), work)
  t.same(node.calls, ['claim', 'prefetch'], 'both before anything is awaited')
  await turn()
  t.match(node.guard(), { state: guardState.running, leaseEndMs: startMs + limits.leaseMs })
  t.ok(node.guard()?.digest.equals(node.attempt().digest))
  node.clock.advance(100)
  work.resolve('yes')
  t.same(await outcome, { value: 'yes', replayed: false })
  t.match(node.guard(), { state: guardState.done })
  t.same(node.ttls, [310_000, 309_900], 'the guard lives as long as the attempt says')
  t.same(work.seen, { prefetched: 1, ran: 1, again: 0 })
})

t.test('the same digest on the same node waits and gets the same value', async (t) => {
  const node = openNode()
  const [first, second] = [node.work(), node.work()]
  const outcomes = [node.once.run(node.attempt(), first)]
  outcomes.push(node.once.run(node.attempt({ digest: Buffer.from(node.attempt().digest) }), second))
  await turn()
  outcomes.push(node.once.run(node.attempt(), second))
  first.resolve('yes')
  for (const outcome of outcomes) t.same(await outcome, { value: 'yes', replayed: false })
  t.same([first.seen.ran, second.seen], [1, { prefetched: 0, ran: 0, again: 0 }])
  t.equal(node.calls.filter((call) => call === 'claim').length, 1)
})

t.test('who waited is refused with the first, and the next try runs again', async (t) => {
  const node = openNode()
  const first = node.work()
  const outcomes = [node.once.run(node.attempt(), first), node.once.run(node.attempt(), node.work())]
  first.reject(unavailable())
  for (const outcome of outcomes) await t.rejects(outcome, refused('bureau_unavailable', 'breaker_open'))
  t.match(node.guard(), { state: guardState.open })
  t.same(await node.once.run(node.attempt(), node.done('yes')), { value: 'yes', replayed: false })
  t.match(node.guard(), { state: guardState.done })
})

t.test('another digest while one runs is refused, and does nothing at all', async (t) => {
  const node = openNode()
  const [first, second] = [node.work(), node.work()]
  const outcome = node.once.run(node.attempt(), first)
  const digests = [randomBytes(32), Buffer.alloc(32), node.attempt().digest.subarray(1)]
  for (const digest of digests) {
    await t.rejects(node.once.run(node.attempt({ digest }), second), refused('challenge_used', 'running'))
  }
  t.same(second.seen, { prefetched: 0, ran: 0, again: 0 })
  first.resolve('yes')
  t.equal((await outcome).value, 'yes')
})

t.test('challenges do not meet: each runs on its own', async (t) => {
  const node = openNode()
  const works = [node.work(), node.work()]
  const outcomes = works.map((work) => node.once.run(node.attempt({ challenge: randomBytes(42) }), work))
  works[1]?.resolve('second')
  t.equal((await outcomes[1])?.value, 'second')
  works[0]?.resolve('first')
  t.equal((await outcomes[0])?.value, 'first')
})

t.test('running elsewhere with a live lease is in progress, to its last millisecond', async (t) => {
  const node = openNode()
  node.leave(guardState.running)
  const before = node.bytes()
  node.clock.advance(limits.leaseMs - 1)
  const work = node.done('yes')
  await t.rejects(node.once.run(node.attempt(), work), refused('in_progress', 'running_elsewhere'))
  t.equal(work.seen.ran, 0)
  t.same(node.bytes(), before, 'and nothing is written')
  t.notOk(node.calls.includes('put'))
  node.clock.advance(1)
  t.equal((await node.once.run(node.attempt(), work)).value, 'yes')
})

t.test('the lease dead and the challenge consumed: the answer is made again and not run', async (t) => {
  const node = openNode()
  node.leave(guardState.running, limits.leaseMs)
  node.consume()
  const work = node.done('yes')
  t.same(await node.once.run(node.attempt(), work), { value: 'again 7', replayed: true })
  t.same(work.seen, { prefetched: 1, ran: 0, again: 1 })
})

t.test('the lease dead and nothing consumed: it is taken over, with a lease of its own', async (t) => {
  const node = openNode()
  node.leave(guardState.running, limits.leaseMs)
  node.clock.advance(50)
  const work = node.work()
  const outcome = node.once.run(node.attempt(), work)
  await turn()
  t.match(node.guard(), { state: guardState.running, leaseEndMs: startMs + 50 + limits.leaseMs })
  work.resolve('yes')
  t.same(await outcome, { value: 'yes', replayed: false })
  t.match(node.guard(), { state: guardState.done })
})

t.test('done elsewhere: the answer is made again, however often', async (t) => {
  const node = openNode()
  node.leave(guardState.done)
  node.consume()
  const work = node.done('yes')
  for (let i = 0; i < 3; i++) {
    t.same(await node.once.run(node.attempt(), work), { value: 'again 7', replayed: true })
  }
  t.equal(work.seen.ran, 0)
  t.notOk(node.calls.includes('put'))
})

t.test('open elsewhere: the same digest runs again, unless it was consumed after all', async (t) => {
  const node = openNode()
  node.leave(guardState.open)
  const work = node.done('yes')
  t.same(await node.once.run(node.attempt(), work), { value: 'yes', replayed: false })
  t.equal(work.seen.ran, 1)
  const late = openNode()
  late.leave(guardState.open)
  late.consume()
  t.same(await late.once.run(late.attempt(), late.done('yes')), { value: 'again 7', replayed: true })
})

t.test('a guard of another digest is refused in every state, dead or alive, and stands', async (t) => {
  for (const state of [guardState.running, guardState.done, guardState.open]) {
    for (const agoMs of [0, limits.leaseMs * 2]) {
      const node = openNode()
      node.leave(state, agoMs, randomBytes(32))
      const before = node.bytes()
      const work = node.done('yes')
      await t.rejects(node.once.run(node.attempt(), work), refused('challenge_used', 'guard'))
      t.same([work.seen.ran, work.seen.again], [0, 0], `state ${state}, ${agoMs} ms ago`)
      t.same(node.bytes(), before)
    }
  }
})

t.test('bytes that are no guard decide nothing: the ledger does', async (t) => {
  const right = printGuard({ state: guardState.done, leaseEndMs: startMs, digest: randomBytes(32) })
  const bent = (at: number, value: number) => Buffer.from(right).fill(value, at, at + 1)
  const table: [what: string, bytes: Buffer][] = [
    ['empty', Buffer.alloc(0)],
    ['short', right.subarray(0, -1)],
    ['long', Buffer.concat([right, Buffer.of(0)])],
    ['state 0', bent(0, 0)],
    ['state 4', bent(0, 4)],
    ['a lease beyond all time', bent(1, 0xff)],
  ]
  for (const [what, bytes] of table) {
    const fresh = openNode()
    fresh.guards.set(fresh.attempt().challenge.toString('hex'), bytes)
    t.equal((await fresh.once.run(fresh.attempt(), fresh.done('yes'))).value, 'yes', `${what}: runs`)
    const used = openNode()
    used.guards.set(used.attempt().challenge.toString('hex'), bytes)
    used.consume()
    t.equal((await used.once.run(used.attempt(), used.done('yes'))).replayed, true, `${what}: again`)
    const others = openNode()
    others.guards.set(others.attempt().challenge.toString('hex'), bytes)
    others.consume(randomBytes(32))
    const outcome = others.once.run(others.attempt(), others.done('yes'))
    await t.rejects(outcome, refused('challenge_used', 'consumed'), `${what}: used`)
  }
})

t.test('the store lost at the claim: it runs, for the commit decides, and the loss is told', async (t) => {
  const node = openNode()
  node.breakStore()
  const work = node.done('yes')
  t.same(await node.once.run(node.attempt(), work), { value: 'yes', replayed: false })
  t.match(node.lost, [{ message: 'the store is down' }])
  t.same(work.seen, { prefetched: 1, ran: 1, again: 0 })
})

t.test('a run after a lost claim that fails does not overwrite the guard of the winner', async (t) => {
  for (const by of [randomBytes(32), undefined]) {
    const node = openNode()
    node.leave(guardState.running, 0, by)
    const before = node.bytes()
    node.breakStore()
    const work = node.work()
    const outcome = node.once.run(node.attempt(), work)
    await turn()
    node.breakStore(false)
    work.reject(unavailable())
    await t.rejects(outcome, refused('bureau_unavailable', 'breaker_open'))
    t.same(node.bytes(), before)
    t.notOk(node.calls.includes('put'))
  }
})

t.test('a run after a lost claim that commits leaves done: the commit has decided', async (t) => {
  const node = openNode()
  node.leave(guardState.running, 0, randomBytes(32))
  node.breakStore()
  const work = node.work()
  const outcome = node.once.run(node.attempt(), work)
  await turn()
  node.breakStore(false)
  work.resolve('yes')
  t.equal((await outcome).value, 'yes')
  t.match(node.guard(), { state: guardState.done })
  t.ok(node.guard()?.digest.equals(node.attempt().digest))
})

t.test('a run that fails leaves its guard open for the same digest and for no other', async (t) => {
  const failures = [
    unavailable(),
    new GatewayError('ledger_unavailable', 'commit_late'),
    new GatewayError('trust_stale', 'crl_stale'),
    new Error('a defect of ours'),
  ]
  for (const error of failures) {
    for (const taken of [false, true]) {
      const node = openNode()
      if (taken) node.leave(guardState.running, limits.leaseMs)
      await t.rejects(node.once.run(node.attempt(), node.failing(error)), error)
      t.match(node.guard(), { state: guardState.open }, error.message)
      const other = node.once.run(node.attempt({ digest: randomBytes(32) }), node.done('yes'))
      await t.rejects(other, refused('challenge_used', 'guard'))
      t.equal((await node.once.run(node.attempt(), node.done('yes'))).value, 'yes')
    }
  }
})

t.test('a challenge that the commit gave to another digest keeps the guard as it is', async (t) => {
  const node = openNode()
  const work = node.work()
  const outcome = node.once.run(node.attempt(), work)
  await turn()
  node.leave(guardState.done, 0, randomBytes(32))
  const before = node.bytes()
  work.reject(new GatewayError('challenge_used', 'consumed'))
  await t.rejects(outcome, refused('challenge_used', 'consumed'))
  t.same(node.bytes(), before)
})

t.test('a wrong point burns the challenge: the guard is done, for no other digest to use', async (t) => {
  const node = openNode()
  const wrong = () => node.failing(new GatewayError('enc_invalid', 'enc_invalid'))
  await t.rejects(node.once.run(node.attempt(), wrong()), refused('enc_invalid', 'enc_invalid'))
  t.match(node.guard(), { state: guardState.done })
  const other = node.done('yes')
  const outcome = node.once.run(node.attempt({ digest: randomBytes(32) }), other)
  await t.rejects(outcome, refused('challenge_used', 'guard'))
  t.equal(other.seen.ran, 0)
  await t.rejects(node.once.run(node.attempt(), wrong()), refused('enc_invalid', 'enc_invalid'), 'as before')
  t.match(node.guard(), { state: guardState.done })
})

t.test('a ledger that cannot be read answers nothing, runs nothing and writes nothing', async (t) => {
  for (const replayOnly of [false, true]) {
    const node = openNode()
    node.leave(guardState.done)
    node.breakLedger()
    const work = node.done('yes')
    const outcome = node.once.run(node.attempt({ replayOnly }), work)
    await t.rejects(outcome, refused('ledger_unavailable', 'read_failed'))
    t.same([work.seen.ran, work.seen.again, node.calls.includes('put')], [0, 0, false])
  }
})

t.test('replay only: what is told depends on guard and ledger, and nothing is run or written', async (t) => {
  const { running, done, open } = guardState
  const expired = refused('challenge_expired', 'expired')
  const inProgress = refused('in_progress', 'running_elsewhere')
  const answer = { value: 'again 7', replayed: true }
  type Told = typeof answer | typeof expired
  type Left = { state: GuardState; agoMs?: number; by?: 'another' }
  type Row = [what: string, left: Left | undefined, consumed: 'ours' | 'theirs' | undefined, told: Told]
  const table: Row[] = [
    ['nothing', undefined, undefined, expired],
    ['consumed, the guard gone', undefined, 'ours', answer],
    ['consumed by another, the guard gone', undefined, 'theirs', expired],
    ['done and consumed', { state: done }, 'ours', answer],
    ['done and not consumed', { state: done }, undefined, expired],
    ['running', { state: running }, undefined, inProgress],
    ['running, consumed already, not yet released', { state: running }, 'ours', inProgress],
    ['running, the lease dead', { state: running, agoMs: limits.leaseMs }, undefined, expired],
    ['running, the lease dead, consumed', { state: running, agoMs: limits.leaseMs }, 'ours', answer],
    ['open', { state: open }, undefined, expired],
    ['open, consumed after all', { state: open }, 'ours', answer],
    ['another runs', { state: running, by: 'another' }, undefined, expired],
    ['another is done', { state: done, by: 'another' }, 'theirs', expired],
  ]
  for (const [what, left, consumed, told] of table) {
    const node = openNode()
    const another = randomBytes(32)
    if (left) node.leave(left.state, left.agoMs ?? 0, left.by ? another : undefined)
    if (consumed) node.consume(consumed === 'ours' ? undefined : another)
    const before = node.bytes()
    const work = node.done('yes')
    const outcome = node.once.run(node.attempt({ replayOnly: true }), work)
    if ('code' in told) await t.rejects(outcome, told, what)
    else t.same(await outcome, told, what)
    t.same([work.seen.prefetched, work.seen.ran], [0, 0])
    t.same(node.bytes(), before)
    t.notOk(
      node.calls.some((call) => call === 'claim' || call === 'put'),
      'nothing is written',
    )
  }
})

t.test('replay only with the store lost: the ledger alone tells', async (t) => {
  const node = openNode()
  node.breakStore()
  const replay = () => node.once.run(node.attempt({ replayOnly: true }), node.done('yes'))
  await t.rejects(replay(), refused('challenge_expired', 'expired'))
  node.consume()
  t.same(await replay(), { value: 'again 7', replayed: true })
  t.equal(node.lost.length, 2)
})

t.test('a challenge that expires while it runs on this node is waited for', async (t) => {
  const node = openNode()
  const work = node.work()
  const first = node.once.run(node.attempt(), work)
  const late = node.once.run(node.attempt({ replayOnly: true }), node.work())
  work.resolve('yes')
  t.same(await late, await first)
})
