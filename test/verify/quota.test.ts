// A carrier's quota: answers in a calendar month of Asia/Shanghai, read from the ledger's count once a second at most.
import t from 'tap'
import { carrierDay, manualClock, monthStart, parseDay, printDay } from '../../src/base/clock.ts'
import { createQuotas } from '../../src/verify/quota.ts'

t.test('days and months are those of Asia/Shanghai', (t) => {
  t.equal(printDay(carrierDay(Date.UTC(2026, 10, 30, 15, 59, 59))), '2026-11-30')
  t.equal(printDay(carrierDay(Date.UTC(2026, 10, 30, 16))), '2026-12-01')
  t.equal(printDay(monthStart(carrierDay(Date.UTC(2026, 10, 30, 16)))), '2026-12-01')
  t.equal(printDay(monthStart(parseDay('2028-02-29') ?? 0)), '2028-02-01')
  for (const bad of [
    '2026-02-29',
    '2026-13-01',
    '2026-1-1',
    '',
    '2026-11-28T00:00:00Z',
    '20261128',
    ' 2026-11-28',
  ])
    t.equal(parseDay(bad), undefined, bad)
  t.end()
})

t.test('used up at its number, and free again with the next month', (t) => {
  const clock = manualClock(Date.UTC(2026, 10, 30, 15, 58, 50))
  const asked: [string, string, string][] = []
  const answers: Record<string, number> = { before: 2, today: 2 }
  const quotas = createQuotas({
    clock,
    countAnswers(carrier, from, to) {
      asked.push([carrier, printDay(from), printDay(to)])
      if (printDay(to) === '2026-12-01') return 0
      return (from < to || printDay(to) !== '2026-11-30' ? answers['before'] : answers['today']) ?? 0
    },
  })
  const within = () => quotas.assertWithin('swift-crane', 5)
  within()
  answers['today'] = 3
  within()
  const first = [
    ['swift-crane', '2026-11-01', '2026-11-29'],
    ['swift-crane', '2026-11-30', '2026-11-30'],
  ]
  t.same(asked, first, 'read once a second')
  clock.advance(1000)
  t.throws(within, { code: 'quota_used_up' })
  t.same(asked.slice(2), [first[1]], 'of the days before only once a minute')
  t.doesNotThrow(() => quotas.assertWithin('swift-crane', null), 'no quota')
  t.throws(() => quotas.assertWithin('river-post', 0), { code: 'quota_used_up' })
  answers['before'] = 1
  clock.advance(59_000)
  within()
  t.equal(quotas.usedBy('swift-crane'), 4, 'what was on its way at midnight is counted within a minute')
  clock.advance(10_000)
  within()
  t.same(asked.at(-1), ['swift-crane', '2026-12-01', '2026-12-01'], 'and nothing before the first of a month')
  t.equal(quotas.usedBy('swift-crane'), 0)
  t.end()
})
