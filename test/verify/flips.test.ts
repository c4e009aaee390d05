// Every byte flipped: challenge, seal, token, and inside the seal each byte of SOD, record, files, chip
// signature and length. None gives yes, none gives 500, and the true bytes still do.
import t, { type Test } from 'tap'
import type { Device, Reply } from '../../src/sdk/device.ts'
import { parcelOf, startTestGateway, type TestGateway } from '../helpers/gateway.ts'

const atOnce = 64

const putOff = ['overloaded', 'registry_stale']
const triesMax = 20

/** What a gateway on a busy machine puts off it has not judged: it is asked again, as the code says. */
async function untilJudged(ask: () => Promise<Reply>): Promise<Reply> {
  for (let tries = 1; ; tries++) {
    const reply = await ask()
    if (!putOff.includes(String(reply.body['code'])) || tries === triesMax) return reply
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

/** Posts all, some at a time, and counts what must not be. */
async function judge(t: Test, asks: (() => Promise<Reply>)[]) {
  const seen = new Map<string, number>()
  let odd = 0
  for (let from = 0; from < asks.length; from += atOnce) {
    const replies = await Promise.all(asks.slice(from, from + atOnce).map(untilJudged))
    for (const reply of replies) {
      const word = String(reply.body['answer'] ?? reply.body['code'])
      seen.set(word, (seen.get(word) ?? 0) + 1)
      if (word === 'yes' || reply.status >= 500) odd++
    }
  }
  t.equal(
    odd,
    0,
    `${asks.length} requests: ${[...seen].map(([word, count]) => `${count} ${word}`).join(', ')}`,
  )
  return seen
}

const flipped = (bytes: Buffer, at: number) => {
  const bent = Buffer.from(bytes)
  bent.writeUInt8(bent.readUInt8(at) ^ (1 + (at % 255)), at)
  return bent
}
const eachByte = (bytes: Buffer) => Array.from(bytes, (_, at) => flipped(bytes, at))
const print = (bytes: Buffer) => bytes.toString('base64url')
const post = (device: Device, body: object, headers: Record<string, string> = {}) =>
  device.postText('/v1/verify', JSON.stringify(body), headers)

async function open(t: Test): Promise<{ g: TestGateway; device: Device }> {
  const g = await startTestGateway(t, { LOG_LEVEL: 'error' })
  return { g, device: await g.openDevice() }
}

t.test('any byte of challenge, parcel, seal or token', async (t) => {
  const { g, device } = await open(t)
  const { body } = await device.prepare(parcelOf(), (context) => g.cardNamed('valid').readChip(context))
  for (const name of ['challenge', 'parcel', 'sealed'] as const) {
    const bents = eachByte(Buffer.from(body[name], 'base64url')).map(print)
    await judge(
      t,
      bents.map((bent) => () => post(device, { ...body, [name]: bent })),
    )
  }
  const parts = (device.token ?? '').split('.')
  const tokens = parts.flatMap((part, n) =>
    eachByte(Buffer.from(part, 'base64url')).map((bent) =>
      parts.map((text, at) => (at === n ? print(bent) : text)).join('.'),
    ),
  )
  const seen = await judge(
    t,
    tokens.map((token) => () => post(device, body, { authorization: `Bearer ${token}` })),
  )
  t.same([...seen.keys()], ['session_invalid'])
  t.equal((await device.send(body)).answer, 'yes', 'and the true bytes still do')
})

// Each bit of an SM2 card is flipped at the checks (test/card/contract.ts); here each third byte stands for all.
for (const [name, step] of [
  ['valid', 1],
  ['valid-sm2', 3],
] as const)
  t.test(`any byte of a reading before it is sealed: ${name}`, async (t) => {
    const { g, device } = await open(t)
    const card = g.cardNamed(name)
    const asks: (() => Promise<Reply>)[] = []
    // The reading ends in zeros; of those some stand for all.
    const bytesUsed = 1400
    for (let at = 0; at < 2048; at += at < bytesUsed ? step : 16) {
      const { body } = await device.prepare(parcelOf(), (context) => flipped(card.readChip(context), at))
      asks.push(() => post(device, body))
    }
    // Sealing kept this process busy: the registry's news must be fresh again, or nothing is decided at all.
    await new Promise((resolve) => setTimeout(resolve, 500))
    const seen = await judge(t, asks)
    t.same([...seen.keys()].sort(), ['no', 'reading_malformed'])
    t.ok((seen.get('no') ?? 0) > 1000 / step, 'most are found by the card checks')
  })
