// `npm run bench:card`: what a card costs, beside the signature checks and key imports it is made of, in one run.
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { makeCardCrl, makeCardIssuer, makeDocumentSigner } from '../certs/card-issuer.ts'
import { randomId } from '../src/base/bytes.ts'
import { dayMs, systemClock } from '../src/base/clock.ts'
import { keepStep } from '../src/base/cohort.ts'
import { readForward } from '../src/base/der-cursor.ts'
import { peopleCount, personAt } from '../src/bureau-mock/people.ts'
import { createCardVerifier } from '../src/card/check.ts'
import { parseSod, signedBytesOf } from '../src/card/sod.ts'
import { type ChipContext, type ChipVerifier, chipMessage } from '../src/card/verdict.ts'
import { type CardAnchor, type CardTrust, loadAnchors } from '../src/pki/anchors.ts'
import { parseCrl } from '../src/pki/revocation.ts'
import { p256Signing, type Signing, sm2Signing } from '../src/pki/signing.ts'
import { p256, type SuiteKey } from '../src/pki/suites.ts'
import { issueCard, readCard } from '../src/simulator/cards.ts'

const help = `npm run bench:card: the checks of a card, beside the signatures they are made of

  npm run bench:card                      31 rounds in each suite, about a minute and a half
  npm run bench:card -- --rounds 61

Each round checks the same cards in turn: security object and chip as if never seen, the signer neither (rows 7-11 of
the protocol), in cohorts of 16 as a gateway has them; and only the three signatures with the import of the two keys that
come with a card. Beside them the whole card with its text, one that returns, and rows 7-9 of one that was seen before.
CPU time of the process, the collection of what each leaves included; before them some thousand cards, so that V8 has
compiled what it will. The last line is one JSON object: {"coldP256", "coldSm2", "memoMicros"}: medians of the rounds'
ratios, and the dearer suite's microseconds. Exit code 1 above 1.15, 1.15 or 3.`

const { values } = parseArgs({
  options: { help: { type: 'boolean' }, rounds: { type: 'string', default: '31' } },
})
if (values.help) {
  console.log(help)
  process.exit(0)
}
const rounds = Number(values.rounds)
const ratioMax = 1.15
const memoMicrosMax = 3
const cards = 48
const cohort = 16
const [repeatsCold, repeatsKnown] = [5, 250]
const warmUps = 100

const nowMs = systemClock.now()
const context: ChipContext = {
  challenge: Buffer.alloc(42, 1),
  device: randomId(),
  parcel: Buffer.alloc(32, 2),
  carrier: 'swift-crane',
}

/** An issuer, its signer and cards of invented people. */
function makeCards(signing: Signing) {
  const issuer = makeCardIssuer({ commonName: 'Bench issuer', notBeforeMs: nowMs - dayMs, signing })
  const usage = { usageNotBeforeMs: nowMs - dayMs, usageNotAfterMs: nowMs + dayMs }
  const makeSigner = () =>
    makeDocumentSigner(issuer, { commonName: 'Bench', notBeforeMs: nowMs - dayMs, ...usage })
  const anchors = loadAnchors([issuer.certificateDer], signing.suite)
  const times = { thisUpdateMs: nowMs - dayMs, nextUpdateMs: nowMs + dayMs }
  const list = parseCrl(makeCardCrl(issuer, { ...times, number: 1, revoked: [] }), anchors)
  const anchor: CardAnchor = { ...(anchors[0] as CardAnchor), state: 'CHN', authorities: [] }
  // Each by a signer of its own, so that none is known when its turn comes.
  const made = Array.from({ length: cards }, (_, i) => {
    const holder = personAt('bench', (i * 7919) % peopleCount)
    const signer = makeSigner()
    const read = (name: string) =>
      readCard(issueCard({ ...holder, name }, signer, { signedMs: nowMs - 60_000 }), context)
    return { reading: read(holder.name), textless: read('\u0007') }
  })
  const newTrust = (): CardTrust => ({
    anchors: [anchor],
    notAfterMs: nowMs + dayMs,
    listOf: () => list,
  })
  return {
    anchor,
    readings: made.map((one) => one.reading),
    textless: made.map((one) => one.textless),
    newTrust,
  }
}

type Cards = ReturnType<typeof makeCards>

/** Each call checks every card once; a check that fails is a fault of the bench. */
function makeSubjects(signing: Signing, { anchor, readings, textless, newTrust }: Cards) {
  const { suite } = signing
  let trust = newTrust()
  // As the gateway wires it: P-256 keeps step with its cohort. SM2's lane would measure the event loop too.
  const inStep = suite.id === p256.id ? { takeTurn: keepStep } : {}
  const verify: ChipVerifier = createCardVerifier({ suite, trust: () => trust, ...inStep })
  const check = async (reading: (typeof readings)[number], refusal: number) => {
    const verdict = await verify(reading, { context, nowMs })
    if (verdict.refusal !== refusal) throw new Error('a card came to another end')
  }
  /** In cohorts, as a gateway with so many requests on their way has them. */
  const checkAll = async (all: typeof readings, refusal: number) => {
    for (let at = 0; at < all.length; at += cohort)
      await Promise.all(all.slice(at, at + cohort).map((reading) => check(reading, refusal)))
  }
  const inputs = textless.map((reading) => {
    const sod = parseSod(readForward(reading.sod), suite)
    const message = chipMessage(context, suite.hash(reading.sod))
    return { reading, sod, attributes: signedBytesOf(sod.attributes), message }
  })
  const spoiled = readings.map((reading) => ({ ...reading, dg1: Buffer.alloc(reading.dg1.length) }))
  const must = (right: boolean) => {
    if (!right) throw new Error('a signature is wrong')
  }
  return {
    /** Rows 7-11: a card without text is refused at the first character of row 12. */
    async cold() {
      trust = newTrust() // Everything is forgotten.
      await checkAll(textless, 20)
    },
    async whole() {
      trust = newTrust()
      await checkAll(readings, 0)
    },
    /** With fresh keys: the first use of a key costs more than the next. */
    primitives() {
      for (const { reading, sod, attributes, message } of inputs) {
        must(anchor.key.checkDer(sod.signer.tbs, sod.signer.signature))
        must((suite.importKey(sod.signer.spki) as SuiteKey).checkDer(attributes, sod.signature))
        must((suite.importKey(reading.dg15) as SuiteKey).checkRaw(message, reading.chipSignature))
      }
    },
    returning: () => checkAll(readings, 0),
    /** Rows 7-9 of a known SOD, then the hash of a DG1 that is another (R10). */
    known: () => checkAll(spoiled, 10),
    hash() {
      for (const { dg1 } of spoiled) suite.hash(dg1)
    },
  }
}

// What one subject leaves is collected in its own time: otherwise the one that allocates most pays for all.
setFlagsFromString('--expose-gc')
const collectYoung = runInNewContext('gc') as (what: { type: 'minor' }) => void

/** CPU microseconds of one card in `run`, over so many repeats. */
async function cpuOf(run: () => unknown, repeats: number): Promise<number> {
  const before = process.cpuUsage()
  for (let i = 0; i < repeats; i++) await run()
  collectYoung({ type: 'minor' })
  const { user, system } = process.cpuUsage(before)
  return (user + system) / repeats / cards
}

const medianOf = (list: number[]) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)] as number
const round = (value: number, digits: number) => Number(value.toFixed(digits))

async function measure(signing: Signing) {
  const subjects = makeSubjects(signing, makeCards(signing))
  for (let i = 0; i < warmUps; i++) for (const run of Object.values(subjects)) await run()
  const seen: Record<'cold' | 'whole' | 'primitives' | 'returning' | 'memo' | 'ratio', number[]> = {
    cold: [],
    whole: [],
    primitives: [],
    returning: [],
    memo: [],
    ratio: [],
  }
  for (let i = 0; i < rounds; i++) {
    // In turn and turned about: what one leaves to be collected must not always burden the other.
    const first = i % 2 === 0
    const before = first ? await cpuOf(subjects.primitives, repeatsCold) : 0
    const cold = await cpuOf(subjects.cold, repeatsCold)
    const primitives = first ? before : await cpuOf(subjects.primitives, repeatsCold)
    seen.cold.push(cold)
    seen.whole.push(await cpuOf(subjects.whole, repeatsCold))
    seen.primitives.push(primitives)
    seen.ratio.push(cold / primitives)
    seen.returning.push(await cpuOf(subjects.returning, repeatsCold))
    seen.memo.push((await cpuOf(subjects.known, repeatsKnown)) - (await cpuOf(subjects.hash, repeatsKnown)))
    process.stderr.write(`${signing.suite.name} ${i + 1} of ${rounds}\r`)
  }
  process.stderr.write(' '.repeat(20).concat('\r'))
  const [cold, primitives, ratio, whole, returning, memo] = [
    medianOf(seen.cold),
    medianOf(seen.primitives),
    medianOf(seen.ratio),
    medianOf(seen.whole),
    medianOf(seen.returning),
    medianOf(seen.memo),
  ]
  const row = [cold, primitives, ratio, whole, returning, memo].map((value, i) =>
    value.toFixed(i === 2 ? 2 : 1).padStart(12),
  )
  console.log(signing.suite.name.padEnd(8) + row.join(''))
  return { memo, ratio }
}

console.log(`CPU microseconds a card, medians of ${rounds} rounds of ${cards * repeatsCold} cards`)
console.log(
  `suite   ${['cold', 'primitives', 'ratio', 'whole card', 'returning', 'memo hit'].map((word) => word.padStart(12)).join('')}`,
)
const [ofP256, ofSm2] = [await measure(p256Signing), await measure(sm2Signing)]
const memoMicros = round(Math.max(ofP256.memo, ofSm2.memo), 1)
const [coldP256, coldSm2] = [round(ofP256.ratio, 2), round(ofSm2.ratio, 2)]
console.log(JSON.stringify({ coldP256, coldSm2, memoMicros }))
process.exit(coldP256 <= ratioMax && coldSm2 <= ratioMax && memoMicros <= memoMicrosMax ? 0 : 1)
