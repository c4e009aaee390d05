// Trust in card issuers as a gateway follows it: signed lists that only go forward, revocation lists from files and from
// servers that may be slow, broken or hostile, and how soon a revoked signer is one. Decisions are by the test clock.
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type CrlContent, type Issued, makeCardCrl, serialOf } from '../certs/card-issuer.ts'
import { createMetrics } from '../plugins/metrics.ts'
import { printBase64url } from '../src/base/bytes.ts'
import { dayMs, manualClock } from '../src/base/clock.ts'
import { limits } from '../src/base/limits.ts'
import { printPem } from '../src/base/pem.ts'
import { createCardVerifier } from '../src/card/check.ts'
import { refusal } from '../src/card/refusal.ts'
import type { CardVerdict } from '../src/card/verdict.ts'
import { followCardTrust } from '../src/card-trust.ts'
import { p256, sm2 } from '../src/pki/suites.ts'
import { type ListedAnchor, signTrustList } from '../src/pki/trust-list.ts'
import { issueCard, readCard } from '../src/simulator/cards.ts'
import { context, holder, nowMs, signedMs, worlds } from './helpers/cards.ts'
import { sleep, until } from './helpers/carrier-calls.ts'
import { makeFolder } from './helpers/folder.ts'

const [world, world2] = worlds
const { issuer, signer, makeCrl } = world
const reading = readCard(issueCard(holder, signer, { signedMs }), context)
const reading2 = readCard(issueCard(holder, world2.signer, { signedMs }), context)
const minuteMs = 60_000
const iat = Math.floor(nowMs / 1000)

const anchorOf = (given: Partial<ListedAnchor> = {}, by: Issued = issuer): ListedAnchor => ({
  certificate: printBase64url(by.certificateDer),
  ...{ suite: 1, state: 'CHN', authorities: [], lists: ['card-issuer.crl'] },
  ...given,
})
const anchor2 = anchorOf({ suite: 2, lists: ['card-issuer-sm2.crl'] }, world2.issuer)

/** A list of the issuer, with the signer on it if that is asked. */
function listOf(given: Partial<CrlContent> & { revoked?: CrlContent['revoked'] } = {}): Buffer {
  return makeCrl(issuer, given)
}
const withSigner = { revoked: [{ serial: serialOf(signer.certificateDer), atMs: nowMs }] }

/** Folders of a gateway, the key that signs for it, and what it logs. */
function setUp(t: Test, key: KeyObject = generateKeyPairSync('ed25519').privateKey) {
  const folder = makeFolder()
  const [certsDir, dataDir] = [join(folder.path, 'certs'), join(folder.path, 'data')]
  for (const path of [certsDir, dataDir]) mkdirSync(path)
  const clock = manualClock(nowMs)
  const said: string[] = []
  const faults: string[] = []
  const say = (level: string) => (fields: unknown, message?: string) => {
    const fault = (fields as { err?: Error }).err?.message
    said.push(`${level} ${message}`)
    if (fault) faults.push(fault)
  }
  const log = { info: say('info'), warn: say('warn'), error: say('error') }
  const metrics = createMetrics()
  const put = (name: string, text: string) => writeFileSync(join(certsDir, name), text)
  const putKey = (by: KeyObject) => put('card-trust.pub', printPublic(by))
  const sign = (seq: number, anchors: readonly ListedAnchor[], given: { iat?: number; exp?: number } = {}) =>
    signTrustList({ seq, iat, exp: iat + 90 * 86_400, anchors, ...given }, key)
  const putList = (...args: Parameters<typeof sign>) => put('card-trust.jwt', `${sign(...args)}\n`)
  const putCrl = (der: Buffer, name = 'card-issuer.crl') => put(name, printPem('X509 CRL', der))
  putKey(key)
  const open: { close(): Promise<void> }[] = []
  t.teardown(async () => {
    for (const one of open) await one.close()
    folder.remove()
  })
  function follow(minutes = 15) {
    const config = { VOUCHSAFE_CERTS: certsDir, VOUCHSAFE_DATA: dataDir, CARD_CRL_MINUTES: minutes }
    const trust = followCardTrust({ config, clock, log, metrics })
    open.push(trust)
    const verify = createCardVerifier({ suite: p256, trust: trust.current })
    const verify2 = createCardVerifier({ suite: sm2, trust: trust.current })
    const verdict = (one = reading, by = verify) => {
      try {
        return (by(one, { context, nowMs: clock.now() }) as CardVerdict).refusal
      } catch (error) {
        return (error as { code?: string; reason?: string }).reason
      }
    }
    return { trust, verdict, verdict2: () => verdict(reading2, verify2) }
  }
  const metric = async (name: string) => (await metrics.registry.getSingleMetricAsString(name)) ?? ''
  return {
    ...{ certsDir, dataDir, clock, said, faults, put, putKey, putList, putCrl, sign, follow, metric, log },
  }
}

const printPublic = (key: KeyObject) => createPublicKey(key).export({ format: 'pem', type: 'spki' }) as string

t.test('issuers of both suites are trusted for what the list says', async (t) => {
  const g = setUp(t)
  g.putList(1, [anchorOf(), anchor2])
  g.putCrl(listOf())
  g.putCrl(world2.makeCrl(), 'card-issuer-sm2.crl')
  const { trust, verdict, verdict2 } = g.follow()
  t.same([verdict(), verdict2()], [0, 0])
  t.equal(trust.current().notAfterMs, nowMs + 90 * dayMs)
  t.ok(trust.isFresh(nowMs))
  t.notOk(trust.isFresh(nowMs + 91 * dayMs))
  g.putList(2, [anchorOf({ authorities: ['第二'] }), { ...anchor2, state: 'PRK' }])
  await until(t, () => verdict() === refusal.signerUntrusted, 'another authority')
  t.equal(verdict2(), refusal.signerUntrusted, 'another state')
  g.putList(3, [anchorOf({ authorities: ['第二', '第一虚构市'] }), anchor2])
  await until(t, () => verdict() === 0, 'an authority of the list')
  t.equal(verdict2(), 0)
})

t.test('an issuer that leaves the list is out at once, its remembered cards with it', async (t) => {
  const g = setUp(t)
  g.putList(1, [anchorOf(), anchor2])
  g.putCrl(listOf())
  g.putCrl(world2.makeCrl(), 'card-issuer-sm2.crl')
  const { verdict, verdict2, trust } = g.follow()
  t.same([verdict(), verdict(), verdict2()], [0, 0, 0])
  const list2 = trust.current().listOf(trust.current().anchors[1] as never)
  g.putList(2, [anchor2])
  const ms = await until(t, () => verdict() === refusal.signerUntrusted, 'out', 1000)
  t.comment(`${Math.round(ms)} ms after the list was written`)
  t.equal(verdict2(), 0, 'who stays is not disturbed')
  t.equal(trust.current().listOf(trust.current().anchors[0] as never), list2, 'and keeps its list')
  g.putList(3, [anchorOf(), anchor2])
  await until(t, () => verdict() === 0, 'and may come back')
})

t.test(
  'a list never goes back, is never another of the same number, and nothing bad replaces it',
  async (t) => {
    const g = setUp(t)
    g.putCrl(listOf())
    g.putList(5, [anchorOf()])
    const { verdict } = g.follow()
    const bad: [string, () => void, RegExp][] = [
      ['an older one', () => g.putList(4, [anchorOf()]), /has number 4, and number 5 .+--seq 6 or higher/],
      ['another of its number', () => g.putList(5, [anchor2]), /another list of this number/],
      ['nothing', () => g.put('card-trust.jwt', ''), /not a list of this kind/],
      ['half of one', () => g.put('card-trust.jwt', g.sign(6, [anchor2]).slice(0, 400)), /Fix: /],
      [
        'one of another key',
        () => g.put('card-trust.jwt', setUp(t).sign(6, [anchor2])),
        /not signed by the key of card-trust\.pub/,
      ],
      [
        'one that has ended',
        () => g.putList(6, [anchor2], { iat: iat - 100, exp: iat - 50 }),
        /ended at .+Fix: sign one that holds/,
      ],
      ['one of the future', () => g.putList(6, [anchor2], { iat: iat + 301 }), /signed in the future/],
      ['none', () => rmSync(join(g.certsDir, 'card-trust.jwt')), /ENOENT/],
    ]
    for (const [name, make, says] of bad) {
      const before = g.faults.length
      make()
      await until(t, () => g.faults.length > before, name)
      t.match(g.faults.at(-1), says, name)
      t.equal(verdict(), 0, `${name}: the one in force stays`)
    }
    g.putList(6, [anchor2])
    await until(t, () => verdict() === refusal.signerUntrusted, 'a good one is taken after them all')
  },
)

t.test('nor does it go back across a restart, whatever the clock or the file says', async (t) => {
  const key = generateKeyPairSync('ed25519').privateKey
  const g = setUp(t, key)
  g.putCrl(listOf())
  g.putList(5, [anchorOf()])
  const first = g.follow()
  g.putList(8, [anchorOf()])
  await until(t, () => g.said.includes('info card trust list in force'), 'taken')
  await first.trust.close()
  g.putList(7, [anchorOf()])
  t.throws(() => g.follow(), /has number 7, and number 8 was in force before\. Fix: .+--seq 9/)
  g.putList(8, [anchor2, anchorOf()])
  t.throws(() => g.follow(), /another list of this number/)
  g.putList(8, [anchorOf()])
  t.equal(g.follow().verdict(), 0, 'the same again')
  // Numbers count for one key: a gateway that pins another begins anew, and comes back to where it was.
  const other = setUp(t)
  g.put('card-trust.pub', readFileSync(join(other.certsDir, 'card-trust.pub'), 'utf8'))
  g.put('card-trust.jwt', other.sign(1, [anchorOf()]))
  t.equal(g.follow().verdict(), 0)
  g.putKey(key)
  g.putList(7, [anchorOf()])
  t.throws(() => g.follow(), /number 8 was in force/)
  for (const text of ['nonsense\n', readFileSync(join(g.dataDir, 'card-trust.seq'), 'utf8').slice(0, -1)]) {
    writeFileSync(join(g.dataDir, 'card-trust.seq'), text)
    t.throws(() => g.follow(), /card-trust\.seq is damaged.+Fix: /)
  }
})

t.test('a start without a good list is refused, with what to do', async (t) => {
  const g = setUp(t)
  t.throws(() => g.follow(), /card-trust\.jwt/)
  g.putList(1, [anchorOf()], { iat: iat + 301 })
  t.throws(() => g.follow(), /signed in the future.+Fix: /)
  rmSync(join(g.certsDir, 'card-trust.pub'))
  t.throws(() => g.follow(), /card-trust\.pub/)
  t.same(readdirSync(g.dataDir), [], 'and nothing is remembered of what was not in force')
})

t.test('the end of the list is warned of for two weeks and then bites', async (t) => {
  const g = setUp(t)
  const end = iat + 20 * 86_400
  g.putList(1, [anchorOf()], { exp: end })
  g.putCrl(listOf({ nextUpdateMs: nowMs + 40 * dayMs }))
  const { trust, verdict } = g.follow()
  const said = (what: string) => g.said.filter((line) => line === what).length
  for (let hour = 0; hour < 20 * 24; hour++) {
    trust.tick()
    g.clock.advance(3_600_000)
  }
  t.equal(said('warn card trust list ends soon'), 14, 'once a day')
  t.equal(said('error card trust list has ended'), 0)
  t.equal(verdict(), 0, 'to its last second')
  g.clock.advance(1)
  trust.tick()
  t.equal(said('error card trust list has ended'), 1)
  t.equal(verdict(), 'anchors_ended')
  t.notOk(trust.isFresh(g.clock.now()))
  t.match(await g.metric('vouchsafe_card_trust_end_seconds'), new RegExp(`${end}$`, 'm'))
  t.equal(g.follow().verdict(), 'anchors_ended', 'a start with it stands, and answers nothing')
  g.putList(2, [anchorOf()], { exp: end + 86_400 })
  await until(t, () => verdict() === 0, 'until a new one comes')
})

t.test('a file that is not there keeps only its own cards waiting', async (t) => {
  const g = setUp(t)
  g.putList(1, [anchorOf(), anchor2])
  g.putCrl(world2.makeCrl(), 'card-issuer-sm2.crl')
  const { trust, verdict, verdict2 } = g.follow()
  t.same([verdict(), verdict2()], ['no_list', 0])
  t.ok(trust.isFresh(nowMs), 'the others are answered')
  t.match(await g.metric('vouchsafe_card_lists_stale'), /^vouchsafe_card_lists_stale 1$/m)
  g.putCrl(listOf())
  await until(t, () => verdict() === 0, 'it comes')
  trust.tick()
  t.match(await g.metric('vouchsafe_card_lists_stale'), /^vouchsafe_card_lists_stale 0$/m)
  g.clock.advance(dayMs + 1)
  t.same([verdict(), trust.isFresh(g.clock.now())], ['list_not_fresh', false])
})

/** A server of revocation lists. What it does can be changed; how often it was asked is counted. */
async function serve(t: Test, first: RequestListener) {
  let act = first
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(request.url ?? '')
    act(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/of/card-issuer.crl?v=1`
  const give = (bytes: Buffer | string, status = 200, headers = {}) => {
    act = (_, response) => response.writeHead(status, headers).end(bytes)
  }
  return { url, asked, give, act: (next: RequestListener) => (act = next) }
}

const outcomeOf = async (g: ReturnType<typeof setUp>, outcome: string) =>
  Number(
    new RegExp(`outcome="${outcome}"} (\\d+)`).exec(
      await g.metric('vouchsafe_card_list_fetches_total'),
    )?.[1] ?? 0,
  )

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
