// What `npm run bench:peers` makes of its arguments and of its rounds: the peers themselves answer for theirs in the run.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { cpuMicros } from '../../load/cpu.ts'
import type { Rate } from '../../load/peers/drive.ts'
import { figuresOf, isSound, median, printTable, type Rates, subjects } from '../../load/peers/figures.ts'
import { isInstalled } from '../../load/peers/install.ts'
import { defaults } from '../../load/peers/measure.ts'
import { help, readPlan } from '../../load/peers/run.ts'
import { makeFolder } from '../helpers/folder.ts'

const rate = (cpuMicros: number, more: Partial<Rate> = {}): Rate => ({
  ...{ perSecond: 1e6 / cpuMicros, cpuMicros, redisMicros: 0, sent: 100, wrong: 0, unanswered: 0 },
  ...more,
})

/** Every subject at 100 µs, in three rounds, but for those given. */
const ratesWith = (given: Rates): Rates => ({
  ...Object.fromEntries(Object.keys(subjects).map((name) => [name, [rate(100), rate(100), rate(100)]])),
  ...given,
})

t.test('arguments are numbers from 1, and others are named', (t) => {
  t.same(readPlan([]), defaults)
  t.same(readPlan(['--rounds', '1', '--sm2', '32']), { ...defaults, rounds: 1, sm2: 32 })
  t.equal(readPlan(['--help']), undefined)
  for (const wrong of ['0', '-1', 'x', '1.5', '1000000', ''])
    t.throws(() => readPlan([`--light=${wrong}`]), { message: /^--light / }, wrong)
  t.throws(() => readPlan(['--cards', '1']), { code: 'ERR_PARSE_ARGS_UNKNOWN_OPTION' })
  for (const name of Object.keys(defaults)) t.match(help, `--${name} N`)
  for (const key of Object.keys(figuresOf({})).slice(0, 1)) t.match(help, `"${key}"`)
  t.end()
})

t.test('a ratio is the median of the rounds’ ratios, Redis counted', (t) => {
  const given = ratesWith({
    verifyP256: [rate(100), rate(1000), rate(50, { redisMicros: 50 })],
    twinP256: [rate(200), rate(2500), rate(250, { redisMicros: 50 })],
    oidcIntrospect: [rate(300), rate(500), rate(400)],
  })
  const figures = figuresOf(given)
  t.equal(figures.twinP256, 2.5)
  t.equal(figures.twinSm2, 1)
  t.equal(figures.introspectVsOidcProvider, 4)
  t.equal(figures.introspectThroughput, 4)
  t.equal(figures.constantHttpsMicros, 100)
  t.equal(median([]), 0)
  t.equal(median([4, 1]), 2.5)
  t.end()
})

t.test('the table has a line for each subject, with its ratio', (t) => {
  const rates = ratesWith({ twinSm2: [rate(5000, { redisMicros: 12.4 })] })
  const [head, ...lines] = printTable(rates)
  t.match(head, /^what +who +requests\/s +CPU µs +Redis µs +to ours$/)
  t.equal(lines.length, Object.keys(subjects).length)
  t.match(
    lines.find((line) => line.includes('naive twin') && line.includes('SM2')),
    / 200 +5000 +12 +50\.12$/,
  )
  t.match(lines[0], /^verify, new P-256 card +gateway +10000 +100 +- +1\.00$/)
  t.end()
})

t.test('wrong answers, and many that are missing, make a run unsound', (t) => {
  t.ok(isSound(figuresOf(ratesWith({}))))
  t.notOk(isSound(figuresOf(ratesWith({ session: [rate(1, { wrong: 1 })] }))))
  t.ok(isSound(figuresOf({ session: [rate(1, { unanswered: 1 })] })))
  t.notOk(isSound(figuresOf({ session: [rate(1, { unanswered: 2 })] })))
  t.end()
})

t.test('packages count as installed when each has the version of the lock file', (t) => {
  const { path, remove } = makeFolder()
  t.teardown(remove)
  const write = (name: string, packages: object) =>
    writeFileSync(join(path, name), JSON.stringify({ packages }))
  write('package-lock.json', { '': {}, 'node_modules/a': { version: '1.0.0' } })
  t.notOk(isInstalled(path))
  mkdirSync(join(path, 'node_modules'))
  write('node_modules/.package-lock.json', { 'node_modules/a': { version: '0.9.0' } })
  t.notOk(isInstalled(path))
  write('node_modules/.package-lock.json', { 'node_modules/a': { version: '1.0.0' } })
  t.ok(isInstalled(path))
  t.end()
})

t.test('CPU time of a process grows with its work', (t) => {
  const before = cpuMicros(process.pid)
  while (cpuMicros(process.pid) - before < 10_000);
  t.ok(cpuMicros(process.pid) - before >= 10_000)
  t.end()
})
