// `npm run crash`: a gateway that is killed at random moments under load, started again and held to its word:
// every answer that a handheld received is in the ledger, under the index in its token, once.
import { execFile } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { systemClock } from '../src/base/clock.ts'
import { childEnvironment } from '../src/base/config.ts'
import { type GatewayProcess, startGateway } from '../src/gateway-process.ts'
import { hashJti, parseEntry } from '../src/ledger/entry.ts'
import { prepareReader } from '../src/ledger/reader.ts'
import { openLedgerReadOnly } from '../src/ledger/sqlite.ts'
import { openRegistry } from '../src/registry/schema.ts'
import type { Device } from '../src/sdk/device.ts'
import { dealCards, makeHandhelds, prepare } from './handhelds.ts'
import { dealt, rates } from './stage.ts'

const help = `npm run crash: kills a gateway of its own under load, again and again

  npm run crash                       200 kills, about ten minutes
  npm run crash -- --kills 10

After each start the requests that got no answer are sent again, byte for byte. The last line is one JSON object:
{"kills", "answers", "lost", "twice", "wrong", "fsck"}: answers that the ledger does not have as their token says,
indices given twice, answers that a card must not get, and the exit code of fsck. Exit code 1 unless all are 0.`

const { values } = parseArgs({
  options: { help: { type: 'boolean' }, kills: { type: 'string', default: '200' } },
})
if (values.help) {
  console.log(help)
  process.exit(0)
}
const kills = Number(values.kills)
if (!Number.isInteger(kills) || kills < 1 || kills > 10_000) {
  console.error(`--kills ${JSON.stringify(values.kills)} is not a number from 1 to 10000.`)
  process.exit(64)
}

type Sent = { device: Device; body: string; expected: string }
type Given = { answer: string; expected: string; jti: string; leaf: string; index: number }

const root = mkdtempSync(join(tmpdir(), 'vouchsafe-crash-'))
const [dataDir, certsDir] = [join(root, 'data'), join(root, 'certs')]
const env = { ...rates, DEVICE_PORT: String(await freePort()), LOG_LEVEL: 'error' }
const given: Given[] = []
let unanswered: Sent[] = []
let refused = 0

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Sends one request and keeps what came of it. */
async function send(sent: Sent): Promise<void> {
  try {
    const reply = await sent.device.post('/v1/verify', JSON.parse(sent.body))
    if (reply.status !== 200) {
      refused++
      unanswered.push(sent)
      return
    }
    const claims = JSON.parse(
      Buffer.from(String(reply.body['token']).split('.')[1] ?? '', 'base64url').toString(),
    ) as Pick<Given, 'jti' | 'leaf' | 'index'>
    given.push({ ...claims, answer: String(reply.body['answer']), expected: sent.expected })
  } catch {
    unanswered.push(sent) // The gateway died under it: it is asked again after the start.
  }
}

/** Sends again what got no answer, until each has one. */
async function settle(): Promise<void> {
  for (let tries = 0; unanswered.length > 0 && tries < 20; tries++) {
    const again = unanswered
    unanswered = []
    await Promise.all(again.map(send))
    if (unanswered.length > 0) await new Promise((resolve) => setTimeout(resolve, 250))
  }
}

/** Load from every device until the gateway is gone. */
async function killUnderLoad(gateway: GatewayProcess, devices: readonly Device[]): Promise<void> {
  let alive = true
  const load = devices.map(async (device, n) => {
    for (let i = n; alive; i += devices.length) {
      const { body, expected } = await prepare(device, dealt(cards, i)).catch(() => ({
        body: '',
        expected: '',
      }))
      if (body !== '') await send({ device, body, expected })
    }
  })
  await new Promise((resolve) => setTimeout(resolve, randomInt(20, 500)))
  await gateway.kill()
  alive = false
  await Promise.all(load)
}

let gateway = await startGateway({ dataDir, certsDir, env })
const db = await openRegistry(join(dataDir, 'registry.db'))
const place = { url: gateway.device, certsDir, clock: systemClock }
const devices = await makeHandhelds(place, db, 8)
const cards = dealCards(place, 10)
for (let kill = 1; kill <= kills; kill++) {
  await killUnderLoad(gateway, devices)
  gateway = await startGateway({ dataDir, certsDir, env })
  await settle()
  if (kill % 10 === 0 || kill === kills) {
    console.log(`${kill} of ${kills} kills, ${given.length} answers, ${refused} asked again`)
  }
}
for (const device of devices) await device.close()
await db.destroy()
const lostUnanswered = unanswered.length
await gateway.close()

const fsck = await promisify(execFile)(
  process.execPath,
  [join(import.meta.dirname, '../src/launch.js'), 'ledger', 'fsck', '--file', join(dataDir, 'ledger.db')],
  { env: childEnvironment({ VOUCHSAFE_DATA: dataDir, VOUCHSAFE_CERTS: certsDir }) },
).then(
  ({ stdout }) => ({ code: 0, text: stdout }),
  (error: { code?: number; stdout?: string }) => ({ code: error.code ?? 1, text: String(error.stdout) }),
)
console.log(fsck.text.trimEnd())

const ledger = openLedgerReadOnly(join(dataDir, 'ledger.db'))
const reader = prepareReader(ledger)
const lost = given.filter(({ index, jti, leaf, answer }) => {
  const found = reader.readEntry(index)
  const entry = found && parseEntry(found.data)
  const right =
    entry?.jtiHash?.equals(hashJti(Buffer.from(jti, 'base64url'))) &&
    entry.answer === (answer === 'yes' ? 1 : 2)
  return !right || found?.leaf.toString('base64url') !== leaf
})
const jtiOf = new Map<number, string>()
const twice = given.filter(({ index, jti }) => (jtiOf.get(index) ?? jti) !== jti || !jtiOf.set(index, jti))
const wrong = given.filter(({ answer, expected }) => answer !== expected)
ledger.close()
rmSync(root, { recursive: true, force: true })
const counts = { lost: lost.length + lostUnanswered, twice: twice.length, wrong: wrong.length }
console.log(JSON.stringify({ kills, answers: given.length, ...counts, fsck: fsck.code }))
process.exit(Object.values(counts).every((count) => count === 0) && fsck.code === 0 ? 0 : 1)
