// `npm run soak`: many verifications against one gateway while its memory is watched.
import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import type { Device } from '../src/sdk/device.ts'
import { rssMb, servingOf } from './cpu.ts'
import { type Dealt, dealNew, prepare } from './handhelds.ts'
import { dealt, openStage } from './stage.ts'

const help = `npm run soak: 100,000 verifications against a gateway of its own

  npm run soak
  npm run soak -- --requests 20000
  npm run soak -- --requests 1000000 --workers 1    a worker, with a redis-server beside it; half an hour
  npm run soak -- --workers 1 --out soak.json       keeps the result

Every other card is new, as is its person; the rest return, and one in fifty must be a no. The last line is one JSON
object: {"rssMb", "growthPct", "wrong"}. rssMb is the most that a process which serves had resident; growthPct compares it
at the end with that at half time. Exit code 1 above 200 MB (250 a worker), above 5 % growth, or if an answer is wrong.`

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    requests: { type: 'string', default: '100000' },
    workers: { type: 'string' },
    out: { type: 'string' },
  },
})
if (values.help) {
  console.log(help)
  process.exit(0)
}
const total = Number(values.requests)
const workers = Number(values.workers ?? 0)
if (!Number.isInteger(workers)) throw new RangeError(`--workers is ${values.workers}, not a number`)
const rssMbMax = workers > 0 ? 250 : 200
const growthPctMax = 5
const stage = await openStage({ devices: 32, hands: 100, workers })
const dealFresh = dealNew(stage.place, total)
const serving = servingOf(stage.gateway.pid)

/** Resident memory of the largest process that serves, MB. @throws Error if one was replaced: its memory began anew */
function residentMb(): number {
  const now = servingOf(stage.gateway.pid)
  if (`${now}` !== `${serving}`) throw new Error(`The gateway's processes were ${serving} and are ${now}.`)
  return Math.max(...now.map(rssMb))
}

let sent = 0
let wrong = 0
const samples: { sent: number; rss: number }[] = []
const every = Math.ceil(total / 100)

/** One in fifty must be a no: each is held for 150 ms. */
function deal(i: number): Dealt {
  if (i % 50 === 49) return dealt(stage.bad, i)
  return i % 2 === 0 ? dealFresh() : dealt(stage.good, i)
}

async function ask(device: Device): Promise<void> {
  while (sent < total) {
    const i = sent++
    const { body, expected } = await prepare(device, deal(i))
    const reply = await device.post('/v1/verify', JSON.parse(body))
    if (reply.status !== 200 || reply.body['answer'] !== expected) {
      wrong++
      console.log(
        `request ${i}: ${reply.status} ${reply.body['answer'] ?? reply.body['code']}, not ${expected}`,
      )
    }
    if (i % every !== 0) continue
    samples.push({ sent: i, rss: residentMb() })
    if (i % (every * 10) === 0) console.log(`${i} of ${total}, ${residentMb().toFixed(0)} MB, ${wrong} wrong`)
  }
}

try {
  await Promise.all(stage.devices.map(ask))
} finally {
  await stage.close()
}
/** The mean of several samples: one garbage collection must not decide. */
function meanOf(from: number, to: number): number {
  const within = samples.filter((sample) => sample.sent >= total * from && sample.sent <= total * to)
  return within.reduce((sum, sample) => sum + sample.rss, 0) / within.length
}
const growthPct = Math.round((meanOf(0.9, 1) / meanOf(0.5, 0.6) - 1) * 1000) / 10
const peak = Math.round(Math.max(...samples.map((sample) => sample.rss)))
const result = { rssMb: peak, growthPct, wrong }
if (values.out !== undefined) {
  const kept = { ...result, requests: total, workers, node: process.version }
  writeFileSync(resolve(values.out), `${JSON.stringify(kept, null, 2)}\n`)
}
console.log(JSON.stringify(result))
process.exit(wrong === 0 && peak <= rssMbMax && growthPct <= growthPctMax ? 0 : 1)
