// Entries and private rows: one worked example of each, recomputed from PROTOCOL section 9 with node:crypto
// alone, then everything that is not an entry.
import { createCipheriv, createHash, createHmac, createSecretKey } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import {
  deriveJti,
  deriveTags,
  type Entry,
  entryType,
  hashAct,
  hashJti,
  hashWho,
  openRow,
  parseEntry,
  parsePrivate,
  parsePrivateAct,
  parseWho,
  printEntry,
  printPrivate,
  printPrivateAct,
  printWho,
  sealRow,
  type WhoOpening,
} from '../../src/ledger/entry.ts'

const sha = (...parts: Buffer[]) => createHash('sha256').update(Buffer.concat(parts)).digest()
const filled = (bytes: number, value: number) => Buffer.alloc(bytes, value)
/** One T2L field, by hand: tag, length, value. */
const field = (tag: number, value: Buffer | string) => {
  const bytes = Buffer.from(value as string)
  return Buffer.concat([Buffer.from([tag, bytes.length >> 8, bytes.length & 255]), bytes])
}
const t2l = (...values: (Buffer | string)[]) => Buffer.concat(values.map((value, i) => field(i + 1, value)))
const domain = (name: string) => Buffer.from(`vouchsafe/${name}/v1\0`, 'latin1')

const who: WhoOpening = {
  carrier: 'swift-parcel',
  outlet: 'SH-0042',
  device: filled(16, 0xd1),
  courier: filled(16, 0),
  parcel: filled(32, 0xaa),
  jti: filled(16, 0x31),
  blind: filled(16, 0xb1),
}
const whoT2l = t2l('swift-parcel', 'SH-0042', who.device, who.courier, who.parcel, who.jti, who.blind)
const timeMs = Date.UTC(2026, 10, 23, 12, 0, 0, 7)
const timeU64 = Buffer.alloc(8)
timeU64.writeBigUInt64BE(BigInt(timeMs))

const verify: Entry = {
  type: 1,
  timeMs,
  who: sha(domain('who'), whoT2l),
  answer: 2,
  sealedHash: filled(32, 6),
  jtiHash: sha(who.jti),
  privateHash: filled(32, 8),
}
const { jtiHash: _, ...withoutJti } = verify
const undecided: Entry = { ...withoutJti, type: 2, answer: 3 }
const act: Entry = { type: 4, timeMs, actHash: filled(32, 9) }

t.test('a verify entry has the bytes of the specification', (t) => {
  const byHand = Buffer.concat([
    Buffer.from('vouchsafe/entry/v1', 'ascii'),
    Buffer.from([0]),
    Buffer.from('01000101' + '02000101' + '030008', 'hex'),
    timeU64,
    field(4, sha(domain('who'), whoT2l)),
    Buffer.from('05000102', 'hex'),
    field(6, filled(32, 6)),
    field(7, sha(who.jti)),
    field(8, filled(32, 8)),
  ])
  t.equal(byHand.length, 19 + 4 + 4 + 11 + 35 + 4 + 3 * 35)
  t.same(printEntry(verify), byHand)
  t.same(parseEntry(byHand), verify)
  t.same(hashWho(who), verify.who)
  t.same(hashJti(who.jti), verify.jtiHash)
  t.end()
})

t.test('an undecided entry lacks 07, an act has 01 to 03 and 09', (t) => {
  const undecidedByHand = Buffer.concat([
    domain('entry'),
    Buffer.from('01000101' + '02000102' + '030008', 'hex'),
    timeU64,
    field(4, verify.who as Buffer),
    Buffer.from('05000103', 'hex'),
    field(6, filled(32, 6)),
    field(8, filled(32, 8)),
  ])
  t.same(printEntry(undecided), undecidedByHand)
  t.same(parseEntry(undecidedByHand), undecided)
  for (let type = entryType.session; type <= entryType.disclosure; type++) {
    const head = Buffer.concat([domain('entry'), Buffer.from([1, 0, 1, 1, 2, 0, 1, type, 3, 0, 8]), timeU64])
    const byHand = Buffer.concat([head, field(9, filled(32, 9))])
    t.same(printEntry({ ...act, type }), byHand, `type ${type}`)
    t.same(parseEntry(byHand), { ...act, type })
  }
  t.end()
})

t.test('jti, act hash and tags follow the specification', (t) => {
  const digest = filled(32, 0x77)
  t.same(deriveJti(digest), sha(domain('jti'), t2l(digest)).subarray(0, 16))
  t.same(hashAct('{"act":"x"}', who.blind), sha(domain('act'), t2l('{"act":"x"}', who.blind)))
  const key = filled(32, 0x55)
  const serial = filled(16, 0x5e)
  const mac = (name: string, ...values: (Buffer | string)[]) =>
    createHmac('sha256', key)
      .update(Buffer.concat([domain(name), t2l(...values)]))
      .digest()
      .subarray(0, 16)
  const subject = { docType: 'ID', state: 'CHN', number: '78000119900101001X', serial }
  t.same(deriveTags(createSecretKey(key), subject), {
    subjectTag: mac('subject-tag', 'ID', 'CHN', '78000119900101001X'),
    cardTag: mac('card-tag', 'ID', 'CHN', serial),
  })
  t.end()
})

t.test('a private blob opens to what is written by hand, and only under its key and day', (t) => {
  const key = filled(32, 0x4b)
  const day = 20_780
  const transaction = filled(16, 0x7a)
  const plain = t2l(Buffer.of(33), whoT2l, transaction)
  t.same(printPrivate(33, who, transaction), plain)
  t.same(parsePrivate(plain), { refusal: 33, who, transaction })

  const aad = Buffer.concat([domain('record'), t2l(Buffer.from('0000512c', 'hex'))]) // 20780
  const nonce = filled(12, 0x01)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(aad)
  const blob = Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
  t.same(openRow(createSecretKey(key), day, blob), plain)
  t.same(openRow(createSecretKey(key), day, sealRow(createSecretKey(key), day, plain)), plain)
  t.equal(openRow(createSecretKey(key), day + 1, blob), undefined, 'another day')
  t.equal(openRow(createSecretKey(filled(32, 0x4c)), day, blob), undefined, 'another key')
  for (let i = 0; i < blob.length; i++) {
    const altered = Buffer.from(blob)
    altered[i] = (altered[i] as number) ^ 1
    if (openRow(createSecretKey(key), day, altered)) t.fail(`opens with byte ${i} altered`)
    if (openRow(createSecretKey(key), day, blob.subarray(0, i))) t.fail(`opens cut to ${i} bytes`)
  }
  t.end()
})

t.test('an act’s private blob keeps the act as it was stored', (t) => {
  const text = '{"act":"carrier.add","name":"云山速递"}'
  const plain = t2l(text, who.blind)
  t.same(printPrivateAct(text, who.blind), plain)
  t.same(parsePrivateAct(plain), { act: text, blind: who.blind })
  t.equal(parsePrivateAct(t2l(Buffer.of(0xff), who.blind)), undefined, 'not UTF-8')
  t.equal(parsePrivateAct(t2l(text, filled(15, 1))), undefined, 'short blind')
  t.equal(parsePrivateAct(Buffer.concat([plain, Buffer.of(0)])), undefined, 'trailing byte')
  t.end()
})

t.test('every truncation and every flipped bit of an entry is refused or is another entry in full', (t) => {
  for (const entry of [verify, undecided, act]) {
    const bytes = printEntry(entry)
    for (let end = 0; end < bytes.length; end++) {
      if (parseEntry(bytes.subarray(0, end))) t.fail(`parses cut to ${end} bytes`)
    }
    t.equal(parseEntry(Buffer.concat([bytes, Buffer.of(0)])), undefined, 'a trailing byte')
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const altered = Buffer.from(bytes)
      altered[bit >> 3] = (altered[bit >> 3] as number) ^ (1 << (bit & 7))
      const parsed = parseEntry(altered)
      if (parsed && !printEntry(parsed).equals(altered)) t.fail(`bit ${bit} is read but not as written`)
      if (parsed && bit < 19 * 8) t.fail('another domain is read')
    }
  }
  t.end()
})

t.test('every truncation and every flipped bit of a private blob is refused or is another in full', (t) => {
  const bytes = printPrivate(33, who, filled(16, 1))
  for (let end = 0; end < bytes.length; end++) {
    if (parsePrivate(bytes.subarray(0, end))) t.fail(`parses cut to ${end} bytes`)
  }
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const altered = Buffer.from(bytes)
    altered[bit >> 3] = (altered[bit >> 3] as number) ^ (1 << (bit & 7))
    const parsed = parsePrivate(altered)
    if (parsed && !printPrivate(parsed.refusal, parsed.who, parsed.transaction).equals(altered)) {
      t.fail(`bit ${bit} is read but not as written`)
    }
  }
  t.equal(parsePrivate(t2l(Buffer.of(1, 2), whoT2l, filled(16, 1))), undefined, 'a wide refusal')
  t.equal(parsePrivate(t2l(Buffer.of(1), whoT2l, filled(15, 1))), undefined, 'a short transaction')
  t.end()
})

t.test('an opening of who is read only in its one form', (t) => {
  t.same(printWho(who), whoT2l)
  t.same(parseWho(whoT2l), who)
  const wrong: [string, Partial<WhoOpening>][] = [
    ['a carrier in capitals', { carrier: 'Swift' }],
    ['a carrier of one letter', { carrier: 'x' }],
    ['a long carrier', { carrier: 'x'.repeat(33) }],
    ['no outlet', { outlet: '' }],
    ['an outlet beyond ASCII', { outlet: '上海' }],
    ['a short device', { device: filled(15, 1) }],
    ['no courier', { courier: filled(0, 0) }],
    ['a long parcel', { parcel: filled(33, 1) }],
    ['a long jti', { jti: filled(17, 1) }],
    ['a short blind', { blind: filled(8, 1) }],
  ]
  for (const [name, change] of wrong) t.equal(parseWho(printWho({ ...who, ...change })), undefined, name)
  t.end()
})

t.test('what no entry has is not printed', (t) => {
  const wrong: [string, Entry][] = [
    ['type 0', { ...act, type: 0 }],
    ['type 10', { ...act, type: 10 }],
    ['no who', { type: 1, timeMs }],
    ['verify without jti', { ...withoutJti }],
    ['verify undecided', { ...verify, answer: 3 }],
    ['undecided with yes', { ...undecided, answer: 1 }],
    ['answer 0', { ...verify, answer: 0 }],
    ['a short hash', { ...verify, sealedHash: filled(31, 1) }],
    ['an act without hash', { type: 9, timeMs }],
    ['a time before 1970', { ...act, timeMs: -1 }],
    ['a fraction of a ms', { ...act, timeMs: 0.5 }],
  ]
  for (const [name, entry] of wrong) t.throws(() => printEntry(entry), RangeError, name)
  t.end()
})

t.test('every entry comes back as it was, whatever its hashes and time', (t) => {
  const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes))
  const any = fc.record({
    at: fc.nat(Number.MAX_SAFE_INTEGER),
    answer: fc.constantFrom(1, 2),
    h: fc.array(hash, { minLength: 4, maxLength: 4 }),
  })
  fc.assert(
    fc.property(any, ({ at, answer, h }) => {
      const [who, sealedHash, jtiHash, privateHash] = h as [Buffer, Buffer, Buffer, Buffer]
      const entry: Entry = { type: 1, timeMs: at, who, answer, sealedHash, jtiHash, privateHash }
      t.same(parseEntry(printEntry(entry)), entry)
    }),
    { numRuns: 50, seed: 20261123 },
  )
  t.end()
})
