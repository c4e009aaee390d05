// What a verification is made of, each part alone: the CPU time of a process that does nothing else, over the very
// requests that the gateway was sent, as many at once. Run as a process of its own by bench.ts.
import { createPrivateKey, type KeyObject, randomBytes, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createTokenHolders } from '../plugins/token-holders.ts'
import { present } from '../src/base/assert.ts'
import { parseBase64url } from '../src/base/bytes.ts'
import { dayMs, epochOf, systemClock } from '../src/base/clock.ts'
import { readConfig } from '../src/base/config.ts'
import { readForward } from '../src/base/der-cursor.ts'
import { limits } from '../src/base/limits.ts'
import { BureauClient } from '../src/bureau/client.ts'
import { parseReading, type Reading } from '../src/card/reading.ts'
import { parseSod, signedBytesOf } from '../src/card/sod.ts'
import { chipMessage } from '../src/card/verdict.ts'
import { openReading, requestDigest } from '../src/channel/sealing.ts'
import { createSessionKeys } from '../src/channel/session.ts'
import { loadKeks } from '../src/keys/kek.ts'
import { Keyring } from '../src/keys/keyring.ts'
import { deriveJti } from '../src/ledger/entry.ts'
import { suiteById } from '../src/pki/suites.ts'
import { createRedisStore } from '../src/store/redis.ts'
import { answerClaims, type DeviceSession } from '../src/token/claims.ts'
import { forEach, measureAlone, must, type Works } from './alone.ts'
import { takeJob } from './child.ts'
import { appendAll, fixed, makeEntries, openAt } from './ledger-entries.ts'
import { readLines } from './lines.ts'
import type { Line } from './scenarios.ts'

export type PrimitivesJob = {
  dataDir: string
  certsDir: string
  redisUrl: string
  bureauUrl: string
  /** Lines of verify requests. */
  files: string[]
  /** Requests at once, as in the run: store calls share a pipeline, questions a batch, entries a commit. */
  atOnce: number
  rounds: number
}

type CardPart = 'SOD signature' | 'chip signature, key import'

/** CPU microseconds of one; of the card in the suite of the lines given. */
export type Primitives = Partial<
  Record<
    | ('token check' | 'unseal' | CardPart | `SM2 ${CardPart}`)
    | ('store call' | 'bureau question' | 'ledger entry' | 'token signature'),
    number
  >
>

type Input = {
  line: Line
  challenge: Buffer
  parcel: Buffer
  sealed: Buffer
  session: DeviceSession
  reading: Reading
}

/** @param key that of the session */
function readInput(line: Line, session: DeviceSession, key: KeyObject): Input {
  const body = JSON.parse(line.body) as Record<'challenge' | 'parcel' | 'sealed', string>
  const bytes = (name: keyof typeof body) => present(parseBase64url(body[name]), name)
  const [challenge, parcel, sealed] = [bytes('challenge'), bytes('parcel'), bytes('sealed')]
  const { device, sid, carrier } = session
  const plain = openReading(key, sealed, { device, sid, challenge, parcel, carrier })
  const reading = present(parseReading(present(plain, 'the reading')), 'the form of the reading')
  return { line, challenge, parcel, sealed, session, reading }
}

/** What the parts need: the gateway's keys, the requests opened, and a store, a bureau and a ledger. */
async function open(job: PrimitivesJob) {
  const { certsDir } = job
  const file = (name: string) => readFileSync(join(certsDir, name))
  const clock = systemClock
  const keyring = await Keyring.open({
    ...{ file: join(job.dataDir, 'keyring.db'), keks: () => loadKeks(certsDir), clock, node: 'bench' },
    adopt: { token: createPrivateKey(file('token.key')) },
    onFault: (error) => console.error(error),
  })
  const tokens = createTokenHolders({ keyring, issuer: readConfig({}).VOUCHSAFE_ORIGIN, clock })
  const lines = readLines(job.files)
  const openKey = createSessionKeys()
  const sessionKeyOf = async (session: DeviceSession) => {
    const day = epochOf((session.expS - limits.sessionLifeS) * 1000, dayMs)
    const wrap = present(await keyring.find('session-wrap', day), 'the wrap key')
    return present(openKey(wrap, session), 'the session key')
  }
  const inputs: Input[] = []
  for (const line of lines) {
    const session = await tokens.checkDevice(line.token)
    inputs.push(readInput(line, session, await sessionKeyOf(session)))
  }
  const suite = present(suiteById(inputs[0]?.reading.suite ?? 0), 'the suite')
  const cards = inputs.map(({ reading, challenge, parcel, session }) => {
    const sod = parseSod(readForward(reading.sod), suite)
    const context = { challenge, parcel, device: session.device, carrier: session.carrier }
    return {
      reading,
      sod,
      attributes: signedBytesOf(sod.attributes),
      message: chipMessage(context, suite.hash(reading.sod)),
    }
  })
  const signer = present(suite.importKey(present(cards[0], 'a card').sod.signer.spki), 'the signer’s key')
  const store = await createRedisStore({ guardUrl: job.redisUrl, clock })
  const tls = { ca: file('bureau-ca.crt'), cert: file('bureau-client.crt'), key: file('bureau-client.key') }
  const bureau = new BureauClient({ url: job.bureauUrl, tls, clock, position: () => 0 })
  const ledger = await openAt(join(job.dataDir, `bench-${randomUUID()}.db`))
  const entries = makeEntries(inputs.length * (job.rounds + 1))
  return {
    ...{ inputs, cards, suite, signer, tokens, sessionKeyOf, store, bureau, ledger, entries },
    async close() {
      await ledger.close()
      await bureau.close()
      await store.close()
      await keyring.close()
    },
  }
}

function worksOf(opened: Awaited<ReturnType<typeof open>>, atOnce: number): Works<string> {
  const { inputs, cards, suite, signer, tokens, sessionKeyOf, store, bureau, ledger, entries } = opened
  const ofSuite = (part: CardPart): keyof Primitives => (suite.id === 1 ? part : `SM2 ${part}`)
  return {
    'token check': () => forEach(inputs, atOnce, ({ line }) => tokens.checkDevice(line.token)),
    unseal: () =>
      forEach(inputs, 1, async ({ session, challenge, parcel, sealed }) => {
        const { device, sid, carrier } = session
        const key = await sessionKeyOf(session)
        must(openReading(key, sealed, { device, sid, challenge, parcel, carrier }))
      }),
    [ofSuite('SOD signature')]: () =>
      forEach(cards, 1, ({ attributes, sod }) => must(signer.checkDer(attributes, sod.signature))),
    [ofSuite('chip signature, key import')]: () =>
      forEach(cards, 1, ({ reading, message }) =>
        must(suite.importKey(reading.dg15)?.checkRaw(message, reading.chipSignature)),
      ),
    'store call': () =>
      forEach(inputs, atOnce, () => {
        const claim = store.claimGuard(randomBytes(42), Buffer.alloc(57), 60_000)
        const keys = [
          `v1:a:${randomBytes(24).toString('base64url')}`,
          `v1:a:${randomBytes(24).toString('base64url')}`,
        ]
        return Promise.all([claim, store.readAnswers(keys)])
      }),
    'bureau question': () =>
      forEach(inputs, atOnce, (_, i) =>
        bureau.ask({
          ...{ docType: 'ID', issuingState: 'CHN', number: `780001${String(i).padStart(12, '0')}` },
          ...{ name: '无名', serial: 'AAAAAAAAAAAAAAAAAAAAAA', validTo: '20400101' },
        }),
      ),
    'ledger entry': (round) =>
      appendAll(ledger, entries.slice(round * inputs.length, (round + 1) * inputs.length), atOnce),
    'token signature': () =>
      forEach(inputs, atOnce, ({ session, challenge, parcel, sealed }, i) => {
        const { device, sid, carrier } = session
        const jti = deriveJti(requestDigest({ device, sid, challenge, parcel }, sealed))
        const leaf = fixed.parcel
        return tokens.signAnswer(
          answerClaims({
            answer: 'yes',
            carrier,
            device,
            parcel,
            jti,
            leaf,
            index: i,
            timeMs: systemClock.now(),
          }),
        )
      }),
  }
}

async function measure(job: PrimitivesJob): Promise<Primitives> {
  const opened = await open(job)
  const found = await measureAlone(worksOf(opened, job.atOnce), opened.inputs.length, job.rounds)
  await opened.close()
  return found
}

takeJob(async (job: PrimitivesJob) => ({ done: await measure(job) }))
