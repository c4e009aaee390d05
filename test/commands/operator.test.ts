// `vouchsafe operator`, as a person types it.
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { manualClock } from '../../src/base/clock.ts'
import type { CommandIo } from '../../src/commands/io.ts'
import { runOperator } from '../../src/commands/operator.ts'
import { checkOperator } from '../../src/registry/operators.ts'
import { openRegistry } from '../../src/registry/schema.ts'

function startTest(t: Test, dataDir = join(t.testdir(), 'data')) {
  const waited: number[] = []
  let recorded = true
  let operator: CommandIo['operator']
  /** Types one command; resolves to its exit code and what it said. */
  async function type(...args: string[]) {
    const [out, err]: [string[], string[]] = [[], []]
    const code = await runOperator(args, {
      out: (line) => out.push(line),
      err: (line) => err.push(line),
      dataDir,
      clock: manualClock(1000),
      operator,
      async waitForEntry(seq) {
        waited.push(seq)
        return recorded
      },
    })
    return { code, out, err }
  }
  const as = (name: string, secret: string) => {
    operator = { name, secret }
  }
  const ledgerIsDown = () => {
    recorded = false
  }
  return { type, as, ledgerIsDown, waited, dataDir }
}

t.test('the first operator needs nobody, makes the folder and is shown the secret once', async (t) => {
  const { type, as, dataDir, waited, ledgerIsDown } = startTest(t)
  const { code, out, err } = await type('add', 'lin.qiao', '--role', 'admin')
  t.same({ code, err }, { code: 0, err: [] })
  t.match(out, [
    'Operator lin.qiao, role admin. The secret, shown this once:',
    /^[\w-]{43}$/,
    /recorded in the ledger/,
  ])
  t.same(waited, [1])
  t.equal(statSync(dataDir).mode & 0o777, 0o700)
  const secret = out[1] ?? ''
  const db = await openRegistry(join(dataDir, 'registry.db'))
  t.same(await checkOperator(db, 'lin.qiao', secret), { name: 'lin.qiao', role: 'admin' })
  await db.destroy()
  t.match(await type('add', 'scraper', '--role', 'metrics'), {
    code: 1,
    out: [],
    err: [/^Who acts\? Set OPERATOR_NAME/],
  })
  as('lin.qiao', secret)
  ledgerIsDown()
  t.match(await type('add', 'scraper', '--role', 'metrics'), {
    code: 0,
    out: [/scraper, role metrics/, /./, /still pending/],
  })
  t.match(await type('list'), { code: 0, out: ['lin.qiao\tadmin\tactive', 'scraper\tmetrics\tactive'] })
  t.notOk(JSON.stringify(await type('list')).includes(secret))
})

t.test('a wrong secret, an unknown name and another role than admin are refused', async (t) => {
  const { type, as, waited } = startTest(t)
  const lin = (await type('add', 'lin.qiao', '--role', 'admin')).out[1] ?? ''
  as('lin.qiao', lin)
  const secrets: Record<string, string> = {}
  for (const role of ['reviewer', 'auditor', 'metrics']) {
    secrets[role] = (await type('add', `the-${role}`, '--role', role)).out[1] ?? ''
  }
  as('lin.qiao', `${lin}x`)
  const wrong = await type('add', 'mallory', '--role', 'admin')
  t.match(wrong, {
    code: 1,
    out: [],
    err: [/OPERATOR_NAME = "lin.qiao" and OPERATOR_SECRET do not belong together/],
  })
  t.notOk(JSON.stringify(wrong).includes(lin), 'the secret is not shown again')
  as('nobody', lin)
  t.match(await type('add', 'mallory', '--role', 'admin'), { code: 1, out: [] })
  for (const [role, secret] of Object.entries(secrets)) {
    as(`the-${role}`, secret)
    t.match(await type('add', 'mallory', '--role', 'admin'), {
      code: 1,
      err: [new RegExp(`has role ${role}; this needs admin`)],
    })
  }
  t.same(waited, [1, 2, 3, 4], 'nothing was changed')
})

t.test('the first must be an admin, and names keep their form', async (t) => {
  const { type, as } = startTest(t)
  t.match(await type('add', 'scraper', '--role', 'metrics'), {
    code: 1,
    err: [/first operator must have role admin/],
  })
  t.match(await type('add', 'Lin', '--role', 'admin'), { code: 1, err: [/Operator name "Lin" must be/] })
  const { out } = await type('add', 'lin.qiao', '--role', 'admin')
  as('lin.qiao', out[1] ?? '')
  t.match(await type('add', 'lin.qiao', '--role', 'admin'), { code: 1, err: [/known already/] })
})

t.test('what cannot be understood exits with 64 and names what was wrong', async (t) => {
  const { type, dataDir } = startTest(t)
  const table: [args: string[], said: RegExp][] = [
    [[], /vouchsafe operator add/],
    [['add'], /vouchsafe operator add/],
    [['remove', 'lin.qiao'], /vouchsafe operator add/],
    [['add', 'a', 'b', '--role', 'admin'], /vouchsafe operator add/],
    [['list', 'more'], /vouchsafe operator add/],
    [['add', 'lin.qiao'], /--role is missing: give one of admin, reviewer, auditor, metrics\. See/],
    [['add', 'lin.qiao', '--role', 'root'], /--role "root" is no role/],
    [['add', 'lin.qiao', '--role'], /--role .*argument missing/],
    [['add', 'lin.qiao', '--rule', 'admin'], /Unknown option '--rule'.* See "vouchsafe operator --help"/],
  ]
  for (const [args, said] of table)
    t.match(await type(...args), { code: 64, out: [], err: [said] }, args.join(' '))
  t.match(await type('--help'), { code: 0, out: [/vouchsafe operator add lin\.qiao --role admin/], err: [] })
  t.match(await type('add', '--help'), { code: 0, out: [/vouchsafe operator add lin\.qiao --role admin/] })
  t.notOk(existsSync(dataDir), 'and nothing was made')
})

t.test('a folder without a registry is told, not made', async (t) => {
  const { type, dataDir } = startTest(t)
  t.match(await type('list'), {
    code: 1,
    err: [/There is no registry at .*data\/registry\.db\. Set VOUCHSAFE_DATA/],
  })
  t.notOk(existsSync(dataDir))
})
