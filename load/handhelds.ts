// Prepares load: handhelds that are logged in and requests sealed beforehand, each for a challenge of its own.
import { createPrivateKey, createPublicKey, randomBytes, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { parseBase64url } from '../src/base/bytes.ts'
import type { Clock } from '../src/base/clock.ts'
import { peopleCount, personAt } from '../src/bureau-mock/people.ts'
import { printReading } from '../src/card/reading.ts'
import { commitParcel } from '../src/channel/sealing.ts'
import { type DemoDevice, devSeed, registerDemoDevice } from '../src/development.ts'
import type { RegistryDb } from '../src/registry/schema.ts'
import { Device } from '../src/sdk/device.ts'
import { Reader } from '../src/sdk/reader.ts'
import { issueCard, readCard } from '../src/simulator/cards.ts'
import { type DeckCard, makeDeck } from '../src/simulator/deck.ts'
import { loadSigners } from '../src/simulator/signers.ts'

/** A request ready to send, with the answer it must get. */
export type Prepared = { body: string; token: string; expected: 'yes' | 'no' }

export type Place = { url: string; certsDir: string; clock: Clock }

const file = (place: Place, name: string) => readFileSync(join(place.certsDir, name))

/** The protected part of a handheld, that is not logged in. */
export const makeReader = (place: Place, registered: DemoDevice): Reader =>
  new Reader({
    device: parseBase64url(registered.id) as Buffer,
    deviceKey: createPrivateKey(registered.key),
    directoryKey: createPublicKey(file(place, 'directory.pub')),
    firmware: 1,
  })

/** The signed directory of keys, as it is served. */
export async function fetchDirectory(place: Place): Promise<string> {
  const sent = request(new URL('/v1/directory', place.url), { ca: file(place, 'gateway-ca.crt') }).end()
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  if (response.statusCode !== 200) throw new Error(`The gateway has no directory (${response.statusCode}).`)
  return text(response)
}

export async function openHandheld(place: Place, registered: DemoDevice): Promise<Device> {
  const { url, clock } = place
  const reader = makeReader(place, registered)
  const device = new Device({ url, ca: file(place, 'gateway-ca.crt'), reader, now: () => clock.now() })
  await device.logIn()
  return device
}

export async function registerHandhelds({ clock }: Pick<Place, 'clock'>, db: RegistryDb, count: number) {
  const made: DemoDevice[] = []
  for (let i = 0; i < count; i++) {
    made.push(await registerDemoDevice(db, { carrier: 'swift-crane', outlet: 'harbour', clock }))
  }
  return made
}

/** Registers handhelds and logs them in. */
export async function makeHandhelds(place: Place, db: RegistryDb, count: number): Promise<Device[]> {
  const made = await registerHandhelds(place, db, count)
  return Promise.all(made.map((registered) => openHandheld(place, registered)))
}

/** Cards whose answer needs no news at the bureau. */
export function dealCards(place: Place, hands: number): DeckCard[] {
  const options = {
    personAt: (index: number) => personAt(devSeed, index),
    peopleCount,
    ...loadSigners(place.certsDir, 'P-256'),
    signedMs: place.clock.now() - 60_000,
  }
  return Array.from({ length: hands }, () => makeDeck(options))
    .flat()
    .filter((card) => card.status === undefined)
}

/** Cards of people from a drawn one on, of whom nobody has asked yet: each must be a yes. */
export function dealNew(place: Place, count: number): () => Dealt {
  const { signer } = loadSigners(place.certsDir, 'P-256')
  const signedMs = place.clock.now() - 60_000
  let next = randomInt(peopleCount - count)
  return () => {
    const card = issueCard(personAt(devSeed, next++), signer, { signedMs })
    return { readChip: (context) => printReading(readCard(card, context)), answer: 'yes' }
  }
}

/** A card in the hand of its owner, and the right answer. */
export type Dealt = Pick<DeckCard, 'readChip' | 'answer'>

/** Seals one request of a handheld for a card. */
export async function prepare(device: Device, card: Dealt): Promise<Prepared> {
  const parcel = commitParcel('swift-crane', randomBytes(6).toString('hex'), randomBytes(16))
  const { body } = await device.prepare(parcel, (context) => card.readChip(context))
  return { body: JSON.stringify(body), token: device.token ?? '', expected: card.answer }
}
