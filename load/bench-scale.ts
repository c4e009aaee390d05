// `npm run bench:scale`: what a verification costs beside a cache of millions and a registry of a whole trade.
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { dayMs, epochOf, systemClock } from '../src/base/clock.ts'
import { sealedAnswerBytes } from '../src/cache/answers.ts'
import { storageKey } from '../src/cache/key.ts'
import { rssMb } from './cpu.ts'
import { median } from './introspection.ts'
import { measure } from './measure.ts'
import { isSound } from './report.ts'
import { openSetup, type Setup } from './setup.ts'

const help = `npm run bench:scale: the same verifications with more and more people cached and handhelds registered

  npm run bench:scale                              1 and 10 million people, 10,000 carriers with 100 handhelds each
  npm run bench:scale -- --people 100000,1000000 --carriers 1000
  npm run bench:scale -- --out scale.json          keeps the result

Needs redis-server, and 3 GB for ten million people. Each step runs returning cards and new ones, in turn with a small set-up
that is up beside it. The last line is one JSON object: {"returningRatio", "coldRatio", "registeredRatio", "rssMb", "wrong"}: the
dearest step against the small set-up, CPU of gateway and Redis together. Exit code 1 above 1.10, above 250 MB, or if an
answer is wrong or more than 1 % had none.`

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    people: { type: 'string', default: '1000000,10000000' },
    carriers: { type: 'string', default: '10000' },
    requests: { type: 'string', default: '2500' },
    out: { type: 'string' },
  },
})
const count = Number(values.requests)
const rounds = 3
const ratioMax = 1.1
const rssMbMax = 250
const devicesEach = 100
/** Handhelds that ask, as many in each step: more of them cost more, and have connections, wherever they stand. */
const active = 100
const rowsAtOnce = 20_000
const plus = 0x2b
const lastReplyMsMax = 60_000

/** Fills the cache with answers about nobody, of the form and size of real ones. @throws Error if one was not taken */
async function fillCache(redisUrl: string, from: number, to: number): Promise<void> {
  const { hostname, port } = new URL(redisUrl)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  let taken = 0
  socket.on('data', (replies: Buffer) => {
    for (const byte of replies) if (byte === plus) taken++ // +OK, or an error
  })
  const day = epochOf(systemClock.now(), dayMs)
  for (let done = from; done < to; done += rowsAtOnce) {
    const commands: Buffer[] = []
    for (let i = 0; i < Math.min(rowsAtOnce, to - done); i++) {
      const key = storageKey(day, randomBytes(32))
      commands.push(
        Buffer.from(`*5\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${sealedAnswerBytes}\r\n`),
        randomBytes(sealedAnswerBytes),
        Buffer.from('\r\n$2\r\nPX\r\n$8\r\n80000000\r\n'),
      )
    }
    if (!socket.write(Buffer.concat(commands))) await once(socket, 'drain')
    if (done % 1_000_000 === 0) console.log(`  ${done} of ${to} cached`)
  }
  // Whoever ends before the last reply gets none of those that wait.
  const until = performance.now() + lastReplyMsMax
  while (taken < to - from && performance.now() < until) await sleep(20)
  socket.destroy()
  if (taken !== to - from) throw new Error(`Redis took ${taken} of ${to - from} cached answers.`)
}

/** Registers carriers and handhelds that never come, as rows: their admission is not what is measured. */
function fillRegistry(dataDir: string, carriers: number): void {
  const db = new DatabaseSync(join(dataDir, 'registry.db'))
  db.exec('pragma busy_timeout = 5000')
  const now = systemClock.now()
  const carrier = db.prepare(
    "insert into carriers (id, name, status, admitted_at) values (?, ?, 'active', ?)",
  )
  const outlet = db.prepare('insert into outlets (carrier, id, name) values (?, ?, ?)')
  const device = db.prepare(
    'insert into devices (id, carrier, outlet, serial, model, spki, spki_hash, status, registered_at, not_after) ' +
      "values (?, ?, 'main', ?, 'simulator', ?, ?, 'active', ?, ?)",
  )
  for (let n = 0; n < carriers; n++) {
    if (n % 100 === 0) db.exec('begin immediate')
    const id = `scale-${n}`
    carrier.run(id, `Scale ${n}`, now)
    outlet.run(id, 'main', 'Main')
    for (let i = 0; i < devicesEach; i++) {
      device.run(randomBytes(16), id, `s-${i}`, randomBytes(91), randomBytes(32), now, now + 365 * dayMs)
    }
    if (n % 100 === 99 || n === carriers - 1) db.exec('commit')
    if (n % 2000 === 0) console.log(`  ${n * devicesEach} handhelds registered`)
  }
  db.close()
}

const kinds = ['returning', 'cold'] as const
/** CPU of gateway and Redis, µs a request: of the large set-up and of the small one, and the ratio. */
type Cost = Record<(typeof kinds)[number], { large: number; small: number; ratio: number }>
type Step = Cost & { what: string; rssMb: number }
let wrong = 0
/** Steps of which too much was not answered. */
const unsound: string[] = []

async function measureOnce(setup: Setup, scenario: (typeof kinds)[number], what: string) {
  const run = await measure(setup, { scenario, connections: 32, count, devices: active })
  wrong += run.judgement.wrong + run.judgement.missingEntries + run.receipts.untrue
  if (!isSound(run)) unsound.push(what)
  return { micros: (run.cpu['gateway'] ?? 0) + (run.cpu['redis'] ?? 0), rssMb: Math.max(...run.rssMb) }
}

/** Both set-ups are up and asked in turn: the machine is not as fast from one minute to the next. */
async function compare({ small, large }: Record<'small' | 'large', Setup>, what: string): Promise<Step> {
  let resident = 0
  async function costOf(scenario: (typeof kinds)[number]) {
    const seen: { large: number; small: number }[] = []
    for (let round = 0; round < rounds; round++) {
      const [first, second] = round % 2 === 0 ? [small, large] : [large, small]
      const each = new Map<Setup, number>()
      for (const setup of [first, second]) {
        const { micros, rssMb } = await measureOnce(setup, scenario, what)
        each.set(setup, micros)
        if (setup === large) resident = Math.max(resident, rssMb)
      }
      seen.push({ large: each.get(large) ?? Number.NaN, small: each.get(small) ?? Number.NaN })
    }
    return {
      large: median(seen.map((one) => one.large)),
      small: median(seen.map((one) => one.small)),
      ratio: Number(median(seen.map((one) => one.large / one.small)).toFixed(2)),
    }
  }
  const step = { what, returning: await costOf('returning'), cold: await costOf('cold'), rssMb: resident }
  const told = kinds.map((kind) => {
    const { large: ours, small: beside, ratio } = step[kind]
    return `${kind} ${Math.round(ours)} µs for ${Math.round(beside)}, ${ratio.toFixed(2)}`
  })
  const redis = Math.round(rssMb(large.pids['redis'] ?? 0))
  console.log(`${what.padEnd(44)} ${told.join('; ')}; gateway ${Math.round(resident)} MB, Redis ${redis} MB`)
  return step
}

async function main(): Promise<number> {
  const opened: Setup[] = []
  const open = async () => {
    const setup = await openSetup({ workers: 1, redis: true })
    opened.push(setup)
    await measure(setup, { scenario: 'cold', connections: 32, count: 10_000, devices: active }) // Warm.
    return setup
  }
  try {
    const both = { small: await open(), large: await open() }
    const { large } = both
    const steps = [await compare(both, 'both as they are')]
    let cached = 0
    for (const people of values.people.split(',').map(Number)) {
      await fillCache(large.redisUrl ?? '', cached, people)
      cached = people
      steps.push(await compare(both, `${people} people cached`))
    }
    const carriers = Number(values.carriers)
    fillRegistry(large.dataDir, carriers)
    const trade = await compare(both, `and ${carriers} carriers × ${devicesEach} handhelds`)
    const filled = steps.slice(1)
    const result = {
      returningRatio: Math.max(...filled.map((step) => step.returning.ratio)),
      coldRatio: Math.max(...filled.map((step) => step.cold.ratio)),
      registeredRatio: Math.max(trade.returning.ratio, trade.cold.ratio),
      rssMb: Math.round(Math.max(...filled.map((step) => step.rssMb), trade.rssMb)),
      wrong,
    }
    for (const what of unsound) console.log(`${what}: more than 1 % was not answered`)
    if (values.out !== undefined) {
      const kept = { ...result, steps: [...steps, trade], node: process.version }
      writeFileSync(resolve(values.out), `${JSON.stringify(kept, null, 2)}\n`)
    }
    console.log(JSON.stringify(result))
    const dearest = Math.max(result.returningRatio, result.coldRatio, result.registeredRatio)
    const isWithin = dearest <= ratioMax && result.rssMb <= rssMbMax
    return wrong + unsound.length === 0 && isWithin ? 0 : 1
  } finally {
    for (const setup of opened) await setup.close()
  }
}

if (values.help) console.log(help)
else process.exitCode = await main()
