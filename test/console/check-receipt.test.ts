// The page's check beside the gateway's: the same verdict, word for word, on good receipts and on whatever can be
// made of them by losing lines, bytes and bits.
import { readFileSync } from 'node:fs'
import t from 'tap'
import { parseNote, printNote } from '../../src/ledger/note.ts'
import { checkReceipt, printReceipt, type Trust, type Verdict } from '../../src/ledger/receipt.ts'
import {
  actEntry,
  keyOf,
  ledgerVkey,
  type ReceiptOptions,
  receiptOf,
  receiptParts,
  undecidedEntry,
  undecidedWho,
  verifyEntry,
  who,
  witnessVkeys,
} from '../helpers/receipts.ts'

const page = new URL('../../src/console/check-receipt.js', import.meta.url)
const twin = (await import(page.href)) as { checkReceipt(text: string, trust: Trust): Promise<Verdict> }

const plain: Trust = { ledger: ledgerVkey }
const both: Trust = { ledger: ledgerVkey, witnesses: witnessVkeys, quorum: 2 }

/** A verdict as text, bytes in hex. */
const show = (verdict: Verdict) =>
  JSON.stringify(
    Object.entries(verdict)
      .map(([name, value]) => [
        name,
        ArrayBuffer.isView(value) ? Buffer.from(value as Uint8Array).toString('hex') : value,
      ])
      .sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)),
  )

type Checks = { fail(why: string): unknown }

/** Runs both over texts; returns how many were of each state. */
async function compare(t: Checks, texts: Iterable<string>, trust: Trust): Promise<Record<string, number>> {
  const counts: Record<string, number> = { true: 0, false: 0, unreadable: 0 }
  for (const text of texts) {
    const ours = checkReceipt(text, trust)
    const theirs = await twin.checkReceipt(text, trust)
    if (show(ours) !== show(theirs)) t.fail(`${show(ours)} against ${show(theirs)}: ${JSON.stringify(text)}`)
    counts[ours.state] = (counts[ours.state] ?? 0) + 1
  }
  return counts
}

const good: [string, ReceiptOptions][] = [
  ['yes', {}],
  ['no', { data: verifyEntry(who, { answer: 2 }) }],
  ['undecided', { data: undecidedEntry(), opening: undecidedWho }],
  ['the only entry', { index: 0, size: 1 }],
  ['the last entry', { index: 12, size: 13 }],
  ['two witnesses', { witnesses: 2 }],
]

t.test('good receipts are true on the page, and say the same', async (t) => {
  for (const [label, options] of good) {
    const verdict = checkReceipt(receiptOf(options), plain)
    t.equal(verdict.state, 'true', label)
    t.equal(show(await twin.checkReceipt(receiptOf(options), plain)), show(verdict), label)
  }
  const places = Array.from({ length: 40 }, (_, size) =>
    Array.from({ length: size }, (_, index) => receiptOf({ index, size })),
  ).flat()
  t.same(await compare(t, places, plain), { true: places.length, false: 0, unreadable: 0 })
})

t.test('receipts that are not so are false on the page, for the same reason', async (t) => {
  const parts = receiptParts({ witnesses: 2 })
  const { text, signatures } = parseNote(parts.note) ?? { text: '', signatures: [] }
  const noted = (kept: typeof signatures) =>
    printReceipt({ ...parts, note: printNote({ text, signatures: kept }) })
  const wrong = [
    printReceipt({ ...parts, who: { ...who, carrier: 'other' } }),
    receiptOf({ data: verifyEntry(who, { jtiHash: Buffer.alloc(32) }), witnesses: 2 }),
    receiptOf({ data: undecidedEntry(who), witnesses: 2 }),
    printReceipt({ ...parts, index: 2 ** 53 - 1 }),
    printReceipt({ ...parts, proof: [...parts.proof, Buffer.alloc(32)] }),
    receiptOf({ log: { origin: 'other.example' }, witnesses: 2 }),
    receiptOf({ log: { key: keyOf('other') }, witnesses: 2 }),
    receiptOf({ witnesses: 1 }),
    noted(signatures.slice(1)),
    noted(signatures.slice(0, 2)),
    noted(signatures.map(({ name, bytes }) => ({ name, bytes: bytes.subarray(0, -1) }))),
    noted(signatures.map(({ name, bytes }) => ({ name, bytes: Buffer.concat([bytes, Buffer.of(0)]) }))),
    noted([...signatures.slice(0, 2), ...signatures.slice(1, 2)]),
  ]
  t.same(await compare(t, wrong, both), { true: 0, false: wrong.length, unreadable: 0 })
  const strangers = noted([{ name: 'stranger', bytes: Buffer.alloc(9) }, ...signatures])
  t.same(await compare(t, [strangers, noted([...signatures, ...signatures])], both), {
    true: 2,
    false: 0,
    unreadable: 0,
  })
})

t.test('receipts that cannot be read cannot be read on the page, for the same reason', async (t) => {
  const receipt = receiptOf()
  const lines = receipt.split('\n') as [string, string, string, string, ...string[]]
  const extraOf = (...values: Buffer[]) => {
    const fields = values.map((v, i) => Buffer.concat([Buffer.of(i + 1, v.length >> 8, v.length & 255), v]))
    return receipt.replace(lines[1], `extra ${Buffer.concat(fields).toString('base64')}`)
  }
  const line = '— a AAAAAAA=\n'
  const wrong = [
    ...[
      '',
      '\n',
      '\n\n',
      '\n\n\n',
      receipt.trimEnd(),
      `${receipt}\n`,
      `\ufeff${receipt}`,
      `${receipt}\ud800`,
    ],
    ...['extra', 'extra ', 'extra !', 'extra AA', 'extra AB=='].map((extra) =>
      receipt.replace(lines[1], extra),
    ),
    ...['0x5', '', ' 5', '5 ', '٥', '05', '9'.repeat(16)].map((index) =>
      receipt.replace('index 5', `index ${index}`),
    ),
    receipt.replace(`${lines[3]}\n`, `${lines[3]}\n`.repeat(60)),
    receipt.replaceAll('\n', '\r\n'),
    receipt.replace('—', '-'),
    receipt + line.repeat(64),
    `${receipt.split('\n\n')[0]}\n\n${'x'.repeat(70_000)}\n\n${line}`,
    'x'.repeat(200_000),
    extraOf(),
    extraOf(verifyEntry()),
    extraOf(actEntry(), Buffer.alloc(0)),
    extraOf(verifyEntry(), Buffer.alloc(0)),
    extraOf(verifyEntry().fill(0, 0, 1), Buffer.alloc(0)),
    ...['\u0000', '\t', '\u00a0', '\u0085', '\u3000', '+', '\ufeff'].map(
      (c) => `${receipt}— a${c}b AAAAAAA=\n`,
    ),
  ]
  const counts = await compare(t, wrong, plain)
  // U+FEFF is no space to Unicode: a stranger may be called so.
  t.same(counts, { true: 1, false: 0, unreadable: wrong.length - 1 })
  const few = await compare(t, [receipt + line.repeat(63), receipt + line], plain)
  t.same(few, { true: 2, false: 0, unreadable: 0 })
})

/** Every line left out, doubled and swapped with the next; every truncation. */
function* inPieces(receipt: string): Generator<string> {
  const lines = receipt.split('\n')
  for (const [i, line] of lines.entries()) {
    yield lines.toSpliced(i, 1).join('\n')
    yield lines.toSpliced(i, 0, line).join('\n')
    yield lines.toSpliced(i, 2, lines[i + 1] ?? '', line).join('\n')
  }
  for (let end = 0; end < receipt.length; end += 2) yield receipt.slice(0, end)
}

/** Every byte changed in several ways, one left out, one put in. */
function* byteByByte(receipt: string): Generator<string> {
  const bytes = Buffer.from(receipt)
  for (let at = 0; at < bytes.length; at++) {
    const [before, byte, after] = [bytes.subarray(0, at), bytes.readUInt8(at), bytes.subarray(at + 1)]
    // Each bit of some byte, and the bytes that end or shift a line.
    const others = at % 3 === 0 ? [byte ^ 0x01, byte ^ 0x20, byte ^ 0x80, 0x0a] : [byte ^ (1 << (at % 8))]
    for (const other of others) {
      if (other !== byte) yield Buffer.concat([before, Buffer.of(other), after]).toString()
    }
    if (at % 2 === 0) yield Buffer.concat([before, after]).toString()
    else yield Buffer.concat([before, Buffer.of(byte, byte), after]).toString()
  }
}

/** The one that every byte is tried on: it has all that the others have. */
const longest = new Set(['two witnesses'])

for (const [label, options] of good) {
  const trust = options.witnesses ? both : plain
  t.test(`${label}: no loss of lines or bytes is judged otherwise on the page`, async (t) => {
    const receipt = receiptOf(options)
    const pieces = await compare(t, inPieces(receipt), trust)
    if (longest.has(label)) {
      const bytes = await compare(t, byteByByte(receipt), trust)
      t.equal(bytes['true'], 0, `false ${bytes['false']}, unreadable ${bytes['unreadable']}`)
    }
    // A signature line that stands twice or in another order is still a right signature.
    const signatures = 1 + (options.witnesses ?? 0)
    t.equal(pieces['true'], signatures + (signatures - 1), `of ${JSON.stringify(pieces)}`)
  })
}

t.test('keys and quorums that are none are thrown back alike', async (t) => {
  const wrong: Trust[] = [
    { ledger: '' },
    { ledger: `${ledgerVkey}=` },
    { ledger: ledgerVkey.replace('+', '++') },
    { ledger: witnessVkeys[0] as string },
    { ledger: ledgerVkey, witnesses: [ledgerVkey] },
    { ...both, quorum: 3 },
    { ...both, quorum: -1 },
    { ...both, quorum: 1.5 },
  ]
  for (const trust of wrong) {
    t.throws(() => checkReceipt(receiptOf(), trust), RangeError)
    await t.rejects(twin.checkReceipt(receiptOf(), trust), RangeError)
  }
})

t.test('the page’s check imports nothing and names nothing of Node', async (t) => {
  const source = readFileSync(page, 'utf8')
  t.notMatch(source, /\b(import|process|Buffer|globalThis|require|eval|fetch)\b\s*[.('{]/)
  t.same(Object.keys(twin), ['checkReceipt'])
})
