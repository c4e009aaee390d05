// `npm run bench`: what verifications cost, beside what they are made of and beside peers, in one run.
import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { present } from '../src/base/assert.ts'
import { limits } from '../src/base/limits.ts'
import type { AccessJob } from './access-parts.ts'
import { goodputBound, type Parts, printParts, sumOf } from './bench-parts.ts'
import { type ConstantGateway, startConstant } from './constant.ts'
import { fitInTime } from './fit.ts'
import { measureIntrospection, ratiosOf } from './introspection.ts'
import { readLines } from './lines.ts'
import { machine, measureBursts } from './machine.ts'
import { measure, type Options, type Run, sendLines } from './measure.ts'
import { isSound as arePeersSound, type Figures } from './peers/figures.ts'
import { defaults, measurePeers } from './peers/measure.ts'
import { runChild } from './prepare.ts'
import type { PrimitivesJob } from './primitives.ts'
import { isSound, printRun } from './report.ts'
import type { ScenarioName } from './scenarios.ts'
import { openSetup, type Setup } from './setup.ts'

const help = `npm run bench: cost of a verification, beside its parts and its peers, in one run of at most 10 minutes

  npm run bench                         everything
  npm run bench -- --without peers      not what npm must fetch first (load/peers)
  npm run bench -- --scale 0.3          fewer requests of each, for a look; 1: all, however long it takes
  npm run bench -- --out load/results/1.0.0.json

Needs redis-server. On a slow machine it sends fewer requests, as few as a quarter, and says so. Costs are CPU microseconds
of the gateway's processes, from the operating system. Each part is measured alone, over the same requests. The last line
is one JSON object: {"cold", "returning", "twinP256", "twinSm2", "introspect", "introspectVsOidcProvider", "p99Ms",
"goodput", "workers", "bureauQuestions", "rssMb", "wrong"}; what was left out is null. Exit code 1 if an answer is wrong,
or if more than 1 % of a scenario was not answered; ratios are printed, not asserted. docs/OPERATING.md says what each is.`

const options = {
  help: { type: 'boolean' },
  scale: { type: 'string' },
  without: { type: 'string', multiple: true },
  out: { type: 'string' },
} as const
const { values } = parseArgs({ options })
/** Of the usual numbers of requests, as asked for; and what of that is sent where time is short. */
const scale = Number(values.scale ?? 1)
if (!(scale > 0)) throw new RangeError(`--scale ${values.scale} is not a number above 0.`)
let fitted = 1
const print = (line: string) => console.log(line)
/** To each worker: as many questions as the bureau takes in one batch. */
const connections = 64
const atLoad = 0.7
/** Requests to each worker until V8 has compiled what it will: a gateway runs for weeks. */
const warmUp = 10_000

/** On a slow machine fewer requests are sent from here on. What was asked for by --scale is left as it is. */
function fitToTime(warmUpS: number): void {
  const { share, seconds } = fitInTime(warmUpS)
  if (values.scale === undefined) fitted = share
  const minutes = Math.ceil(seconds / 60)
  const fewer = `, a slow machine: ${Math.round(fitted * 100)} % of the requests are sent, to end in ${minutes} minutes`
  print(`Warmed up in ${Math.round(warmUpS)} s${fitted < 1 ? fewer : ''}.`)
}

type Tally = {
  wrong: number
  rssMb: number
  /** By run: CPU microseconds a request of each process, and of each part. */
  costs: Record<string, Record<string, number>>
  parts: Record<string, Parts>
  /** Each round's. */
  ratios: Record<string, readonly number[]>
  /** Runs of which too much was not answered: their figures are worth nothing. */
  unsound: string[]
}
const tally: Tally = { wrong: 0, rssMb: 0, costs: {}, parts: {}, ratios: {}, unsound: [] }

const countOf = (requests: number) => Math.max(500, Math.round(requests * scale * fitted))
/** So many whatever the time: what would mean something else with fewer. */
const whole = (requests: number) => requests / fitted

/** One scenario; its wrong answers count, whatever it is for. */
async function run(
  setup: Setup,
  scenario: ScenarioName,
  requests: number,
  more: Partial<Options> = {},
): Promise<Run> {
  const done = await measure(setup, { scenario, connections, count: countOf(requests), receipts: 5, ...more })
  tally.wrong += done.judgement.wrong + done.judgement.missingEntries + done.receipts.untrue
  if (!isSound(done)) tally.unsound.push(scenario)
  // Each of hundreds of connections costs some 200 kB: told with its run.
  if (done.connections <= done.rssMb.length * connections) tally.rssMb = Math.max(tally.rssMb, ...done.rssMb)
  return done
}

/** Told in full, and kept under a name. */
function tell(done: Run, name: string = done.scenario): Run {
  for (const line of printRun(done)) print(line)
  tally.costs[name] = done.cpu
  return done
}

const gatewayCost = (done: Run) => done.cpu['gateway'] ?? Number.NaN

/** The most that it takes: the more are on their way, the more they share, up to a point. */
async function capacityOf(setup: Setup, few: Run): Promise<number> {
  return Math.max(
    few.answeredPerSecond,
    (await run(setup, 'cold', whole(6000), { connections: 4 * connections })).answeredPerSecond,
  )
}

/** What a route with a constant answer costs on the same kind of listener, sent the same requests. */
function answerConstantly(
  gateway: ConstantGateway,
  { scenario: name, files }: Run,
  folder: string,
): Promise<number> {
  const lines = readLines(files).map((line) => ({ ...line, path: '/constant' }))
  return sendLines(lines, { listeners: gateway, name, folder, pid: gateway.pid, connections })
}

async function partsAlone(setup: Setup, name: ScenarioName, files: string[]): Promise<Parts> {
  let found: Parts | undefined
  const { dataDir, certsDir, redisUrl = '', bureauUrl = '' } = setup
  const job: PrimitivesJob & AccessJob = {
    ...{ dataDir, certsDir, redisUrl, bureauUrl, files },
    atOnce: connections,
    rounds: 1,
  }
  const isAccess = name === 'introspect' || name === 'session-storm'
  await runChild<typeof job, { done?: Parts }>(
    isAccess ? './access-parts.ts' : './primitives.ts',
    job,
    (told) => {
      found = told.done
    },
  ).ended
  if (!found) throw new Error('The parts were not measured.')
  return found
}

/** `answered`: the share of a run that was not refused for being too many. */
type Beside = { done: Run; parts: Parts; ratio: number; answered?: number }

/** One that is in the middle. */
function middleOf<T>(all: readonly T[], by: (one: T) => number): T {
  return present(all.toSorted((a, b) => by(a) - by(b))[Math.floor(all.length / 2)], 'a round')
}

function tellBeside({ done, parts, answered }: Beside, ratios: readonly number[]): void {
  tell(done)
  tally.parts[done.scenario] = parts
  tally.ratios[done.scenario] = ratios
  print('')
  for (const line of printParts(done.scenario, gatewayCost(done), parts, answered)) print(line)
  if (ratios.length > 1) print(`  in turn           ${ratios.map((ratio) => ratio.toFixed(2)).join(', ')}`)
}

/** A gateway, and another that answers with a constant. */
type Stage = { setup: Setup; constant: ConstantGateway }

const rounds = 3

/**
 * A scenario and its parts over the same requests, in turn, for the machine is not as fast from one minute to the next:
 * the round whose ratio is in the middle. Once before that to warm up.
 * @param options.given parts that are not measured of this scenario
 */
async function beside(
  { setup, constant }: Stage,
  name: ScenarioName,
  options: { requests: number; rounds: number; given?: Parts },
): Promise<Beside> {
  const { requests, given } = options
  const warm = await run(setup, name, requests)
  for (let i = 0; i < 2; i++) await answerConstantly(constant, warm, setup.folder)
  const all: Beside[] = []
  for (let round = 0; round < options.rounds; round++) {
    const done = await run(setup, name, requests)
    const parts = {
      ...given,
      'constant answer': await answerConstantly(constant, done, setup.folder),
      ...(await partsAlone(setup, name, done.files)),
    }
    all.push({ done, parts, ratio: gatewayCost(done) / sumOf(name, parts) })
  }
  const middle = middleOf(all, ({ ratio }) => ratio)
  const ratios = all.map(({ ratio }) => ratio)
  tellBeside(middle, ratios)
  const cost = gatewayCost(middleOf(all, ({ done }) => gatewayCost(done)).done)
  tally.costs[name] = { ...middle.done.cpu, gateway: cost }
  return middle
}

/** A scenario beside parts that were measured of others. */
async function besideThose(
  setup: Setup,
  name: ScenarioName,
  { requests, parts, ...more }: { requests: number; parts: Parts } & Partial<Options>,
): Promise<void> {
  const done = await run(setup, name, requests, more)
  const ratio = gatewayCost(done) / sumOf(name, parts)
  tellBeside({ done, parts, ratio }, [ratio])
}

/** CPU of a request that is refused for being one too many. */
async function refusalCost(): Promise<number> {
  const narrow = await openSetup({ workers: 1, redis: true, env: { IN_FLIGHT_MAX: '1' } })
  const single = { devices: 1, sealers: 1 } // More would be refused while they log in.
  try {
    await run(narrow, 'refusals', 2000, single)
    return gatewayCost(tell(await run(narrow, 'refusals', 6000, single)))
  } finally {
    await narrow.close()
  }
}

/** What is answered at twice the load, and in time, of what could be. */
async function overload(
  setup: Setup,
  {
    capacity,
    refusal,
    coldCost,
    parts,
  }: { capacity: number; refusal: number; coldCost: number; parts: Parts },
): Promise<number> {
  const rate = Math.round(capacity * 2)
  const done = await run(setup, 'overload', whole(rate * 8), { rate, connections: 2048 })
  const share = done.judgement.right / done.sent
  const of = { ...parts, refusal }
  const ratio = gatewayCost(done) / sumOf('overload', of, share)
  tellBeside({ done, parts: of, ratio, answered: share }, [ratio])
  const inTime = done.judgement.micros.yes.filter((micros) => micros <= limits.requestMsMax * 1000)
  const answered = (inTime.length / done.tookMs) * 1000
  const rho = refusal / coldCost
  const bound = goodputBound(rho)
  tally.costs['of overload'] = { capacity, answered, rho, bound }
  print(`A refusal costs ${rho.toFixed(3)} of a verification: at most ${bound.toFixed(2)} of the capacity`)
  return answered / capacity / bound
}

/**
 * Two processes beside one, in turn, each with the connections that one has, and requests on each: what each costs, and
 * how often they ask about one person together.
 */
async function twoWorkers(one: Setup) {
  print('Two workers beside one ...')
  const setup = await openSetup({ workers: 2, redis: true })
  try {
    await run(setup, 'cold', whole(2 * warmUp))
    const all: { done: Run; ratio: number }[] = []
    for (let round = 0; round < rounds; round++) {
      const askOne = () => run(one, 'cold', 3000)
      const early = round % 2 === 0 ? await askOne() : undefined // Who is first changes with the round.
      const done = await run(setup, 'cold', 2 * 3000, { connections: 2 * connections })
      const alone = early ?? (await askOne())
      all.push({ done, ratio: (2 * gatewayCost(alone)) / gatewayCost(done) })
    }
    const { done, ratio: workers } = middleOf(all, ({ ratio }) => ratio)
    tell(done, 'cold, two workers')
    tally.ratios['workers'] = all.map(({ ratio }) => ratio)
    const before = await setup.questions?.()
    await run(setup, 'same-person', whole(1000) / scale, { sealers: 1, rate: 1_000_000, connections: 1000 })
    return { workers, bureauQuestions: ((await setup.questions?.()) ?? Number.NaN) - (before ?? Number.NaN) }
  } finally {
    await setup.close()
  }
}

/** Costs and latency of one process, and its cost beside two. */
async function oneWorker(refusal: number) {
  const setup = await openSetup({ workers: 1, redis: true })
  const constant = await startConstant()
  const stage = { setup, constant }
  try {
    print('Warming up ...')
    const began = performance.now()
    await run(setup, 'cold', warmUp)
    fitToTime((performance.now() - began) / 1000)
    const cold = await beside(stage, 'cold', { requests: 3000, rounds })
    const returning = await beside(stage, 'returning', { requests: 3000, rounds })
    const sm2 = await beside(stage, 'sm2', { requests: 1500, rounds: 1 })
    const parts = { ...sm2.parts, ...cold.parts } // Beside those of P-256, what SM2 has of its own.
    for (const name of ['cached', 'mixed'] as const) await besideThose(setup, name, { requests: 3000, parts })
    for (const name of ['introspect', 'session-storm'] as const)
      await beside(stage, name, { requests: 2000, rounds: 1, given: parts })
    const two = await twoWorkers(setup)
    const capacity = await capacityOf(setup, cold.done)
    const open = { connections: 4 * connections, rate: Math.round(capacity * atLoad) }
    print(`Open loop at ${atLoad * 100} % of ${Math.round(capacity)} a second ...`)
    const calm = tell(await run(setup, 'cold', whole(open.rate * 10), open), 'cold, open loop')
    const coldCost = tally.costs['cold']?.['gateway'] ?? Number.NaN
    const goodput = await overload(setup, { capacity, refusal, coldCost, parts })
    // Last, as a bureau that is at fault shows in what comes after.
    for (const name of ['slow-bureau', 'bureau-down'] as const)
      await besideThose(setup, name, { requests: whole(1500), parts, connections: 2 * connections })
    const [p99Ms, ratios] = [calm.latencyMs.yesP99, { cold: cold.ratio, returning: returning.ratio }]
    return { ...ratios, p99Ms, goodput, ...two }
  } finally {
    await constant.close()
    await setup.close()
  }
}

async function peers() {
  if (values.without?.includes('peers')) return {}
  const fewer = { light: Math.ceil(defaults.light * scale * fitted) } // Cards as many as engines need to compile what is theirs.
  const { figures, table, differences } = await measurePeers({ ...fewer, progress: print })
  for (const line of ['', ...table, ...differences]) print(line)
  tally.wrong += figures.wrong + differences.length
  if (!arePeersSound(figures)) tally.unsound.push('peers')
  return figures
}

/** What the machine makes of code that has not run for a moment: an open loop is full of it. */
async function tellBursts() {
  const bursts = await measureBursts([1, 5, 20])
  const each = [1, 5, 20].map((burst) => `${bursts[burst]?.toFixed(0)} in bursts of ${burst}`).join(', ')
  print(
    `One ES256 check takes ${bursts.loop.toFixed(0)} µs in a loop; after 10 ms without anything to do ${each}.`,
  )
  return bursts
}

async function main(): Promise<number> {
  const began = performance.now()
  const bursts = await tellBursts()
  const one = await oneWorker(await refusalCost())
  const introspection = await measureIntrospection({ rounds, requests: countOf(6000) })
  tally.wrong += introspection.wrong
  const compared: Partial<Figures> = await peers()
  const rounded = (value: number | undefined, digits = 2) =>
    value === undefined || !Number.isFinite(value) ? null : Number(value.toFixed(digits))
  const result = {
    ...{ cold: rounded(one.cold), returning: rounded(one.returning) },
    ...{ twinP256: rounded(compared.twinP256), twinSm2: rounded(compared.twinSm2, 1) },
    introspect: rounded(ratiosOf(introspection.rounds, 'unique').perSecond),
    introspectVsOidcProvider: rounded(compared.introspectVsOidcProvider),
    ...{ p99Ms: rounded(one.p99Ms, 1), goodput: rounded(one.goodput), workers: rounded(one.workers) },
    ...{ bureauQuestions: one.bureauQuestions, rssMb: Math.round(tally.rssMb), wrong: tally.wrong },
  }
  const seconds = Math.round((performance.now() - began) / 1000)
  print(`${seconds} s`)
  for (const name of tally.unsound)
    print(`${name}: more than 1 % was not answered; what is said of it is worth nothing`)
  if (values.out) {
    const { costs, parts, ratios, unsound } = tally
    const at = new Date().toISOString()
    const kept = {
      ...result,
      at,
      seconds,
      machine: { ...machine(), es256Micros: bursts },
      scale: scale * fitted,
      unsound,
      costs,
      parts,
      ratios,
      introspection: introspection.rounds,
      peers: compared,
    }
    const short = (_: string, value: unknown) =>
      typeof value === 'number' ? Number(value.toPrecision(6)) : value
    writeFileSync(resolve(values.out), `${JSON.stringify(kept, short, 2)}\n`)
  }
  print(JSON.stringify(result))
  return tally.wrong + tally.unsound.length === 0 ? 0 : 1
}

if (values.help) print(help)
else process.exitCode = await main()
