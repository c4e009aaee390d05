// `vouchsafe carrier`, as a person types it.
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { manualClock } from '../../src/base/clock.ts'
import { runCarrier } from '../../src/commands/carrier.ts'
import { markProduction } from '../../src/registry/carriers.ts'
import { changesAfter } from '../../src/registry/changes.ts'
import { addOperator } from '../../src/registry/operators.ts'
import { openRegistry } from '../../src/registry/schema.ts'

async function startTest(t: Test) {
  const dataDir = t.testdir()
  const db = await openRegistry(join(dataDir, 'registry.db'))
  t.teardown(() => db.destroy())
  const name = 'lin.qiao'
  const { secret } = await addOperator(db, { name, role: 'admin', by: name, nowMs: 1 })
  async function type(...args: string[]) {
    const [out, err]: [string[], string[]] = [[], []]
    const code = await runCarrier(args, {
      ...{ out: (line: string) => out.push(line), err: (line: string) => err.push(line), dataDir },
      ...{ clock: manualClock(1000), operator: anonymous ? undefined : { name, secret } },
      waitForEntry: async (seq) => seq !== 3,
    })
    return { code, out, err }
  }
  let anonymous = false
  const forgetOperator = () => {
    anonymous = true
  }
  return { type, db, forgetOperator }
}

const admit = [
  'admit',
  'swift-crane',
  '--name',
  'Swift Crane Express',
  '--outlet',
  'harbour=Harbour = East',
  '--outlet',
  'old-bridge',
]

t.test('a carrier is admitted, suspended, reinstated and listed', async (t) => {
  const { type, db } = await startTest(t)
  t.match(await type(...admit), {
    code: 0,
    out: [
      'Carrier swift-crane is admitted with 2 outlets.',
      'Change 2 is in force and recorded in the ledger.',
    ],
    err: [],
  })
  const outlets = await db.selectFrom('outlets').selectAll().orderBy('id').execute()
  t.same(outlets, [
    { carrier: 'swift-crane', id: 'harbour', name: 'Harbour = East' },
    { carrier: 'swift-crane', id: 'old-bridge', name: 'old-bridge' },
  ])
  t.match(await type('suspend', 'swift-crane', '--reason', 'certificate leaked'), {
    code: 0,
    out: ['Carrier swift-crane is suspended.', /^Change 3 is in force; its ledger entry is still pending/],
  })
  t.match(await type('list'), {
    code: 0,
    out: ['swift-crane\tsuspended\tSwift Crane Express\toutlets harbour, old-bridge'],
  })
  t.match(await type('suspend', 'swift-crane', '--reason', 'again'), {
    code: 1,
    err: [/is suspended already/],
  })
  t.match(await type('reinstate', 'swift-crane'), {
    code: 0,
    out: ['Carrier swift-crane is active again.', /./],
  })
  const acts = (await changesAfter(db, 1, 10)).map(({ act }) => JSON.parse(act))
  t.match(acts, [
    { act: 'carrier.admit', direct: true, operator: 'lin.qiao' },
    { act: 'carrier.suspend', reason: 'certificate leaked', operator: 'lin.qiao' },
    { act: 'carrier.reinstate', operator: 'lin.qiao' },
  ])
})

t.test('what the registry refuses exits with 1 and says why', async (t) => {
  const { type, forgetOperator } = await startTest(t)
  await type(...admit)
  const table: [args: string[], said: RegExp][] = [
    [admit, /Carrier "swift-crane" is known already/],
    [['admit', 'River', '--name', 'X', '--outlet', 'a'], /Carrier id "River" must be 2 to 32/],
    [['admit', 'river', '--name', 'X', '--outlet', '=x'], /Outlet id "" must be/],
    [['admit', 'river', '--name', 'X', '--outlet', 'a', '--outlet', 'a'], /Outlet "a" is given twice/],
    [['suspend', 'river', '--reason', 'x'], /Carrier "river" is unknown/],
    [['reinstate', 'swift-crane'], /is active already/],
  ]
  for (const [args, said] of table)
    t.match(await type(...args), { code: 1, out: [], err: [said] }, args.join(' '))
  forgetOperator()
  for (const args of [admit, ['suspend', 'swift-crane', '--reason', 'x'], ['reinstate', 'swift-crane']]) {
    t.match(await type(...args), { code: 1, out: [], err: [/Who acts\?/] })
  }
  t.match(await type('list'), { code: 0 }, 'to look needs nobody')
})

t.test(
  'where a gateway served in production nobody is admitted without review, whatever mode is set here',
  async (t) => {
    const { type, db } = await startTest(t)
    await markProduction(db, 1000)
    t.match(await type(...admit), {
      code: 1,
      out: [],
      err: [/served in production.*vouchsafe carrier apply/],
    })
    t.match(await type('list'), { code: 0, out: [] })
  },
)

t.test('what cannot be understood exits with 64 and names what was wrong', async (t) => {
  const { type } = await startTest(t)
  const table: [args: string[], said: RegExp][] = [
    [[], /vouchsafe carrier admit/],
    [['admit'], /vouchsafe carrier admit/],
    [['close', 'swift-crane'], /vouchsafe carrier admit/],
    [['suspend', 'a', 'b', '--reason', 'x'], /vouchsafe carrier admit/],
    [['admit', 'swift-crane', '--outlet', 'a'], /--name is missing/],
    [['admit', 'swift-crane', '--name', 'X'], /--outlet is missing/],
    [['suspend', 'swift-crane'], /--reason is missing.* See "vouchsafe carrier --help"/],
    [['list', '--verbose'], /Unknown option '--verbose'/],
  ]
  for (const [args, said] of table)
    t.match(await type(...args), { code: 64, out: [], err: [said] }, args.join(' '))
  t.match(await type('suspend', '--help'), {
    code: 0,
    out: [/vouchsafe carrier suspend swift-crane --reason/],
  })
})
