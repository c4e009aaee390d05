// `vouchsafe demo`: a courier's day against a gateway over real TLS, with cards whose answers are known.
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { parseBase64url } from './base/bytes.ts'
import { systemClock } from './base/clock.ts'
import { readConfig } from './base/config.ts'
import { peopleCount, personAt } from './bureau-mock/people.ts'
import { commitParcel } from './channel/sealing.ts'
import { type DemoDevice, devSeed, readDemoDevice, registerDemoDevice } from './development.ts'
import { startGateway } from './gateway-process.ts'
import { reinstateCarrier, suspendCarrier } from './registry/carriers.ts'
import { revokeDevice } from './registry/devices.ts'
import { openRegistry, type RegistryDb } from './registry/schema.ts'
import { Device, type Reply } from './sdk/device.ts'
import { Reader } from './sdk/reader.ts'
import type { CardHolder } from './simulator/cards.ts'
import { type DeckCard, deckNames, isOfSuite, makeDeck } from './simulator/deck.ts'
import { type BureauKnobs, createKnobs } from './simulator/knobs.ts'
import { prepareSlowly, readThroughSam, type SamPlace } from './simulator/sam.ts'
import { cardSuites, loadSigners } from './simulator/signers.ts'

const help = `vouchsafe demo: a courier's day, card by card

  npm run demo                                      a gateway and a bureau of its own, the whole deck
  npm run -s demo -- --card valid                   one card of the deck
  npm run -s demo -- --card valid --gateway https://localhost:8443
                                                    against a gateway that "npm start" runs here
  ... --gateway https://localhost:8443 --sam https://localhost:7443
                                                    its holder's card read by the simulated SAM service (docs/SAM.md)

Cards: ${deckNames.join(', ')}.
Exit code 1 if an answer is not what the card must get.`

type Print = { out(line: string): void; err(line: string): void }

export async function runDemo(args: string[], print: Print): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      ...{ help: { type: 'boolean' }, card: { type: 'string' } },
      ...{ gateway: { type: 'string' }, sam: { type: 'string' } },
    },
  })
  if (values.help) {
    print.out(help)
    return 0
  }
  if (values.card !== undefined && !deckNames.includes(values.card)) {
    print.err(`--card ${values.card} is not in the deck: ${deckNames.join(', ')}.`)
    return 64
  }
  const { gateway, sam, card = 'valid' } = values
  if (sam !== undefined && gateway === undefined) {
    print.err('--sam is for a gateway that runs with SAM_URL. Fix: name it with --gateway.')
    return 64
  }
  if (gateway !== undefined) return askRunning({ gateway, sam, card }, print)
  return playDay(values.card, print)
}

/** One card against a gateway that runs already, with the demo handheld of its data folder. */
async function askRunning(
  { gateway: url, sam, card: name }: { gateway: string; sam: string | undefined; card: string },
  print: Print,
): Promise<number> {
  const { VOUCHSAFE_DATA, VOUCHSAFE_CERTS } = readConfig()
  const device = await openDevice({
    url,
    certsDir: VOUCHSAFE_CERTS,
    registered: readDemoDevice(VOUCHSAFE_DATA),
  })
  try {
    const card = deckOf(VOUCHSAFE_CERTS).find((dealt) => dealt.name === name) as DeckCard
    const given = await (sam === undefined
      ? device.verify(parcelOf(), (context) => card.readChip(context))
      : verifyThroughSam(device, card.holder, samPlace(sam, VOUCHSAFE_CERTS)))
    print.out(JSON.stringify(given, null, 2))
    return given.answer === card.answer ? 0 : 1
  } finally {
    await device.close()
  }
}

const samPlace = (url: string, certsDir: string): SamPlace => {
  const file = (name: string) => readFileSync(join(certsDir, name))
  return { url, tls: { ca: file('sam-ca.crt'), cert: file('sam-reader.crt'), key: file('sam-reader.key') } }
}

async function verifyThroughSam(device: Device, holder: CardHolder, place: SamPlace) {
  const { body } = await prepareSlowly(device, parcelOf(), (context) =>
    readThroughSam(holder, context, place),
  )
  return device.send(body)
}

type Day = {
  url: string
  certsDir: string
  dataDir: string
  knobs: BureauKnobs
  db: RegistryDb
  device: Device
  deck: DeckCard[]
}

async function playDay(only: string | undefined, print: Print): Promise<number> {
  const root = mkdtempSync(join(tmpdir(), 'vouchsafe-demo-'))
  const [dataDir, certsDir] = [join(root, 'data'), join(root, 'certs')]
  print.out('Starting a gateway and a bureau of the demo’s own ...')
  const gateway = await startGateway({ dataDir, certsDir })
  const db = await openRegistry(join(dataDir, 'registry.db'))
  let device: Device | undefined
  try {
    print.out(`Gateway ${gateway.device}, bureau ${gateway.bureau}, data in ${dataDir} until the end.`)
    const knobs = createKnobs({ url: gateway.bureau, tls: bureauTls(certsDir) })
    device = await openDevice({ url: gateway.device, certsDir, registered: readDemoDevice(dataDir) })
    const deck = deckOf(certsDir).filter(only === undefined ? isPlayed : (card) => card.name === only)
    return await playDeck({ url: gateway.device, certsDir, dataDir, knobs, db, device, deck }, only, print)
  } finally {
    await device?.close()
    await db.destroy()
    await gateway.close()
    rmSync(root, { recursive: true, force: true })
  }
}

type Line = { name: string; about: string; expected: string; got: string; ms: number }

async function playDeck(day: Day, only: string | undefined, print: Print): Promise<number> {
  const widths = { name: 20, about: 64, answer: 28 }
  const row = (...cells: [string, string, string, string]) =>
    cells[0].padEnd(widths.name) + cells[1].padEnd(widths.about) + cells[2].padEnd(widths.answer) + cells[3]
  print.out('')
  print.out(row('card', 'what it is', 'answer', 'ms'))
  let wrong = 0
  const show = (line: Line) => {
    const right = line.got === line.expected
    if (!right) wrong++
    const note = right ? '' : `   WRONG: must be ${line.expected}`
    print.out(row(line.name, line.about, line.got, String(line.ms).padStart(5)) + note)
  }
  for (const card of day.deck) show(await playCard(day, card))
  if (only === undefined) for (const scene of scenes) show(await playScene(day, scene))
  print.out('')
  print.out(wrong === 0 ? 'Every answer is as it must be.' : `${wrong} answers are WRONG.`)
  return wrong === 0 ? 0 : 1
}

async function playCard(day: Day, card: DeckCard): Promise<Line> {
  if (card.status) await day.knobs.setStatus(card.holder.number, card.status)
  const began = systemClock.mono()
  const { answer } = await day.device.verify(parcelOf(), (context) => card.readChip(context))
  const ms = Math.round(systemClock.mono() - began)
  return { name: card.name, about: card.about, expected: card.answer, got: answer, ms }
}

type Scene = { name: string; about: string; expected: string; play(day: Day): Promise<string> }

const valid = (day: Day) => day.deck.find((card) => card.name === 'valid') as DeckCard
const ask = async (day: Day, device = day.device): Promise<Reply> => {
  const { body } = await device.prepare(parcelOf(), (context) => valid(day).readChip(context))
  return device.post('/v1/verify', body)
}
const show = (reply: Reply) =>
  reply.status === 200 ? String(reply.body['answer']) : `${reply.status} ${String(reply.body['code'])}`
const newsMs = 1000 // A change bites within 1 s (PROTOCOL section 0.5).

/** A parcel's reading is read twice for one challenge. */
async function replay(day: Day): Promise<string> {
  const { body } = await day.device.prepare(parcelOf(), (context) => valid(day).readChip(context))
  await day.device.post('/v1/verify', body)
  const { body: other } = await day.device.again(body, parcelOf(), (context) => valid(day).readChip(context))
  return show(await day.device.post('/v1/verify', other))
}

async function retry(day: Day): Promise<string> {
  const { body } = await day.device.prepare(parcelOf(), (context) => valid(day).readChip(context))
  await day.device.post('/v1/verify', body)
  const reply = await day.device.post('/v1/verify', body)
  return `${show(reply)}, replayed ${reply.headers['idempotent-replayed'] ?? 'no'}`
}

async function onRevokedDevice(day: Day): Promise<string> {
  const registered = await registerDemoDevice(day.db, {
    carrier: 'swift-crane',
    outlet: 'harbour',
    clock: systemClock,
  })
  const device = await openDevice({ ...day, registered })
  try {
    const { body } = await device.prepare(parcelOf(), (context) => valid(day).readChip(context))
    const id = parseBase64url(registered.id) as Buffer
    await revokeDevice(day.db, { id, operator: 'founder', nowMs: systemClock.now() })
    await sleep(newsMs)
    return show(await device.post('/v1/verify', body))
  } finally {
    await device.close()
  }
}

async function onSuspendedCarrier(day: Day): Promise<string> {
  const registered = await registerDemoDevice(day.db, {
    carrier: 'river-post',
    outlet: 'old-bridge',
    clock: systemClock,
  })
  const device = await openDevice({ ...day, registered })
  const act = { id: 'river-post', operator: 'founder' }
  try {
    await suspendCarrier(day.db, { ...act, reason: 'demo', nowMs: systemClock.now() })
    await sleep(newsMs)
    return show(await ask(day, device))
  } finally {
    await reinstateCarrier(day.db, { ...act, nowMs: systemClock.now() })
    await device.close()
  }
}

async function onSilentBureau(day: Day): Promise<string> {
  await day.knobs.setFaults({ silent: true })
  try {
    const [stranger] = deckOf(day.certsDir) as [DeckCard]
    const { body } = await day.device.prepare(parcelOf(), (context) => stranger.readChip(context))
    return show(await day.device.post('/v1/verify', body))
  } finally {
    await day.knobs.clearFaults()
  }
}

const scenes: readonly Scene[] = [
  {
    name: 'returning',
    about: 'the valid card again: answered from the cache',
    expected: 'yes',
    play: async (day) => show(await ask(day)),
  },
  {
    name: 'replay',
    about: 'another reading for a used challenge',
    expected: '409 challenge_used',
    play: replay,
  },
  { name: 'exact retry', about: 'the same bytes again', expected: 'yes, replayed true', play: retry },
  {
    name: 'revoked device',
    about: 'a handheld that was revoked a second ago',
    expected: '403 device_inactive',
    play: onRevokedDevice,
  },
  {
    name: 'suspended carrier',
    about: 'a carrier that was suspended a second ago',
    expected: '403 carrier_suspended',
    play: onSuspendedCarrier,
  },
  {
    name: 'bureau down',
    about: 'a good card, but the bureau does not answer',
    expected: '503 bureau_unavailable',
    async play(day) {
      return onSilentBureau(day)
    },
  },
]

async function playScene(day: Day, scene: Scene): Promise<Line> {
  const began = systemClock.mono()
  const got = await scene.play(day)
  const ms = Math.round(systemClock.mono() - began)
  return { name: scene.name, about: scene.about, expected: scene.expected, got, ms }
}

/** A parcel's commitment; the carrier would keep waybill and salt. */
const parcelOf = () => commitParcel('swift-crane', `SC${randomBytes(6).toString('hex')}`, randomBytes(16))

/** A day has one deck, and of the other suite what differs: too many refusals would suspend the handheld. */
const isPlayed = (card: DeckCard) => !card.name.endsWith('-sm2') || isOfSuite(card)

/** One deck in each suite. */
const deckOf = (certsDir: string): DeckCard[] =>
  cardSuites.flatMap((suite) =>
    makeDeck({
      personAt: (index) => personAt(devSeed, index),
      peopleCount,
      ...loadSigners(certsDir, suite),
      signedMs: systemClock.now() - 60_000,
    }),
  )

const bureauTls = (certsDir: string) => ({
  ca: readFileSync(join(certsDir, 'bureau-ca.crt')),
  cert: readFileSync(join(certsDir, 'bureau-client.crt')),
  key: readFileSync(join(certsDir, 'bureau-client.key')),
})

/** A handheld that is logged in. */
async function openDevice(given: { url: string; certsDir: string; registered: DemoDevice }): Promise<Device> {
  const { url, certsDir, registered } = given
  const reader = new Reader({
    device: parseBase64url(registered.id) as Buffer,
    deviceKey: createPrivateKey(registered.key),
    directoryKey: createPublicKey(readFileSync(join(certsDir, 'directory.pub'))),
    firmware: 1,
  })
  const ca = readFileSync(join(certsDir, 'gateway-ca.crt'))
  const device = new Device({ url, ca, reader, now: () => systemClock.now() })
  await logInSoon(device)
  return device
}

/** A handheld registered this moment is known to the gateway within a second. */
async function logInSoon(device: Device): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await device.logIn()
    } catch (error) {
      if (tries >= 5) throw error
      await sleep(newsMs / 4)
    }
  }
}
