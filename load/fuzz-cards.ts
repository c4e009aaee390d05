// Bent readings of cards against the checks of rows 6-12: whatever comes, it is a refusal of the closed list, and a card
// that is found right is one whose every signature was made for exactly these files. Parts that were bent are signed
// again half of the time, so that what lies behind a signature is reached too.
import fc from 'fast-check'
import { type Issued, makeCardCrl, makeCardIssuer, makeDocumentSigner } from '../certs/card-issuer.ts'
import { dayMs } from '../src/base/clock.ts'
import { childrenOf, readDer, tags } from '../src/base/der.ts'
import { GatewayError } from '../src/base/errors.ts'
import { personAt } from '../src/bureau-mock/people.ts'
import { createCardVerifier } from '../src/card/check.ts'
import { parseReading, printReading, type Reading } from '../src/card/reading.ts'
import { refusal } from '../src/card/refusal.ts'
import { signedBytesOf } from '../src/card/sod.ts'
import { type CardVerdict, type ChipContext, chipMessage } from '../src/card/verdict.ts'
import { type CardAnchor, type CardTrust, loadAnchors } from '../src/pki/anchors.ts'
import { parseCrl } from '../src/pki/revocation.ts'
import { p256Signing, printSpki, type Signing, sm2Signing } from '../src/pki/signing.ts'
import { type Card, issueCard, readCard } from '../src/simulator/cards.ts'
import { planSod, printSod } from '../src/simulator/sod.ts'
import { bend, type Change, changes, type Node, printTree, treeOf } from './fuzz-tree.ts'

const nowMs = Date.UTC(2026, 10, 24, 3)
const signedMs = nowMs - dayMs
const context: ChipContext = {
  challenge: Buffer.alloc(42, 7),
  device: Buffer.alloc(16, 8),
  parcel: Buffer.alloc(32, 9),
  carrier: 'swift-crane',
}

const targets = ['reading', 'sod', 'certificate', 'lds', 'attributes', 'record', 'chip'] as const
type Target = (typeof targets)[number]

export type Case = { suite: number; target: Target; resign: boolean; changes: Change[] }

export const cases: fc.Arbitrary<Case> = fc.record({
  suite: fc.nat(1),
  target: fc.constantFrom(...targets),
  resign: fc.boolean(),
  changes,
})

type World = ReturnType<typeof makeWorld>

function makeWorld(signing: Signing) {
  const { suite } = signing
  const issuer = makeCardIssuer({ commonName: 'Fuzz issuer', notBeforeMs: nowMs - 9 * dayMs, signing })
  const signer = makeDocumentSigner(issuer, {
    commonName: 'Fuzz signer',
    notBeforeMs: nowMs - 9 * dayMs,
    usageNotBeforeMs: nowMs - 9 * dayMs,
    usageNotAfterMs: nowMs + dayMs,
  })
  const anchors = loadAnchors([issuer.certificateDer], suite)
  const times = { thisUpdateMs: nowMs - dayMs, nextUpdateMs: nowMs + dayMs }
  const list = parseCrl(makeCardCrl(issuer, { ...times, number: 1, revoked: [] }), anchors)
  const anchor: CardAnchor = { ...(anchors[0] as CardAnchor), state: 'CHN', authorities: [] }
  const newTrust = (): CardTrust => ({ anchors: [anchor], notAfterMs: nowMs + dayMs, listOf: () => list })
  let trust = newTrust()
  const card = issueCard(personAt('fuzz', 4711), signer, { signedMs })
  const verify = createCardVerifier({ suite, trust: () => trust })
  /** Makes the verifier forget what it found right, as a change of trust does. */
  function forget(): void {
    trust = newTrust()
    verify(readCard(card, context), { context, nowMs })
  }
  return { signing, suite, issuer, signer, card, verify, forget }
}

/** The SOD's parts in its tree, by their place. */
function partsOf(sod: Node) {
  const child = (node: Node | undefined, at: number) => node?.children?.[at] as Node
  const signed = child(child(sod, 1), 0)
  const info = child(child(signed, 4), 0)
  return {
    content: child(child(child(signed, 2), 1), 0),
    certificates: child(signed, 3),
    attributes: child(info, 3),
    signature: child(info, 5),
  }
}

const bendAll = (root: Node, given: Case) => {
  for (const change of given.changes) bend(root, change)
}

/** Bytes that are not DER are bent at places that the change's numbers name. */
function bendBytes(bytes: Buffer, given: Case): Buffer {
  let bent: Buffer = Buffer.from(bytes)
  for (const change of given.changes) {
    const at = ((change.at * 1009 + change.with) % Math.max(1, bent.length)) & ~(change.with & 1)
    const value = Buffer.from(change.bytes)
    if (change.kind === 'delete') bent = Buffer.concat([bent.subarray(0, at), bent.subarray(at + 1)])
    else if (change.kind === 'append') bent = Buffer.concat([bent, value])
    else if (change.kind === 'empty') bent = bent.subarray(0, at)
    else value.copy(bent, at)
  }
  return bent
}

function bendLds(world: World, sod: Node, given: Case): void {
  const parts = partsOf(sod)
  const lds = treeOf(parts.content.body)
  bendAll(lds, given)
  parts.content.body = printTree(lds)
  if (!given.resign) return
  const digest = world.suite.hash(parts.content.body)
  for (const attribute of parts.attributes.children ?? []) {
    const value = attribute.children?.[1]?.children?.[0]
    if (value?.tag === tags.octetString) value.body = digest
  }
  signAttributes(world, parts)
}

function signAttributes(world: World, { attributes, signature }: ReturnType<typeof partsOf>): void {
  const { signing, signer } = world
  signature.body = signing.signDer(signer.privateKey, signedBytesOf(printTree(attributes)))
}

function bendCertificate(world: World, sod: Node, given: Case): void {
  const certificate = partsOf(sod).certificates.children?.[0] as Node
  const [tbs, , bits] = (certificate.children ?? []) as [Node, Node, Node]
  bendAll(given.resign ? tbs : certificate, given)
  if (given.resign) bits.body = signCertificate(world.signing, world.issuer, printTree(tbs))
}

const signCertificate = ({ signDer }: Signing, issuer: Issued, tbs: Buffer) =>
  Buffer.concat([Buffer.of(0), signDer(issuer.privateKey, tbs)])

function bendSod(world: World, given: Case): Buffer {
  const sod = treeOf(world.card.sod)
  if (given.target === 'lds') bendLds(world, sod, given)
  else if (given.target === 'certificate') bendCertificate(world, sod, given)
  else if (given.target === 'attributes') {
    const parts = partsOf(sod)
    bendAll(parts.attributes, given)
    if (given.resign) signAttributes(world, parts)
  } else bendAll(sod, given)
  return printTree(sod)
}

/** Another card of the same signer whose files are bent before it signs, or after. */
function bendFile(world: World, given: Case): Card {
  const { card, signer } = world
  const bent =
    given.target === 'record'
      ? { dg1: bendBytes(card.dg1, given) }
      : { dg15: given.resign ? printTree(bentTree(card.dg15, given)) : bendBytes(card.dg15, given) }
  const files = { ...card, ...bent }
  return given.resign ? { ...files, sod: printSod(planSod(files, signer, signedMs), signer) } : files
}

function bentTree(der: Buffer, given: Case): Node {
  const tree = treeOf(der)
  bendAll(tree, given)
  return tree
}

/** The reading of a case: as the checks get it, or undefined where row 6 stops it. */
export function readingOf(world: World, given: Case): Reading | undefined {
  const { card } = world
  if (given.target === 'reading') return parseReading(bendBytes(printReading(readCard(card, context)), given))
  if (given.target === 'record' || given.target === 'chip') return readCard(bendFile(world, given), context)
  return readCard({ ...card, sod: bendSod(world, given) }, context)
}

const closed = new Set<number>([0, ...Object.values(refusal)])

/** What a case came to, for the count: a refusal, `row 6` or `stale`. Throws where it must not have come to that. */
export function runCase(world: World, given: Case): string {
  const reading = readingOf(world, given)
  if (!reading) return 'row 6'
  let verdict: CardVerdict
  try {
    verdict = world.verify(reading, { context, nowMs }) as CardVerdict
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'trust_stale') return 'stale'
    throw error
  }
  if (!closed.has(verdict.refusal)) throw new Error(`refusal ${verdict.refusal} is none`)
  if (verdict.refusal === 0) assertEarned(world, reading)
  return `R${String(verdict.refusal).padStart(2, '0')}`
}

/** A card that is found right: its SOD holds the hash of each file, was signed, and so was the challenge. */
function assertEarned({ suite, signing, signer }: World, reading: Reading): void {
  for (const file of [reading.dg1, reading.dg14, reading.dg15]) {
    if (!reading.sod.includes(suite.hash(file))) throw new Error('a file is not the one that was signed for')
  }
  const signed = childrenOf(readDer(reading.sod), tags.sequence)[1]?.split()[0]?.split()
  const info = signed?.[4]?.split()[0]?.split()
  const [attributes, signature] = [info?.[3]?.raw, info?.[5]?.body]
  const key = suite.importKey(printSpki(signer.privateKey))
  const isSigned = attributes && signature && key?.checkDer(signedBytesOf(attributes), signature)
  const message = chipMessage(context, suite.hash(reading.sod))
  const isChip = suite.importKey(reading.dg15)?.checkRaw(message, reading.chipSignature)
  if (!isSigned || !isChip || signing.suite !== suite)
    throw new Error('a card was found right that nobody signed')
}

export const makeWorlds = () => [makeWorld(p256Signing), makeWorld(sm2Signing)] as const

/** Runs cases of a seed; counts what they came to. Throws fast-check's report with the smallest case that fails. */
export function fuzzCards(options: {
  cases: number
  seed: number
  onCase?(done: number, forget: () => void): void
}): Record<string, number> {
  const worlds = makeWorlds()
  const forget = () => {
    for (const world of worlds) world.forget()
  }
  const seen: Record<string, number> = {}
  let done = 0
  fc.assert(
    fc.property(cases, (given) => {
      const came = runCase(worlds[given.suite] as World, given)
      seen[came] = (seen[came] ?? 0) + 1
      options.onCase?.(++done, forget)
    }),
    { seed: options.seed, numRuns: options.cases, verbose: true },
  )
  return seen
}
