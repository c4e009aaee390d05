// A process that makes requests beforehand: handhelds that are logged in, cards, readings signed and sealed. It is
// told what to make by its parent (prepare.ts) and writes lines of JSON, so that sealing costs the run nothing.
import { randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { present } from '../src/base/assert.ts'
import { parseBase64url, printBase64url } from '../src/base/bytes.ts'
import { systemClock } from '../src/base/clock.ts'
import { peopleCount, personAt } from '../src/bureau-mock/people.ts'
import { printReading } from '../src/card/reading.ts'
import { commitParcel } from '../src/channel/sealing.ts'
import { type DemoDevice, devSeed } from '../src/development.ts'
import type { Device } from '../src/sdk/device.ts'
import type { ReadChip } from '../src/sdk/reader.ts'
import { type Card, issueCard, readCard } from '../src/simulator/cards.ts'
import { type DeckCard, makeDeck } from '../src/simulator/deck.ts'
import { type CardSuite, loadSigners } from '../src/simulator/signers.ts'
import { takeJob } from './child.ts'
import { fetchDirectory, makeReader, openHandheld, type Place } from './handhelds.ts'
import { tokenSigner } from './introspection.ts'
import { type Kind, kindOf, type Line, type Scenario } from './scenarios.ts'
import { dealt } from './stage.ts'

export type SealJob = {
  url: string
  certsDir: string
  devices: DemoDevice[]
  /** Logged in here, to be revoked before the run. */
  leaving: DemoDevice[]
  mix: Scenario['mix']
  count: number
  /** Of the first person; the people of two sealers, and of two runs, do not meet. */
  firstIndex: number
  /** Cards that return: each is shown once in the warm-up file. */
  known: number
  file: string
  warmFile: string
}

type Writer = { write(line: Line): Promise<void>; end(): Promise<void> }

function openWriter(file: string): Writer {
  const stream = createWriteStream(file)
  return {
    async write(line) {
      if (!stream.write(`${JSON.stringify(line)}\n`))
        await new Promise((resolve) => stream.once('drain', resolve))
    },
    end: () => new Promise((resolve) => stream.end(resolve)),
  }
}

async function seal(job: SealJob): Promise<void> {
  const place: Place = { url: job.url, certsDir: job.certsDir, clock: systemClock }
  // Whoever is to log in in the run does so then.
  const devices = await openHandhelds(place, job.mix.login === 1 ? job.devices.slice(0, 1) : job.devices)
  const leaving = await openHandhelds(place, job.leaving)
  const cards = createCards(job)
  const logIn = await createLogins(place, job.devices, present(devices[0], 'a handheld'))
  const make = createMaker(job, { devices, leaving, cards, logIn })
  const warm = openWriter(job.warmFile)
  for (const card of cards.known) await warm.write(await make.verify('known', devices, read(card), 'yes'))
  await warm.end()
  const out = openWriter(job.file)
  for (let i = 0; i < job.count; i++) {
    for (const line of await make.lines(kindOf(job.mix, i), i)) await out.write(line)
    if (i % 200 === 0) {
      process.send?.({ made: i })
      await sleep(0)
    }
  }
  await out.end()
  for (const device of [...devices, ...leaving]) await device.close()
}

/** A thousand handshakes at once would take longer than a handheld waits for its own. */
const openedAtOnce = 32

async function openHandhelds(place: Place, devices: readonly DemoDevice[]): Promise<Device[]> {
  const opened: Device[] = []
  for (let from = 0; from < devices.length; from += openedAtOnce) {
    const some = devices.slice(from, from + openedAtOnce)
    opened.push(...(await Promise.all(some.map((device) => openHandheld(place, device)))))
  }
  return opened
}

const read =
  (card: Card): ReadChip =>
  (context) =>
    printReading(readCard(card, context))

/** Cards of people from `firstIndex` on. */
function createCards({ certsDir, firstIndex, known }: SealJob) {
  let next = firstIndex
  const signedMs = systemClock.now() - 60_000
  const signers = { 'P-256': loadSigners(certsDir, 'P-256'), SM2: loadSigners(certsDir, 'SM2') }
  const fresh = (suite: CardSuite): Card =>
    issueCard(personAt(devSeed, next++ % peopleCount), signers[suite].signer, { signedMs })
  const options = {
    personAt: (index: number) => personAt(devSeed, index),
    peopleCount,
    signedMs,
    ...signers['P-256'],
  }
  const decks = Array.from({ length: 4 }, () => makeDeck(options))
  return {
    fresh,
    one: fresh('P-256'),
    known: Array.from({ length: known }, () => fresh('P-256')),
    named: (name: string, i: number): DeckCard =>
      present(
        dealt(decks, i).find((card) => card.name === name),
        `the card ${name} of the deck`,
      ),
  }
}

type Given = {
  devices: Device[]
  leaving: Device[]
  cards: ReturnType<typeof createCards>
  logIn: (i: number) => Promise<Line>
}

function createMaker(job: SealJob, { devices, leaving, cards, logIn }: Given) {
  const path = '/v1/verify'
  const newParcel = () => commitParcel('swift-crane', randomBytes(6).toString('hex'), randomBytes(16))
  let turn = 0

  async function verify(kind: Kind, pile: Device[], readChip: ReadChip, answer: 'yes' | 'no'): Promise<Line> {
    const device = dealt(pile, turn++)
    const { body } = await device.prepare(newParcel(), readChip)
    return { kind, path, token: device.token ?? '', body: JSON.stringify(body), expected: { answer } }
  }

  async function replayed(): Promise<Line[]> {
    const device = dealt(devices, turn++)
    const readChip = read(cards.fresh('P-256'))
    const parcel = newParcel()
    const { body } = await device.prepare(parcel, readChip)
    const again = await device.again(body, parcel, readChip)
    const both = { kind: 'replayed' as const, path, token: device.token ?? '' }
    return [
      { ...both, body: JSON.stringify(body), expected: { answer: 'yes' } },
      // While the first is being answered it is told so; both refuse.
      { ...both, body: JSON.stringify(again.body), expected: { codes: ['challenge_used'] }, follows: true },
    ]
  }

  const issuing = createTokens(job)
  const makers: Record<Kind, (i: number) => Promise<Line[]>> = {
    new: async () => [await verify('new', devices, read(cards.fresh('P-256')), 'yes')],
    'new-sm2': async () => [await verify('new-sm2', devices, read(cards.fresh('SM2')), 'yes')],
    known: async (i) => [await verify('known', devices, read(dealt(cards.known, i)), 'yes')],
    same: async () => [await verify('same', devices, read(cards.one), 'yes')],
    forged: (i) => named('forged', i),
    expired: (i) => named('expired', i),
    unknown: (i) => named('unknown', i),
    mismatch: (i) => named('mismatch', i),
    replayed,
    async 'revoked-device'() {
      const line = await verify('revoked-device', leaving, read(cards.fresh('P-256')), 'yes')
      return [{ ...line, expected: { codes: ['device_inactive'] } }]
    },
    token: async () => [await issuing.token(true)],
    'forged-token': async () => [await issuing.token(false)],
    login: async (i) => [await logIn(i)],
  }
  const named = async (name: Kind & ('forged' | 'expired' | 'unknown' | 'mismatch'), i: number) => {
    const { readChip } = cards.named(name, i)
    return [await verify(name, devices, (context) => readChip(context), 'no')]
  }
  return { verify, lines: (kind: Kind, i: number) => makers[kind](i) }
}

/** Introspections of answer tokens. */
function createTokens({ certsDir }: SealJob) {
  const sign = tokenSigner(certsDir)
  return {
    async token(good: boolean): Promise<Line> {
      const signed = await sign()
      // The signature of nothing: zeros in the place of r and s.
      const token = good ? signed : `${signed.slice(0, signed.lastIndexOf('.') + 1)}${'A'.repeat(86)}`
      const kind = good ? 'token' : 'forged-token'
      return { kind, path: '/v1/introspect', token: '', body: `token=${token}`, expected: { active: good } }
    },
  }
}

/** Session requests that nobody has sent yet; `helper` fetches their challenges. */
async function createLogins(place: Place, registered: readonly DemoDevice[], helper: Device) {
  const directory = await fetchDirectory(place)
  const readers = registered.map((device) => {
    const reader = makeReader(place, device)
    reader.acceptDirectory(directory, place.clock.now())
    return reader
  })
  return async (i: number): Promise<Line> => {
    const reader = dealt(readers, i)
    const device = printBase64url(reader.device)
    const { body } = await helper.post('/v1/challenges', { purpose: 'session', device })
    const challenge = present(parseBase64url(String(body['challenge'])), 'a session challenge')
    const request = reader.openSession(challenge, place.clock.now())
    return {
      ...{ kind: 'login', path: '/v1/sessions', token: '' },
      ...{ body: JSON.stringify(request), expected: { session: true } },
    }
  }
}

takeJob(async (job: SealJob) => ({ done: await seal(job) }))
