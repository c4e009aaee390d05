// Prepares load: handhelds that are logged in and requests sealed beforehand, each for a challenge of its own.
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseBase64url } from '../src/base/bytes.ts'
import type { Clock } from '../src/base/clock.ts'
import { peopleCount, personAt } from '../src/bureau-mock/people.ts'
import { commitParcel } from '../src/channel/sealing.ts'
import { type DemoDevice, devSeed, registerDemoDevice } from '../src/development.ts'
import type { RegistryDb } from '../src/registry/schema.ts'
import { Device } from '../src/sdk/device.ts'
import { Reader } from '../src/sdk/reader.ts'
import { type DeckCard, makeDeck } from '../src/simulator/deck.ts'
import { loadSigners } from '../src/simulator/signers.ts'

/** A request ready to send, with the answer it must get. */
export type Prepared = { body: string; token: string; expected: 'yes' | 'no' }

export type Place = { url: string; certsDir: string; clock: Clock }

const file = (place: Place, name: string) => readFileSync(join(place.certsDir, name))

export async function openHandheld(place: Place, registered: DemoDevice): Promise<Device> {
  const reader = new Reader({
    device: parseBase64url(registered.id) as Buffer,
    deviceKey: createPrivateKey(registered.key),
    directoryKey: createPublicKey(file(place, 'directory.pub')),
    firmware: 1,
  })
  const { url, clock } = place
  const device = new Device({ url, ca: file(place, 'gateway-ca.crt'), reader, now: () => clock.now() })
  await device.logIn()
  return device
}

/** Registers handhelds and logs them in. */
export async function makeHandhelds(place: Place, db: RegistryDb, count: number): Promise<Device[]> {
  const made: DemoDevice[] = []
  for (let i = 0; i < count; i++) {
    made.push(await registerDemoDevice(db, { carrier: 'swift-crane', outlet: 'harbour', clock: place.clock }))
  }
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

/** Seals one request of a handheld for a card. */
export async function prepare(device: Device, card: DeckCard): Promise<Prepared> {
  const parcel = commitParcel('swift-crane', randomBytes(6).toString('hex'), randomBytes(16))
  const { body } = await device.prepare(parcel, (context) => card.readChip(context))
  return { body: JSON.stringify(body), token: device.token ?? '', expected: card.answer }
}
