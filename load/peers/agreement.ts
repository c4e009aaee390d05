// That the twin gives the same answers: the whole deck in both suites, each sealed request to the gateway and to the
// twin, then the same bytes again, another reading for a used challenge, a broken seal and a foreign token.
import { createPublicKey } from 'node:crypto'
import { jwtVerify } from 'jose'
import { parseBase64url, printBase64url } from '../../src/base/bytes.ts'
import { systemClock } from '../../src/base/clock.ts'
import { peopleCount, personAt } from '../../src/bureau-mock/people.ts'
import { devSeed } from '../../src/development.ts'
import { Device, type Reply } from '../../src/sdk/device.ts'
import { Reader, type VerifyBody } from '../../src/sdk/reader.ts'
import { type DeckCard, makeDeck } from '../../src/simulator/deck.ts'
import { createKnobs } from '../../src/simulator/knobs.ts'
import { cardSuites, loadSigners } from '../../src/simulator/signers.ts'
import type { PeerStage } from './stage.ts'
import { newParcel } from './verifications.ts'

type Post = (body: VerifyBody, token: string) => Promise<Reply>
type Both = { ours: Post; theirs: Post }

/** Everything of a token that does not follow from the ledger, its times aside. */
const compared = ['iss', 'aud', 'jti', 'answer', 'parcel', 'device', 'level'] as const

/** @returns what differed, in words; nothing if the twin is one */
export async function findDifferences(stage: PeerStage): Promise<string[]> {
  const device = stage.devices[0] as Device
  // Only its connections are used: the requests are those of the stage's handhelds.
  const carrier = new Device({
    ...{ url: stage.twin.url, ca: stage.file('gateway-ca.crt'), now: () => systemClock.now() },
    reader: new Reader({
      ...{ device: Buffer.alloc(16), deviceKey: createPublicKey(stage.file('directory.pub')), firmware: 1 },
      directoryKey: createPublicKey(stage.file('directory.pub')),
    }),
  })
  const over =
    (transport: Device): Post =>
    (body, token) =>
      transport.postText('/v1/verify', JSON.stringify(body), { authorization: `Bearer ${token}` })
  const both = { ours: over(device), theirs: over(carrier) }
  try {
    const differences: string[] = []
    for (const card of deckOf(stage)) differences.push(...(await compareCard(stage, both, card)))
    return differences
  } finally {
    await carrier.close()
  }
}

function deckOf(stage: PeerStage): DeckCard[] {
  const people = { personAt: (index: number) => personAt(devSeed, index), peopleCount }
  const signedMs = systemClock.now() - 60_000
  return cardSuites.flatMap((suite) =>
    makeDeck({ ...people, ...loadSigners(stage.certsDir, suite), signedMs }),
  )
}

async function compareCard(stage: PeerStage, both: Both, card: DeckCard): Promise<string[]> {
  const device = stage.devices[0] as Device
  if (card.status) {
    const tls = {
      ca: stage.file('bureau-ca.crt'),
      cert: stage.file('bureau-client.crt'),
      key: stage.file('bureau-client.key'),
    }
    await createKnobs({ url: stage.gateway.bureau, tls }).setStatus(card.holder.number, card.status)
  }
  const parcel = newParcel()
  const { body } = await device.prepare(parcel, (context) => card.readChip(context))
  const token = device.token ?? ''
  const unsealed = { ...body, sealed: alterLast(body.sealed) }
  const again = await device.again(body, parcel, (context) => card.readChip(context))
  const tries: [name: string, body: VerifyBody, token: string][] = [
    ['a broken seal', unsealed, token],
    ['a foreign token', body, `${token.slice(0, -8)}AAAAAAAA`],
    ['the request', body, token],
    ['the same bytes again', body, token],
    ['another reading', again.body, token],
  ]
  const differences: string[] = []
  for (const [name, sent, bearer] of tries) {
    const [ours, theirs] = [await both.ours(sent, bearer), await both.theirs(sent, bearer)]
    const fault = await faultOf(stage, { ours, theirs, card })
    if (fault) differences.push(`${card.name}, ${name}: ${fault}`)
  }
  return differences
}

function alterLast(sealed: string): string {
  const bytes = parseBase64url(sealed) as Buffer
  bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1)
  return printBase64url(bytes)
}

const shown = ({ status, body }: Reply) => `${status} ${String(body['answer'] ?? body['code'])}`

async function faultOf(
  stage: PeerStage,
  { ours, theirs, card }: { ours: Reply; theirs: Reply; card: DeckCard },
): Promise<string | undefined> {
  if (shown(ours) !== shown(theirs)) return `the gateway says ${shown(ours)}, the twin ${shown(theirs)}`
  if (ours.headers['idempotent-replayed'] !== theirs.headers['idempotent-replayed'])
    return 'only one of them says that it is a replay'
  if (ours.status !== 200) return undefined
  if (ours.body['answer'] !== card.answer) return `both say ${shown(ours)}, which is not ${card.answer}`
  const [own, other] = await Promise.all([ours, theirs].map((reply) => claimsOf(stage, reply)))
  const differing = compared.filter((name) => own?.[name] !== other?.[name])
  return differing.length > 0 ? `their tokens differ in ${differing.join(', ')}` : undefined
}

/** @throws if the gateway's token key did not sign it */
async function claimsOf(stage: PeerStage, { body }: Reply): Promise<Record<string, unknown>> {
  const key = createPublicKey(stage.file('token.key'))
  const { payload } = await jwtVerify(String(body['token']), key, { typ: 'answer+jwt', issuer: stage.origin })
  return payload
}
