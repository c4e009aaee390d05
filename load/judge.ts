// Judges a load run: every reply against what was right, every answer against the ledger, and some receipts.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseBase64url } from '../src/base/bytes.ts'
import { hashJti, parseEntry } from '../src/ledger/entry.ts'
import { prepareReader } from '../src/ledger/reader.ts'
import { openLedgerReadOnly } from '../src/ledger/sqlite.ts'
import { Carrier } from '../src/sdk/carrier.ts'
import { checkReceipt } from '../src/sdk/receipt.ts'
import { judgeReply, type Line, type Reply, type Scenario } from './scenarios.ts'

export type Claims = { jti: string; leaf: string; index: number; answer: string }

export type Judgement = {
  right: number
  wrong: number
  unanswered: number
  /** Answers that are not in the ledger once, as their token says. */
  missingEntries: number
  /** By kind and what came back, how often. */
  counts: Record<string, number>
  /** Microseconds of each answer that was right, and of the yes among them. */
  micros: { all: number[]; yes: number[] }
  examples: string[]
}

const examplesMax = 5

export const readReplies = (file: string): Reply[] =>
  readFileSync(file, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Reply)

/** Claims of a token, unchecked: what they say is held against the ledger. */
function claimsOf(body: string): { claims: Claims; token: string } | undefined {
  const { token } = JSON.parse(body) as { token?: string }
  const payload = parseBase64url(token?.split('.')[1] ?? '')
  return token && payload ? { token, claims: JSON.parse(payload.toString()) as Claims } : undefined
}

const wordOf = (reply: Reply | undefined): string => {
  if (!reply || reply.status === 0) return 'nothing'
  const { answer, code, active } = JSON.parse(reply.body) as Record<string, unknown>
  return String(answer ?? code ?? (active === undefined ? reply.status : `active ${active}`))
}

/** @param options.dataDir the gateway's; `left`: lines that were not sent */
export function judge(
  lines: readonly Line[],
  replies: readonly Reply[],
  options: { scenario: Scenario; dataDir: string; left: readonly number[] },
): Judgement & { answered: { claims: Claims; token: string }[] } {
  const of = new Map(replies.map((reply) => [reply.line, reply]))
  const judgement: Judgement = {
    ...{ right: 0, wrong: 0, unanswered: 0, missingEntries: 0, counts: {}, micros: { all: [], yes: [] } },
    examples: [],
  }
  const answered: { claims: Claims; token: string }[] = []
  const left = new Set(options.left)
  for (const [i, line] of lines.entries()) {
    if (left.has(i)) continue
    const reply = of.get(i)
    const judged = judgeReply(line, reply, options.scenario)
    judgement[judged]++
    const word = `${line.kind}: ${wordOf(reply)}`
    judgement.counts[word] = (judgement.counts[word] ?? 0) + 1
    if (judged !== 'right' && judgement.examples.length < examplesMax) {
      judgement.examples.push(`${judged}: request ${i}, ${word}, right: ${JSON.stringify(line.expected)}`)
    }
    if (!reply || judged !== 'right') continue
    judgement.micros.all.push(reply.micros)
    if (!('answer' in line.expected)) continue
    const found = reply.status === 200 ? claimsOf(reply.body) : undefined
    if (found) answered.push(found)
    if (found?.claims.answer === 'yes') judgement.micros.yes.push(reply.micros)
  }
  judgement.missingEntries = countMissing(join(options.dataDir, 'ledger.db'), answered)
  return { ...judgement, answered }
}

/** Answers without an entry that says the same under their index, and answers that share one. */
function countMissing(file: string, answered: readonly { claims: Claims }[]): number {
  const db = openLedgerReadOnly(file)
  const reader = prepareReader(db)
  const seen = new Map<number, string>()
  const isMissing = ({ claims }: { claims: Claims }) => {
    const { index, jti, leaf, answer } = claims
    const found = reader.readEntry(index)
    const entry = found && parseEntry(found.data)
    const told = seen.get(index) ?? jti
    seen.set(index, jti)
    return !(
      told === jti &&
      found?.leaf.toString('base64url') === leaf &&
      entry?.jtiHash?.equals(hashJti(Buffer.from(jti, 'base64url'))) &&
      entry.answer === (answer === 'yes' ? 1 : 2)
    )
  }
  const missing = answered.filter(isMissing).length
  db.close()
  return missing
}

/** Receipts of some answers, fetched as their carrier and checked offline. Returns how many were not true. */
export async function countFalseReceipts(
  answered: readonly { claims: Claims; token: string }[],
  options: { url: string; certsDir: string; vkey: string; samples: number },
): Promise<{ checked: number; untrue: number }> {
  const file = (name: string) => readFileSync(join(options.certsDir, name))
  const carrier = new Carrier({
    ...{ url: options.url, ca: file('gateway-ca.crt') },
    ...{ cert: file('carrier-swift-crane.crt'), key: file('carrier-swift-crane.key') },
  })
  const every = Math.max(1, Math.floor(answered.length / options.samples))
  const sampled = answered.filter((_, i) => i % every === 0).slice(0, options.samples)
  let untrue = 0
  for (const { claims, token } of sampled) {
    const text = await carrier.fetchReceipt(claims.jti)
    if (checkReceipt(text, { ledger: options.vkey, token }).state !== 'true') untrue++
  }
  await carrier.close()
  return { checked: sampled.length, untrue }
}
