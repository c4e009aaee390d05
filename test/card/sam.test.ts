// The verifier of suite 4: what the SAM service attests to is believed for our own request, time and pinned key alone.
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto'
import t from 'tap'
import { GatewayError } from '../../src/base/errors.ts'
import { signP256 } from '../../src/base/p256.ts'
import { parseReading, printReading, type Reading, samSuite } from '../../src/card/reading.ts'
import { printRecord } from '../../src/card/record.ts'
import { refusal } from '../../src/card/refusal.ts'
import { createSamVerifier, type Doubt } from '../../src/card/sam.ts'
import type { ChipContext } from '../../src/card/verdict.ts'
import { attestedMessage, bindingOf, type SamRecord } from '../../src/sam/protocol.ts'
import type { CardHolder } from '../../src/simulator/cards.ts'
import { holder as someone } from '../helpers/cards.ts'

const nowMs = Date.UTC(2026, 10, 24, 3)
const life = { issuedMs: nowMs - 60_000, expiresMs: nowMs + 60_000 }
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const context: ChipContext = {
  ...{ challenge: randomBytes(42), device: randomBytes(16), parcel: randomBytes(32) },
  carrier: 'swift-crane',
}
const transaction = randomBytes(32)
const none = Buffer.alloc(0)
const reading: Reading = {
  ...{ suite: samSuite, sod: transaction, flags: 0 },
  ...{ dg1: none, dg14: none, dg15: none, chipSignature: none },
}

type Attested = { of?: Buffer; binding?: Buffer; readAtMs?: number; holder?: Partial<CardHolder> }

/** What an honest service says, of `of` and `binding` where another is given. */
function attest({ of = transaction, binding = bindingOf(context), readAtMs = nowMs, holder }: Attested = {}) {
  const { serial, ...record } = { ...someone, ...holder }
  const said = { record: printRecord(record), serial, readAtMs }
  return { ...said, attestation: signP256(privateKey, attestedMessage(of, binding, said)) }
}

async function check(found: SamRecord | undefined, given: { reading?: Reading; context?: ChipContext } = {}) {
  const doubts: Doubt[] = []
  const asked: [Buffer, Buffer][] = []
  const verifier = createSamVerifier({
    attestationKey: publicKey,
    lifeOf: () => life,
    onDoubt: (doubt) => doubts.push(doubt),
    async fetchRecord(...of) {
      asked.push(of)
      return found
    },
  })
  const verdict = await verifier(given.reading ?? reading, { context: given.context ?? context, nowMs })
  return { verdict, doubts, asked }
}

const r14 = { refusal: refusal.chipSignature }

t.test(
  'a person is known by what the SAM decoded, and the service is asked for our own request',
  async (t) => {
    const { verdict, doubts, asked } = await check(attest())
    t.match(verdict, { refusal: 0, card: { docType: 'ID', state: 'CHN', number: someone.number } })
    t.same('card' in verdict && verdict.card.serial, someone.serial)
    t.same(doubts, [])
    t.same(asked, [[transaction, bindingOf(context)]])
  },
)

t.test('binding and attested message are as docs/SAM.md has them, byte by byte', async (t) => {
  const field = (tag: number, value: Buffer) => {
    const head = Buffer.from([tag, value.length >> 8, value.length & 255])
    return Buffer.concat([head, value])
  }
  const { challenge, device, parcel, carrier } = context
  const whole = [challenge, device, parcel, Buffer.from(carrier)].map((value, i) => field(i + 1, value))
  const read = Buffer.concat([Buffer.from('vouchsafe/sam-read/v1\0'), ...whole])
  t.same(bindingOf(context), createHash('sha256').update(read).digest())
  const said = { record: Buffer.alloc(256, 1), serial: Buffer.alloc(16, 2), readAtMs: 0x01020304 }
  const time = Buffer.from('0000000001020304', 'hex')
  const fields = [transaction, Buffer.alloc(32, 3), said.record, said.serial, time]
  const message = fields.map((value, i) => field(i + 1, value))
  t.same(
    attestedMessage(transaction, Buffer.alloc(32, 3), said),
    Buffer.concat([Buffer.from('vouchsafe/sam-record/v1\0'), ...message]),
  )
})

t.test('what the service does not know is R14, and no doubt about it', async (t) => {
  t.same(await check(undefined), { verdict: r14, doubts: [], asked: [[transaction, bindingOf(context)]] })
})

t.test('every flipped bit of what was said is R14', async (t) => {
  const good = attest()
  for (const name of ['record', 'serial', 'attestation'] as const) {
    for (let bit = 0; bit < good[name].length * 8; bit++) {
      const bytes = Buffer.from(good[name])
      bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      const { verdict, doubts } = await check({ ...good, [name]: bytes })
      if (verdict.refusal !== 14 || 'person' in verdict || doubts[0] !== 'attestation') {
        t.fail(`${name}, bit ${bit}`)
      }
    }
  }
  for (let bit = 0; bit < 32; bit++) {
    const { verdict } = await check({ ...good, readAtMs: good.readAtMs + 2 ** bit })
    t.same(verdict, r14, `readAt + 2^${bit}`)
  }
})

t.test('what was attested to for another request, or by another key, is R14', async (t) => {
  const cases: [string, SamRecord][] = [
    ['another transaction', attest({ of: randomBytes(32) })],
    ['another binding', attest({ binding: randomBytes(32) })],
    ['another challenge', attest({ binding: bindingOf({ ...context, challenge: randomBytes(42) }) })],
    ['another device', attest({ binding: bindingOf({ ...context, device: randomBytes(16) }) })],
    ['another parcel', attest({ binding: bindingOf({ ...context, parcel: randomBytes(32) }) })],
    ['another carrier', attest({ binding: bindingOf({ ...context, carrier: 'river-post' }) })],
    ['no signature', { ...attest(), attestation: none }],
    ['zeros', { ...attest(), attestation: Buffer.alloc(64) }],
  ]
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  const message = attestedMessage(transaction, bindingOf(context), attest())
  cases.push(['another key', { ...attest(), attestation: signP256(other, message) }])
  for (const [what, found] of cases) {
    t.match(await check(found), { verdict: r14, doubts: ['attestation'] }, what)
  }
  const later = { ...context, challenge: randomBytes(42) }
  t.match(await check(attest(), { context: later }), { verdict: r14 }, 'replayed for a later request')
})

t.test('a reading is of the life of its challenge, and not of the future', async (t) => {
  const cases: [readAtMs: number, refused: number][] = [
    [life.issuedMs - 5001, 14],
    [life.issuedMs - 5000, 0],
    [nowMs, 0],
    [nowMs + 5000, 0],
    [nowMs + 5001, 14],
    [life.expiresMs + 5001, 14],
    [0, 14],
    [Number.MAX_SAFE_INTEGER, 14],
  ]
  for (const [readAtMs, refused] of cases) {
    const { verdict, doubts } = await check(attest({ readAtMs }))
    t.equal(verdict.refusal, refused, String(readAtMs - nowMs))
    t.same(doubts, refused ? ['time'] : [])
  }
})

t.test('row 12 is as for every card, the person told where number and text are right', async (t) => {
  const cases: [refused: number, Partial<CardHolder>, known: boolean][] = [
    [20, { name: '' }, false],
    [21, { number: `${someone.number.slice(0, 17)}${someone.number.endsWith('1') ? '2' : '1'}` }, false],
    [22, { birth: '19700101' }, true],
    [23, { sex: someone.sex === '1' ? '2' : '1' }, true],
    [24, { validFrom: '20300101', validTo: '20400101' }, true],
    [25, { validFrom: '20090301', validTo: '20190301' }, true],
  ]
  for (const [refused, holder, known] of cases) {
    const { verdict, doubts } = await check(attest({ holder }))
    t.equal(verdict.refusal, refused)
    t.equal('person' in verdict, known, `R${refused}`)
    t.same(doubts, [])
  }
})

t.test('an adapter that says what is no record is an error, not a no', async (t) => {
  const cases: Partial<SamRecord>[] = [
    { record: randomBytes(255) },
    { serial: randomBytes(15) },
    ...[-1, 0.5, Number.NaN, 2 ** 60].map((readAtMs) => ({ readAtMs })),
  ]
  for (const change of cases) {
    const error = await check({ ...attest(), ...change }).catch((cause) => cause)
    t.ok(error instanceof GatewayError)
    t.match(error, { code: 'sam_unavailable', reason: 'record_shape' }, JSON.stringify(Object.keys(change)))
  }
})

t.test('a reading of suite 4 is a transaction of 16 to 64 bytes and nothing else', async (t) => {
  const plain = printReading(reading)
  t.equal(plain.length, 2048)
  t.same(parseReading(plain), reading)
  const cases: [string, Partial<Reading>, boolean][] = [
    ['15 bytes', { sod: randomBytes(15) }, false],
    ['16 bytes', { sod: randomBytes(16) }, true],
    ['64 bytes', { sod: randomBytes(64) }, true],
    ['65 bytes', { sod: randomBytes(65) }, false],
    ['no transaction', { sod: none }, false],
    ['a DG1', { dg1: randomBytes(272) }, false],
    ['a byte of DG14', { dg14: randomBytes(1) }, false],
    ['a byte of DG15', { dg15: randomBytes(1) }, false],
    ['a chip signature', { chipSignature: randomBytes(64) }, false],
    ['flags', { flags: 1 }, false],
    ['the suite of a card', { suite: 1 }, false],
  ]
  for (const [what, change, isRight] of cases) {
    t.equal(parseReading(printReading({ ...reading, ...change })) !== undefined, isRight, what)
  }
  t.equal(parseReading(Buffer.concat([plain], 4096)), undefined, 'the size of a passport')
})
