// `npm run load`: one scenario against a gateway, every answer judged.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { measure, type Run } from './measure.ts'
import { isSound, printRun, summaryOf, writeReport } from './report.ts'
import { type ScenarioName, scenarioNames, scenarioOf } from './scenarios.ts'
import { aimAt, openSetup, type Setup } from './setup.ts'

const ownScenarios = scenarioNames.filter((name) => !scenarioOf(name).ofBench)

const help = `npm run load: requests sealed beforehand against a gateway over TLS, every answer judged

  npm run load                                              mixed, 32 connections, 10 s
  npm run load -- --scenario mixed --connections 64 --duration 30 --workers 2
  npm run load -- --scenario cold --rate 500 --duration 20  open loop: 500 requests a second, Poisson
  npm run load -- --scenario overload --duration 20         twice what the gateway takes
  npm run load -- --requests 2000 --store embedded          no Redis
  npm run load -- --gateway https://localhost:8443 --carrier https://localhost:9443 \\
                  --data data --certs certs/dev --key LEDGER_KEY   (it prints the key at its start)
  npm run load -- --out report                              JSON and page into that folder

Scenarios
${ownScenarios.map((name) => `  ${name.padEnd(14)} ${scenarioOf(name).about}`).join('\n')}

Without --gateway it starts a gateway, bureau and Redis of its own (redis-server must be installed, or --store
embedded). A gateway that runs already must be in development mode with its folders on this machine, and admit so
many requests (DEVICE_RATE, OUTLET_RATE, CARRIER_RATE, DEVICE_PEOPLE_PER_DAY=0, DEVICE_REFUSALS=0).
The report goes to load/out as JSON and as one HTML page. The last line is one JSON object:
{"perSecond", "p99Ms", "wrong", "unanswered", "missingEntries"}. A no is held for 150 ms, so p99Ms is at least that
where there are some. Exit code 1 if an answer is wrong, or not in the ledger once, or if more than 1 % had none where
none should be refused. All is sealed beforehand and holds for ten minutes: --duration is at most 300.`

/** Challenges hold for 600 s from when they were sealed, and sealing takes about as long as sending. */
const durationMax = 300

const options = {
  help: { type: 'boolean' },
  scenario: { type: 'string', default: 'mixed' },
  connections: { type: 'string', default: '32' },
  duration: { type: 'string', default: '10' },
  requests: { type: 'string' },
  rate: { type: 'string' },
  workers: { type: 'string', default: '1' },
  store: { type: 'string', default: 'redis' },
  gateway: { type: 'string' },
  carrier: { type: 'string' },
  data: { type: 'string' },
  certs: { type: 'string' },
  key: { type: 'string' },
  pid: { type: 'string' },
  out: { type: 'string', default: join(import.meta.dirname, 'out') },
} as const

type Values = ReturnType<typeof read>
const read = () => parseArgs({ options }).values

/** @throws Error that says which value is wrong, and what it may be */
function numberOf(
  values: Values,
  name: 'connections' | 'duration' | 'requests' | 'rate' | 'workers' | 'pid',
  max: number,
) {
  const text = values[name]
  if (text === undefined) return undefined
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= max) return value
  throw new Error(`--${name} ${JSON.stringify(text)} is not a number from 1 to ${max}.`)
}

async function open(values: Values): Promise<Setup> {
  const { gateway, carrier, data, certs, key } = values
  if (gateway === undefined) {
    const workers = numberOf(values, 'workers', 64) ?? 1
    if (values.store !== 'redis' && values.store !== 'embedded')
      throw new Error('--store is redis or embedded.')
    return openSetup({ workers, redis: values.store === 'redis' })
  }
  if (!carrier || !data || !certs || !key)
    throw new Error('--gateway needs --carrier, --data, --certs and --key.')
  if (!existsSync(join(data, 'registry.db'))) throw new Error(`--data ${data} has no registry.db.`)
  const pid = numberOf(values, 'pid', 4_194_304)
  const found = { device: gateway, carrier, dataDir: data, certsDir: certs, vkey: key }
  return aimAt({ ...found, ...(pid === undefined ? {} : { pid }) })
}

async function run(setup: Setup, scenario: ScenarioName, values: Values): Promise<Run> {
  const connections = numberOf(values, 'connections', 4096) ?? 32
  const duration = numberOf(values, 'duration', durationMax) ?? 10
  const print = (line: string) => console.log(line)
  const base = { scenario, connections, print }
  const asked = numberOf(values, 'requests', 10_000_000)
  const rate = numberOf(values, 'rate', 1_000_000)
  if (rate !== undefined) return measure(setup, { ...base, rate, count: asked ?? rate * duration })
  const { overload } = scenarioOf(scenario)
  if (asked !== undefined && overload === undefined) return measure(setup, { ...base, count: asked })
  print('Finding out what it takes ...')
  const calibrating = overload === undefined ? scenario : 'cold'
  await measure(setup, { ...base, scenario: calibrating, count: 1000, receipts: 0 }) // Warm.
  const calibrated = await measure(setup, { ...base, scenario: calibrating, count: 1500, receipts: 0 })
  const capacity = calibrated.answeredPerSecond
  print(`It takes ${Math.round(capacity)} a second; sealing for ${duration} s ...`)
  const count = asked ?? Math.ceil(capacity * duration * (overload ?? 1))
  if (overload === undefined) return measure(setup, { ...base, count })
  return measure(setup, {
    ...base,
    rate: Math.round(capacity * overload),
    count,
    connections: Math.max(connections, 2048),
  })
}

async function main(): Promise<number> {
  const values = read()
  if (values.help) {
    console.log(help)
    return 0
  }
  const scenario = ownScenarios.find((name) => name === values.scenario)
  if (!scenario) throw new Error(`--scenario ${values.scenario} is none of ${ownScenarios.join(', ')}.`)
  for (const name of ['connections', 'workers'] as const) numberOf(values, name, 4096)
  numberOf(values, 'duration', durationMax)
  const setup = await open(values)
  try {
    const done = await run(setup, scenario, values)
    for (const line of printRun(done)) console.log(line)
    const { json, html } = writeReport(done, values.out)
    console.log(`  ${json}\n  ${html}`)
    const summary = summaryOf(done)
    console.log(JSON.stringify(summary))
    if (!isSound(done)) console.error(`${summary.unanswered} of ${done.sent} requests had no answer.`)
    return summary.wrong + summary.missingEntries === 0 && isSound(done) ? 0 : 1
  } finally {
    await setup.close()
  }
}

try {
  process.exitCode = await main()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 64
}
