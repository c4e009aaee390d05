// Revocation lists of card issuers from servers that may be slow, broken or hostile, and how soon a revoked signer is one.
// Decisions are by the test clock.
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { makeCardCrl } from '../certs/card-issuer.ts'
import { dayMs } from '../src/base/clock.ts'
import { limits } from '../src/base/limits.ts'
import { refusal } from '../src/card/refusal.ts'
import { nowMs, worlds } from './helpers/cards.ts'
import { sleep, until } from './helpers/carrier-calls.ts'
import { anchorOf, listOf, outcomeOf, serve, setUp, withSigner } from './helpers/followed-trust.ts'

const [world] = worlds
const { issuer, makeCrl } = world
const minuteMs = 60_000

t.test('a list is fetched, in force when it comes, kept, and there at the next start', async (t) => {
  const g = setUp(t)
  const server = await serve(t, (_, response) => response.end(listOf()))
  g.putList(1, [anchorOf({ lists: [server.url] })])
  const { trust, verdict } = g.follow()
  t.equal(verdict(), 'no_list', 'the start does not wait')
  await until(t, () => verdict() === 0, 'fetched')
  t.same(server.asked, ['/of/card-issuer.crl?v=1'])
  t.equal(await outcomeOf(g, 'newer'), 1)
  await trust.close()
  server.act(() => {}) // Never answers.
  const again = g.follow()
  t.equal(again.verdict(), 0, 'without asking')
  t.equal(again.trust.isFresh(nowMs), true)
  await again.trust.close()
  const kept = readdirSync(g.dataDir).find((name) => name.startsWith('card-list-')) as string
  writeFileSync(join(g.dataDir, kept), 'damaged')
  t.equal(g.follow().verdict(), 'no_list', 'what is damaged is not believed')
  const foreign = makeCardCrl(world.issuerOf('Test card issuer'), {
    ...{ thisUpdateMs: nowMs, nextUpdateMs: nowMs + dayMs, number: 9, revoked: [] },
  })
  writeFileSync(join(g.dataDir, kept), foreign)
  t.equal(g.follow().verdict(), 'no_list', 'nor what is of another issuer')
})

t.test(
  'whatever a server does, the list in force stays until it ends, and then nothing is answered',
  async (t) => {
    const g = setUp(t)
    const server = await serve(t, (_, response) => response.end(listOf({ number: 5 })))
    g.putList(1, [anchorOf({ lists: [server.url] })])
    const { trust, verdict } = g.follow(1)
    await until(t, () => verdict() === 0, 'fetched')
    const older = listOf({ thisUpdateMs: nowMs - 2 * dayMs, number: 6, ...withSigner })
    const lower = listOf({ thisUpdateMs: nowMs - 1000, number: 4, ...withSigner })
    const ofOther = makeCrl(world.issuerOf('Test card issuer'), {
      thisUpdateMs: nowMs,
      number: 6,
      ...withSigner,
    })
    const early = () =>
      listOf({ thisUpdateMs: g.clock.now() + dayMs, nextUpdateMs: nowMs + 3 * dayMs, number: 6 })
    const bad: [name: string, make: () => void, outcome: string][] = [
      ['500', () => server.give(listOf({ number: 6, thisUpdateMs: nowMs, ...withSigner }), 500), 'failed'],
      ['204', () => server.give('', 204), 'failed'],
      ['a redirection', () => server.give('', 302, { location: 'http://127.0.0.1:1/' }), 'failed'],
      ['garbage', () => server.give('<html>not found</html>'), 'refused'],
      ['nothing', () => server.give(''), 'refused'],
      ['half a list', () => server.give(listOf({ thisUpdateMs: nowMs }).subarray(0, -9)), 'refused'],
      ['an older list', () => server.give(older), 'refused'],
      ['a list of a lower number', () => server.give(lower), 'refused'],
      ['a list of the future', () => server.give(early()), 'refused'],
      ['a list of another issuer', () => server.give(ofOther), 'refused'],
      ['a huge body', () => server.give(Buffer.alloc(limits.cardListBytesMax + 1, 0x30)), 'failed'],
      ['a connection cut', () => server.act((request) => request.socket.destroy()), 'failed'],
      [
        'less than was promised',
        () => server.act((_, response) => response.writeHead(200, { 'content-length': 9 }).end('x')),
        'failed',
      ],
    ]
    for (const [name, make, outcome] of bad) {
      make()
      const before = await outcomeOf(g, outcome)
      g.clock.advance(limits.cardListCooldownMaxMs * 1.5) // The longest pause.
      trust.tick()
      await until(t, async () => (await outcomeOf(g, outcome)) === before + 1, `${name}: ${outcome}`)
      t.equal(verdict(), 0, `${name}: the list in force stays`)
    }
    t.equal(g.said.filter((line) => line.startsWith('error')).length, 0)
  },
)

t.test('while a list is stale, a hundred requests make one fetch, and none waits', async (t) => {
  const g = setUp(t)
  let answer = () => {}
  const server = await serve(t, (_, response) => {
    answer = () => response.end(listOf())
  })
  g.putList(1, [anchorOf({ lists: [server.url] })])
  const { trust, verdict } = g.follow()
  const begun = performance.now()
  for (let i = 0; i < 100; i++) {
    t.equal(verdict(), 'no_list')
    trust.tick()
  }
  t.ok(performance.now() - begun < 1000)
  await until(t, () => server.asked.length > 0, 'asked')
  await sleep(50)
  t.equal(server.asked.length, 1)
  answer()
  await until(t, () => verdict() === 0, 'come')
  server.give('', 500)
  g.clock.advance(dayMs + 1000) // The list has ended.
  for (let i = 0; i < 100; i++) t.equal(verdict(), 'list_not_fresh')
  await until(t, async () => (await outcomeOf(g, 'failed')) === 1, 'one request asked for it at once')
  for (let i = 0; i < 100; i++) {
    g.clock.advance(200)
    verdict()
    trust.tick()
  }
  await sleep(50)
  t.equal(server.asked.length, 2, 'then none for 30 s')
  server.give(
    makeCrl(issuer, { thisUpdateMs: g.clock.now(), nextUpdateMs: g.clock.now() + dayMs, number: 2 }),
  )
  g.clock.advance(45_000)
  verdict()
  await until(t, () => verdict() === 0, 'and the next brings it back')
})

t.test('of several places the newest list counts, and one dead server is no harm', async (t) => {
  const g = setUp(t)
  const server = await serve(t, (_, response) =>
    response.end(listOf({ thisUpdateMs: nowMs, number: 2, ...withSigner })),
  )
  const dead = 'http://127.0.0.1:9/l.crl'
  g.putCrl(listOf())
  g.putList(1, [anchorOf({ lists: [dead, 'card-issuer.crl', server.url] })])
  const { verdict, trust } = g.follow()
  t.equal(verdict(), 0)
  g.clock.advance(limits.cardListStartMs)
  trust.tick()
  await until(t, () => verdict() === refusal.signerRevoked, 'the newer list of the server')
  g.putCrl(listOf({ thisUpdateMs: nowMs - 1000, number: 3 }))
  await until(
    t,
    () => g.faults.some((fault) => /older than the one in use/.test(fault)),
    'the older file is not',
  )
  t.equal(verdict(), refusal.signerRevoked)
})

t.test('a revoked signer that was remembered bites within a second of its list', async (t) => {
  const g = setUp(t)
  g.putCrl(listOf())
  g.putList(1, [anchorOf()])
  const { verdict } = g.follow()
  for (let i = 0; i < 3; i++) t.equal(verdict(), 0, 'remembered')
  await sleep(700) // Not in the first look after the start.
  g.putCrl(listOf({ thisUpdateMs: nowMs, number: 2, ...withSigner }))
  const file = await until(t, () => verdict() === refusal.signerRevoked, 'revoked', 1000)
  const h = setUp(t)
  const server = await serve(t, (_, response) => response.end(listOf()))
  h.putList(1, [anchorOf({ lists: [server.url] })])
  const followed = h.follow(1)
  await until(t, () => followed.verdict() === 0, 'fetched')
  for (let i = 0; i < 3; i++) t.equal(followed.verdict(), 0, 'remembered')
  let leftMs = 0
  server.act((_, response) => {
    leftMs = performance.now()
    response.end(listOf({ thisUpdateMs: nowMs, number: 2, ...withSigner }))
  })
  h.clock.advance(minuteMs)
  followed.trust.tick()
  await until(t, () => followed.verdict() === refusal.signerRevoked, 'revoked', 1000)
  t.comment(
    `${Math.round(file)} ms after the file was written, ${Math.round(performance.now() - leftMs)} ms after the server gave it`,
  )
})
