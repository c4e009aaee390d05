// Trust in card issuers as a gateway follows it: signed lists that only go forward, and revocation lists in files. Decisions
// are by the test clock.
import { generateKeyPairSync } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { dayMs } from '../src/base/clock.ts'
import { refusal } from '../src/card/refusal.ts'
import { nowMs, worlds } from './helpers/cards.ts'
import { until } from './helpers/carrier-calls.ts'
import { anchor2, anchorOf, iat, listOf, setUp } from './helpers/followed-trust.ts'

const [, world2] = worlds

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
