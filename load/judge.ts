// Judges a load run: every reply against what was right, every answer against the ledger, and some receipts.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseBase64url } from '../src/base/bytes.ts'
import { systemClock } from '../src/base/clock.ts'
import { hashJti, parseEntry } from '../src/ledger/entry.ts'
import { prepareReader } from '../src/ledger/reader.ts'
import { openLedgerReadOnly } from '../src/ledger/sqlite.ts'
import { Carrier } from '../src/sdk/carrier.ts'
import { checkReceipt } from '../src/sdk/receipt.ts'
import { checkToken, type TokenKeys } from '../src/sdk/token.ts'
import type { SignedAnswerClaims } from '../src/token/claims.ts'
import { type Judged, judgeReply, type Line, parseObject, type Reply, type Scenario } from './scenarios.ts'

export type Claims = Pick<SignedAnswerClaims, 'jti' | 'leaf' | 'index' | 'answer'>

export type Judgement = {
  right: number
  wrong: number
  /** Refused as the scenario means it to be. */
  refused: number
  unanswered: number
  /** Answers that are not in the ledger once, as their token says, and logins that are not there. */
  missingEntries: number
  /** By kind and what came back, how often. */
  counts: Record<string, number>
  /** Microseconds of each reply that was right, of the yes among them, and of each that was refused. */
  micros: { all: number[]; yes: number[]; refused: number[] }
  /** Requests due a yes that nothing came for: slower than all that came. */
  yesUnanswered: number
  examples: string[]
}

const examplesMax = 5

export const readReplies = (file: string): Reply[] =>
  readFileSync(file, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Reply)

/** An answer with what its token claims. */
type Answered = { token: string; claims: Claims }

/** Who signs the gateway's tokens. */
export type Signed = { keys: TokenKeys; issuer: string }

/** Whose the handhelds of a load run are. */
const carrier = 'swift-crane'

/** The token of a right answer, of this request and signed by the gateway; else what is wrong with it. */
function tokenOf(line: Line, reply: Reply, { keys, issuer }: Signed): Answered | string {
  const { answer, token } = parseObject(reply.body) ?? {}
  if (typeof token !== 'string') return 'no token'
  const parcel = parseBase64url(String(parseObject(line.body)?.['parcel']), 32)
  const expected = { keys, issuer, carrier, nowMs: systemClock.now(), ...(parcel ? { parcel } : {}) }
  const verdict = checkToken(token, expected)
  if (!verdict.good) return `token: ${verdict.why}`
  return verdict.claims.answer === answer ? { token, claims: verdict.claims } : 'token: another answer'
}

const wordOf = (reply: Reply | undefined): string => {
  if (!reply || reply.status === 0) return 'nothing'
  const { answer, code, active } = parseObject(reply.body) ?? { code: 'not JSON' }
  return String(answer ?? code ?? (active === undefined ? reply.status : `active ${active}`))
}

type JudgeOptions = {
  scenario: Scenario
  /** The gateway's. */
  dataDir: string
  /** Entries that the ledger had before. */
  entries: number
  /** Lines that were not sent. */
  left: readonly number[]
  signed: Signed
}

/** How many entries a ledger has. */
export function countEntries(dataDir: string): number {
  const db = openLedgerReadOnly(join(dataDir, 'ledger.db'))
  const size = prepareReader(db).size()
  db.close()
  return size
}

export function judge(
  lines: readonly Line[],
  replies: readonly Reply[],
  { scenario, dataDir, entries, left, signed }: JudgeOptions,
): Judgement & { answered: Answered[] } {
  const of = new Map(replies.map((reply) => [reply.line, reply]))
  const judgement: Judgement = {
    ...{ right: 0, wrong: 0, refused: 0, unanswered: 0, missingEntries: 0, counts: {} },
    ...{ micros: { all: [], yes: [], refused: [] }, yesUnanswered: 0, examples: [] },
  }
  const answered: Answered[] = []
  const loggedIn: Line[] = []
  const notSent = new Set(left)

  function count(i: number, line: Line, judged: Judged, word: string): void {
    judgement[judged]++
    const what = `${line.kind}: ${word}`
    judgement.counts[what] = (judgement.counts[what] ?? 0) + 1
    if (judged === 'right' || judged === 'refused' || judgement.examples.length >= examplesMax) return
    judgement.examples.push(`${judged}: request ${i}, ${what}, right: ${JSON.stringify(line.expected)}`)
  }

  for (const [i, line] of lines.entries()) {
    if (notSent.has(i)) continue
    const reply = of.get(i)
    const judged = judgeReply(line, reply, scenario)
    const isYes = 'answer' in line.expected && line.expected.answer === 'yes'
    if (judged === 'unanswered' && isYes) judgement.yesUnanswered++
    if (!reply || judged !== 'right' || reply.status !== 200) {
      count(i, line, judged, wordOf(reply))
      if (reply && judged === 'right') judgement.micros.all.push(reply.micros)
      if (reply && judged === 'refused') judgement.micros.refused.push(reply.micros)
      continue
    }
    const told = 'answer' in line.expected ? tokenOf(line, reply, signed) : undefined
    if (typeof told === 'string') {
      count(i, line, 'wrong', told)
      continue
    }
    count(i, line, judged, wordOf(reply))
    judgement.micros.all.push(reply.micros)
    if (isYes) judgement.micros.yes.push(reply.micros)
    if (told) answered.push(told)
    if ('session' in line.expected) loggedIn.push(line)
  }
  judgement.missingEntries = countMissing(join(dataDir, 'ledger.db'), { entries, answered, loggedIn })
  return { ...judgement, answered }
}

/**
 * Answers without an entry that says the same under their index, or with more than one since the ledger had `entries`;
 * and logins whose challenge is not in it.
 */
function countMissing(
  file: string,
  {
    entries,
    answered,
    loggedIn,
  }: { entries: number; answered: readonly Answered[]; loggedIn: readonly Line[] },
): number {
  const db = openLedgerReadOnly(file)
  const reader = prepareReader(db)
  const entriesOf = new Map<string, number>()
  const entryAt = (index: number) => {
    const found = reader.readEntry(index)
    return found && { leaf: found.leaf, entry: parseEntry(found.data) }
  }
  for (let index = entries, size = reader.size(); index < size; index++) {
    const jti = entryAt(index)?.entry?.jtiHash?.toString('hex')
    if (jti !== undefined) entriesOf.set(jti, (entriesOf.get(jti) ?? 0) + 1)
  }
  const told = new Set<string>()
  const isMissing = ({ claims }: Answered) => {
    if (told.has(claims.jti)) return true
    told.add(claims.jti)
    const jti = hashJti(Buffer.from(claims.jti, 'base64url'))
    const found = entryAt(claims.index)
    return !(
      entriesOf.get(jti.toString('hex')) === 1 &&
      found?.entry?.jtiHash?.equals(jti) &&
      found.leaf.toString('base64url') === claims.leaf &&
      found.entry.answer === (claims.answer === 'yes' ? 1 : 2)
    )
  }
  const isRecorded = (line: Line) => {
    const challenge = parseBase64url(String(parseObject(line.body)?.['challenge']))
    return challenge !== undefined && reader.findConsumed(challenge) !== undefined
  }
  const missing = answered.filter(isMissing).length + loggedIn.filter((line) => !isRecorded(line)).length
  db.close()
  return missing
}

/** The carrier of the handhelds, as it asks the gateway. */
function openCarrier({ url, certsDir }: { url: string; certsDir: string }): Carrier {
  const file = (name: string) => readFileSync(join(certsDir, name))
  return new Carrier({
    ...{ url, ca: file('gateway-ca.crt') },
    ...{ cert: file(`carrier-${carrier}.crt`), key: file(`carrier-${carrier}.key`) },
  })
}

/** @param options.url of the carriers' listener */
export async function fetchTokenKeys(options: { url: string; certsDir: string }): Promise<TokenKeys> {
  const asker = openCarrier(options)
  try {
    return await asker.tokenKeys()
  } finally {
    await asker.close()
  }
}

/** Receipts of some answers, fetched as their carrier and checked offline. Returns how many were not true. */
export async function countFalseReceipts(
  answered: readonly Answered[],
  options: { url: string; certsDir: string; vkey: string; samples: number },
): Promise<{ checked: number; untrue: number }> {
  const asker = openCarrier(options)
  const every = Math.max(1, Math.floor(answered.length / options.samples))
  const sampled = answered.filter((_, i) => i % every === 0).slice(0, options.samples)
  let untrue = 0
  for (const { claims, token } of sampled) {
    const text = await asker.fetchReceipt(claims.jti)
    if (checkReceipt(text, { ledger: options.vkey, token }).state !== 'true') untrue++
  }
  await asker.close()
  return { checked: sampled.length, untrue }
}
