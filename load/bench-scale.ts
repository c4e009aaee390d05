// `npm run bench:scale`: what a verification costs beside a cache of millions and a registry of a whole trade.
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { parseArgs } from 'node:util'
import { dayMs, epochOf, systemClock } from '../src/base/clock.ts'
import { sealedAnswerBytes } from '../src/cache/answers.ts'
import { storageKey } from '../src/cache/key.ts'
import { rssMb } from './cpu.ts'
import { measure } from './measure.ts'
import { isSound } from './report.ts'
import { openSetup, type Setup } from './setup.ts'

const help = `npm run bench:scale: the same verifications with more and more people cached and handhelds registered

  npm run bench:scale                              1 and 10 million people, 10,000 carriers with 100 handhelds each
  npm run bench:scale -- --people 100000,1000000 --carriers 1000
  npm run bench:scale -- --out scale.json          keeps the result

Needs redis-server, and 3 GB for ten million people. Each step runs returning cards and new ones. The last line is one
JSON object: {"returningRatio", "coldRatio", "registeredRatio", "rssMb", "wrong"}: the dearest step against the small
set-up, CPU of gateway and Redis together. Exit code 1 above 1.10, above 250 MB, or if an answer is wrong or more than 1 %
had none.`

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    people: { type: 'string', default: '1000000,10000000' },
    carriers: { type: 'string', default: '10000' },
    requests: { type: 'string', default: '4000' },
    out: { type: 'string' },
  },
})
const ratioMax = 1.1
const rssMbMax = 250
const devicesEach = 100
/** Handhelds that ask, as many in each step: more of them cost more, and have connections, wherever they stand. */
const active = 100
const rowsAtOnce = 20_000
const plus = 0x2b

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
  socket.end()
  await once(socket, 'close')
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

type Cost = { returning: number; cold: number; rssMb: number }
let wrong = 0
/** Steps of which too much was not answered. */
const unsound: string[] = []

async function costOf(setup: Setup, what: string): Promise<Cost> {
  const micros: Record<string, number> = {}
  let resident = 0
  for (const scenario of ['returning', 'cold'] as const) {
    const runs: number[] = []
    for (let round = 0; round < 3; round++) {
      const run = await measure(setup, {
        scenario,
        connections: 32,
        count: Number(values.requests),
        devices: active,
      })
      wrong += run.judgement.wrong + run.judgement.missingEntries + run.receipts.untrue
      if (!isSound(run)) unsound.push(what)
      runs.push((run.cpu['gateway'] ?? 0) + (run.cpu['redis'] ?? 0))
      resident = Math.max(resident, ...run.rssMb)
    }
    micros[scenario] = runs.toSorted((a, b) => a - b)[1] ?? 0
  }
  const cost = { returning: micros['returning'] ?? 0, cold: micros['cold'] ?? 0, rssMb: resident }
  const redis = Math.round(rssMb(setup.pids['redis'] ?? 0))
  console.log(
    `${what.padEnd(44)} returning ${Math.round(cost.returning)} µs, cold ${Math.round(cost.cold)} µs, ` +
      `gateway ${Math.round(resident)} MB, Redis ${redis} MB`,
  )
  return cost
}

async function main(): Promise<number> {
  const setup = await openSetup({ workers: 1, redis: true })
  try {
    // Warm: the first step must not be dearer for being the first.
    for (const scenario of ['cold', 'returning'] as const)
      await measure(setup, { scenario, connections: 32, count: 10_000, devices: active })
    const small = await costOf(setup, 'small')
    const steps: Cost[] = []
    let cached = 0
    for (const people of values.people.split(',').map(Number)) {
      await fillCache(setup.redisUrl ?? '', cached, people)
      cached = people
      steps.push(await costOf(setup, `${people} people cached`))
    }
    const carriers = Number(values.carriers)
    fillRegistry(setup.dataDir, carriers)
    const trade = await costOf(setup, `and ${carriers} carriers × ${devicesEach} handhelds`)
    const dearest = (kind: 'returning' | 'cold') =>
      Number((Math.max(...steps.map((step) => step[kind])) / small[kind]).toFixed(2))
    const registered = Math.max(trade.returning / small.returning, trade.cold / small.cold)
    const result = {
      ...{ returningRatio: dearest('returning'), coldRatio: dearest('cold') },
      registeredRatio: Number(registered.toFixed(2)),
      rssMb: Math.round(Math.max(...steps.map((step) => step.rssMb), trade.rssMb)),
      wrong,
    }
    for (const what of unsound) console.log(`${what}: more than 1 % was not answered`)
    if (values.out !== undefined) {
      const kept = { ...result, people: values.people, carriers, small, steps, trade, node: process.version }
      writeFileSync(resolve(values.out), `${JSON.stringify(kept, null, 2)}\n`)
    }
    console.log(JSON.stringify(result))
    const { returningRatio, coldRatio, registeredRatio } = result
    const isWithin =
      Math.max(returningRatio, coldRatio, registeredRatio) <= ratioMax && result.rssMb <= rssMbMax
    return wrong + unsound.length === 0 && isWithin ? 0 : 1
  } finally {
    await setup.close()
  }
}

if (values.help) console.log(help)
else process.exitCode = await main()
