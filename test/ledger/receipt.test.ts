// Receipts: one worked example byte by byte, each way of being untrue by name, then every altered one.
import { createHash } from 'node:crypto'
import t from 'tap'
import { printWho } from '../../src/ledger/entry.ts'
import { cosignNote, keyType, parseNote, printNote, printVkey, signNote } from '../../src/ledger/note.ts'
import {
  checkReceipt,
  parseReceipt,
  printReceipt,
  type Trust,
  type Verdict,
} from '../../src/ledger/receipt.ts'
import {
  actEntry,
  cosignedS,
  keyOf,
  ledgerVkey,
  origin,
  receiptOf,
  receiptParts,
  timeMs,
  undecidedEntry,
  undecidedWho,
  verifyEntry,
  who,
  witnessNames,
  witnessVkeys,
} from '../helpers/receipts.ts'

const trust: Trust = { ledger: ledgerVkey }
const sha = (...parts: Buffer[]) => createHash('sha256').update(Buffer.concat(parts)).digest()
const short = (verdict: Verdict) => (verdict.state === 'true' ? 'true' : `${verdict.state} ${verdict.why}`)

t.test('a receipt has the lines of the specification', (t) => {
  const parts = receiptParts()
  const data = verifyEntry()
  const opening = printWho(who)
  const field = (tag: number, value: Buffer) =>
    Buffer.concat([Buffer.of(tag, value.length >> 8, value.length & 255), value])
  const extra = Buffer.concat([field(1, data), field(2, opening)]).toString('base64')
  const byHand = [
    'c2sp.org/tlog-proof@v1',
    `extra ${extra}`,
    'index 5',
    ...parts.proof.map((hash) => hash.toString('base64')),
    '',
    parts.note,
  ].join('\n')
  t.equal(parts.proof.length, 4)
  t.equal(printReceipt(parts), byHand)
  t.end()
})

t.test('a true receipt says who asked, about what, when, and where it stands', (t) => {
  const { blind: _, ...asked } = who
  t.same(checkReceipt(receiptOf(), trust), {
    state: 'true',
    ...asked,
    answer: 'yes',
    timeMs,
    index: 5,
    size: 11,
    leaf: sha(Buffer.of(0), verifyEntry()),
    witnesses: 0,
  })
  const no = receiptOf({ data: verifyEntry(who, { answer: 2 }) })
  t.match(checkReceipt(no, trust), { state: 'true', answer: 'no' })
  t.end()
})

t.test('the receipt of an undecided entry is true and has no token', (t) => {
  const receipt = receiptOf({ data: undecidedEntry(), opening: undecidedWho })
  t.match(checkReceipt(receipt, trust), { state: 'true', answer: 'undecided', jti: Buffer.alloc(16) })
  const withToken = receiptOf({ data: undecidedEntry(who), opening: who })
  t.same(checkReceipt(withToken, trust), { state: 'false', why: 'jti' })
  t.end()
})

t.test('every place of every small tree gives a true receipt, read back to the same bytes', (t) => {
  for (let size = 1; size <= 20; size++) {
    for (let index = 0; index < size; index++) {
      const receipt = receiptOf({ index, size })
      const verdict = checkReceipt(receipt, trust)
      if (verdict.state !== 'true' || verdict.index !== index || verdict.size !== size) t.fail(short(verdict))
      const parsed = parseReceipt(receipt)
      if (parsed.why) t.fail(parsed.why)
      else if (printReceipt({ ...parsed, note: printNote(parsed.note) }) !== receipt) t.fail('other bytes')
    }
  }
  t.pass('true')
  t.end()
})

t.test('witnesses are counted, and a quorum of them can be asked for', (t) => {
  const witnesses = witnessVkeys
  for (const [signed, quorum, wanted] of [
    [0, 0, 'true'],
    [0, 1, 'false quorum'],
    [1, 1, 'true'],
    [1, 2, 'false quorum'],
    [2, 2, 'true'],
  ] as const) {
    const verdict = checkReceipt(receiptOf({ witnesses: signed }), { ...trust, witnesses, quorum })
    t.equal(short(verdict), wanted, `${signed} of ${quorum}`)
    if (verdict.state === 'true') t.equal(verdict.witnesses, signed)
  }
  const [first] = witnessVkeys as [string, string]
  const twice = checkReceipt(receiptOf({ witnesses: 1 }), { ...trust, witnesses: [first, first], quorum: 2 })
  t.equal(short(twice), 'false quorum', 'a witness listed twice counts once')
  t.equal(short(checkReceipt(receiptOf({ witnesses: 2 }), trust)), 'true', 'strangers are passed over')
  t.end()
})

t.test('what is not so has a name', (t) => {
  const parts = receiptParts()
  const text = parseNote(parts.note)?.text as string
  const name = origin
  const [witness] = witnessNames
  const own = signNote(text, { name, key: keyOf('ledger') })
  const other = cosignNote(text, { name: witness, key: keyOf(witness) }, cosignedS)
  other.bytes.writeUInt32BE(7, 8) // Another second than was signed.
  const noted = (signatures: (typeof own)[]) =>
    printReceipt({ ...parts, note: printNote({ text, signatures }) })
  const another = { ...who, outlet: 'SH-0043' }
  const cases: [string, string, string][] = [
    ['false who', 'the opening of another entry', printReceipt({ ...parts, who: another })],
    ['false jti', 'another token', receiptOf({ data: verifyEntry(who, { jtiHash: Buffer.alloc(32, 1) }) })],
    ['false inclusion', 'another place', printReceipt({ ...parts, index: 4 })],
    ['false inclusion', 'a place beyond the tree', printReceipt({ ...parts, index: 11 })],
    ['false inclusion', 'a proof cut short', printReceipt({ ...parts, proof: parts.proof.slice(1) })],
    ['false inclusion', 'another tree', printReceipt({ ...parts, note: receiptParts({ size: 12 }).note })],
    [
      'false inclusion',
      'an entry never logged',
      printReceipt({ ...parts, data: verifyEntry(who, { answer: 2 }) }),
    ],
    ['false origin', 'another log', receiptOf({ log: { origin: 'other.example' } })],
    ['false signature', 'another key', receiptOf({ log: { key: keyOf('other') } })],
    ['false signature', 'another name', receiptOf({ log: { name: 'other.example' } })],
    [
      'false signature',
      'a witness alone',
      noted([cosignNote(text, { name: witness, key: keyOf(witness) }, 1)]),
    ],
    ['false signature', 'a wrong cosignature', noted([own, other])],
    [
      'false signature',
      'a cosignature by the ledger',
      noted([cosignNote(text, { name, key: keyOf('ledger') }, 1)]),
    ],
  ]
  for (const [wanted, label, receipt] of cases) {
    t.equal(short(checkReceipt(receipt, { ...trust, witnesses: witnessVkeys })), wanted, label)
  }
  t.end()
})

t.test('what cannot be read has a name', (t) => {
  const good = receiptOf()
  const [head, extra, index, hash] = good.split('\n') as [string, string, string, string]
  const withExtra = (bytes: Buffer) => good.replace(extra, `extra ${bytes.toString('base64')}`)
  const t2l = (...values: Buffer[]) =>
    Buffer.concat(values.map((v, i) => Buffer.concat([Buffer.of(i + 1, v.length >> 8, v.length & 255), v])))
  const opening = printWho(who)
  const cases: [string, string, string][] = [
    ['form', 'nothing', ''],
    ['form', 'too long', `${'x'.repeat(100_000)}\n\n`],
    ['form', 'another version', good.replace('@v1', '@v2')],
    ['form', 'no extra', good.replace(`${extra}\n`, '')],
    ['form', 'no index', good.replace(`${index}\n`, '')],
    ['form', 'index before extra', good.replace(`${extra}\n${index}`, `${index}\n${extra}`)],
    ['form', 'an index with a zero', good.replace(index, 'index 05')],
    ['form', 'a negative index', good.replace(index, 'index -5')],
    ['form', 'an index of 2^53', good.replace(index, 'index 9007199254740992')],
    ['form', 'a short hash', good.replace(hash, Buffer.alloc(31).toString('base64'))],
    ['form', 'a space after a hash', good.replace(hash, `${hash} `)],
    ['form', '54 hashes', good.replace(`${hash}\n`, `${hash}\n`.repeat(51))],
    ['form', 'carriage returns', good.replaceAll('\n', '\r\n')],
    ['form', 'a line before', `\n${good}`],
    ['extra', 'no bytes', withExtra(Buffer.alloc(0))],
    ['extra', 'no base64', good.replace(extra, `${extra}!`)],
    ['extra', 'one field', withExtra(t2l(verifyEntry()))],
    ['extra', 'three fields', withExtra(t2l(verifyEntry(), opening, opening))],
    ['entry', 'no entry', withExtra(t2l(Buffer.from('entry'), opening))],
    ['act', 'an act', withExtra(t2l(actEntry(), opening))],
    ['who', 'no opening', withExtra(t2l(verifyEntry(), Buffer.alloc(0)))],
    ['who', 'half an opening', withExtra(t2l(verifyEntry(), opening.subarray(1)))],
    ['checkpoint', 'no note', `${good.split('\n\n')[0]}\n\n`],
    ['checkpoint', 'an extension line', good.replace('=\n\n—', '=\nmore\n\n—')],
    ['checkpoint', 'two empty lines', good.replace('\n\n', '\n\n\n')],
    ['checkpoint', 'a line after', `${good}\n`],
  ]
  for (const [why, label, receipt] of cases) {
    t.same(checkReceipt(receipt, trust), { state: 'unreadable', why }, label)
  }
  t.equal(head, 'c2sp.org/tlog-proof@v1')
  t.end()
})

t.test('no truncation, no missing or doubled line and no flipped bit leaves a receipt true', (t) => {
  const receipt = receiptOf({ witnesses: 2 })
  const bytes = Buffer.from(receipt)
  const all: Trust = { ...trust, witnesses: witnessVkeys, quorum: 2 }
  const isTrue = (text: string) => checkReceipt(text, all).state === 'true'
  t.ok(isTrue(receipt))
  for (let end = 0; end < bytes.length; end++) {
    if (isTrue(bytes.toString('utf8', 0, end))) t.fail(`true when cut to ${end} bytes`)
  }
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const altered = Buffer.from(bytes)
    altered[bit >> 3] = altered.readUInt8(bit >> 3) ^ (1 << (bit & 7))
    if (isTrue(altered.toString())) t.fail(`true with bit ${bit} flipped`)
  }
  const lines = receipt.split('\n')
  for (const [i, line] of lines.slice(0, -1).entries()) {
    const without = lines.toSpliced(i, 1).join('\n')
    if (isTrue(without)) t.fail(`true without line ${i}`)
    // A signature that stands twice is the same signature.
    if (!line.startsWith('—') && isTrue(lines.toSpliced(i, 0, line).join('\n')))
      t.fail(`true with ${i} twice`)
  }
  t.end()
})

t.test('a receipt is printed only if it can be read', (t) => {
  const parts = receiptParts()
  t.throws(() => printReceipt({ ...parts, index: -1 }))
  t.throws(() => printReceipt({ ...parts, data: actEntry() }))
  t.throws(() => printReceipt({ ...parts, note: 'note' }))
  t.throws(() => printReceipt({ ...parts, proof: [Buffer.alloc(31)] }))
  t.end()
})

t.test('whom the checker trusts must be said rightly', (t) => {
  const [witness] = witnessVkeys as [string, string]
  const asLog = printVkey(origin, keyOf('ledger'), keyType.cosignature)
  const wrong: Trust[] = [
    { ledger: '' },
    { ledger: `${ledgerVkey} ` },
    { ledger: asLog },
    { ledger: ledgerVkey, witnesses: [ledgerVkey] },
    { ledger: ledgerVkey, witnesses: ['x'] },
    { ledger: ledgerVkey, quorum: 1 },
    { ledger: ledgerVkey, witnesses: [witness], quorum: 2 },
    { ledger: ledgerVkey, witnesses: [witness], quorum: -1 },
    { ledger: ledgerVkey, witnesses: [witness], quorum: 0.5 },
    { ledger: ledgerVkey, witnesses: [witness], quorum: Number.NaN },
  ]
  for (const bad of wrong) t.throws(() => checkReceipt(receiptOf(), bad), RangeError, JSON.stringify(bad))
  t.end()
})
