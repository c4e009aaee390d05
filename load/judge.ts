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

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

/** An answer with what its token claims; undefined claims for a token that is none, or that says something else. */
type Answered = { token: string; claims: Claims | undefined }

/** Claims are unchecked here: they are held against the ledger. */
function answeredOf(line: Line, reply: Reply): Answered {
  const { answer, token } = parse(reply.body) ?? {}
  if (typeof token !== 'string') return { token: '', claims: undefined }
  const claims = parse(parseBase64url(token.split('.')[1] ?? '')?.toString() ?? '')
  const isOfRequest = claims?.['answer'] === answer && claims?.['parcel'] === parse(line.body)?.['parcel']
  return { token, claims: isOfRequest ? (claims as Claims) : undefined }
}

const wordOf = (reply: Reply | undefined): string => {
  if (!reply || reply.status === 0) return 'nothing'
  const { answer, code, active } = parse(reply.body) ?? { code: 'not JSON' }
  return String(answer ?? code ?? (active === undefined ? reply.status : `active ${active}`))
}

/** @param options.dataDir the gateway's; `left`: lines that were not sent */
export function judge(
  lines: readonly Line[],
  replies: readonly Reply[],
  options: { scenario: Scenario; dataDir: string; left: readonly number[] },
): Judgement & { answered: Answered[] } {
  const of = new Map(replies.map((reply) => [reply.line, reply]))
  const judgement: Judgement = {
    ...{ right: 0, wrong: 0, unanswered: 0, missingEntries: 0, counts: {}, micros: { all: [], yes: [] } },
    examples: [],
  }
  const answered: Answered[] = []
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
    if (reply.status !== 200) continue
    answered.push(answeredOf(line, reply))
    if (line.expected.answer === 'yes') judgement.micros.yes.push(reply.micros)
  }
  judgement.missingEntries = countMissing(join(options.dataDir, 'ledger.db'), answered)
  return { ...judgement, answered }
}

/** Answers without an entry that says the same under their index, or with more than one in the ledger. */
function countMissing(file: string, answered: readonly Answered[]): number {
  const db = openLedgerReadOnly(file)
  const reader = prepareReader(db)
  const entriesOf = new Map<string, number>()
  const entryAt = (index: number) => {
    const found = reader.readEntry(index)
    return found && { leaf: found.leaf, entry: parseEntry(found.data) }
  }
  for (let index = 0; index < reader.size(); index++) {
    const jti = entryAt(index)?.entry?.jtiHash?.toString('hex')
    if (jti !== undefined) entriesOf.set(jti, (entriesOf.get(jti) ?? 0) + 1)
  }
  const told = new Set<string>()
  const isMissing = ({ claims }: Answered) => {
    if (!claims || told.has(claims.jti)) return true
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
  const missing = answered.filter(isMissing).length
  db.close()
  return missing
}

/** Receipts of some answers, fetched as their carrier and checked offline. Returns how many were not true. */
export async function countFalseReceipts(
  answered: readonly Answered[],
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
    if (!claims) continue // Counted as missing already.
    const text = await carrier.fetchReceipt(claims.jti)
    if (checkReceipt(text, { ledger: options.vkey, token }).state !== 'true') untrue++
  }
  await carrier.close()
  return { checked: sampled.length, untrue }
}
