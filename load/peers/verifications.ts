// Verify requests for cards that nobody has seen, sealed beforehand: each for a challenge and a person of its own. The
// gateway and its twin each get all of them, in the same order.
import { randomBytes, randomInt } from 'node:crypto'
import { systemClock } from '../../src/base/clock.ts'
import { peopleCount, personAt } from '../../src/bureau-mock/people.ts'
import { printReading } from '../../src/card/reading.ts'
import type { ChipContext } from '../../src/card/verdict.ts'
import { commitParcel } from '../../src/channel/sealing.ts'
import { devSeed } from '../../src/development.ts'
import type { Device } from '../../src/sdk/device.ts'
import { issueCard, readCard } from '../../src/simulator/cards.ts'
import { type CardSuite, loadSigners } from '../../src/simulator/signers.ts'
import { dealt } from '../stage.ts'
import type { Request } from './drive.ts'
import type { PeerStage } from './stage.ts'

type ReadChip = (context: ChipContext) => Buffer

export const newParcel = () => commitParcel('swift-crane', randomBytes(6).toString('hex'), randomBytes(16))

export async function sealRequest(
  device: Device,
  readChip: ReadChip,
  answer: 'yes' | 'no',
): Promise<Request> {
  const { body } = await device.prepare(newParcel(), readChip)
  return {
    path: '/v1/verify',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${device.token}` },
    body: JSON.stringify(body),
    isRight: (text) => text.includes(`"answer":"${answer}"`) && text.includes('"token":"'),
  }
}

/** People are far apart, so that none comes twice. */
const stride = 7919
let nextPerson = randomInt(peopleCount)

function issueNext(stage: PeerStage, suite: CardSuite): ReadChip {
  const { signer } = loadSigners(stage.certsDir, suite)
  nextPerson = (nextPerson + stride) % peopleCount
  const card = issueCard(personAt(devSeed, nextPerson), signer, { signedMs: systemClock.now() - 60_000 })
  return (context) => printReading(readCard(card, context))
}

/** Good cards, each just issued. */
export async function sealColdCards(stage: PeerStage, suite: CardSuite, count: number): Promise<Request[]> {
  const requests: Request[] = []
  for (let i = 0; i < count; i++)
    requests.push(await sealRequest(dealt(stage.devices, i), issueNext(stage, suite), 'yes'))
  return requests
}

const knownCards = 64

/** Requests for a few good cards, again and again: quickly made, to warm up with. */
export async function sealKnownCards(stage: PeerStage, count: number): Promise<Request[]> {
  const cards = Array.from({ length: knownCards }, () => issueNext(stage, 'P-256'))
  const requests: Request[] = []
  for (let i = 0; i < count; i++)
    requests.push(await sealRequest(dealt(stage.devices, i), dealt(cards, i), 'yes'))
  return requests
}
