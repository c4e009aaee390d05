// What goes to the ledger's worker: the same on both sides, in a buffer of its own, and nothing unwritable.
import { createHash } from 'node:crypto'
import t from 'tap'
import {
  type ActEntry,
  type Append,
  packAppends,
  printAppend,
  type SessionEntry,
  unpackAppends,
  type VerifyEntry,
} from '../../src/ledger/message.ts'

const filled = (bytes: number, value: number) => Buffer.alloc(bytes, value)
const verify: VerifyEntry = {
  type: 'verify',
  digest: createHash('sha256').update('digest').digest(),
  challenge: filled(42, 1),
  expiresMs: 1_795_000_000_000,
  answer: 1,
  carrier: 'swift-parcel',
  outlet: 'SH-0042',
  device: filled(16, 2),
  courier: filled(16, 0),
  parcel: filled(32, 3),
  sealedHash: filled(32, 4),
  refusal: 0,
  transaction: filled(16, 5),
  subject: { docType: 'ID', state: 'CHN', number: '780001199001010017', serial: filled(16, 6) },
}
const session: SessionEntry = {
  type: 'session',
  digest: filled(32, 7),
  challenge: filled(42, 8),
  expiresMs: 5,
  act: '{"act":"session.open"}',
}
const act: ActEntry = { type: 'act', kind: 5, act: '{"name":"云山速递"}', seq: 12 }
const appends: Append[] = [
  verify,
  { ...verify, type: 'undecided', answer: 3 },
  { ...verify, answer: 2, refusal: 255, subject: undefined },
  session,
  act,
  { type: 'act', kind: 9, act: '' },
]

t.test('appends of every kind come out as they went in, in order', (t) => {
  t.same(unpackAppends(packAppends(appends.map(printAppend))), appends)
  t.same(unpackAppends(packAppends([])), [])
  t.end()
})

t.test('the packed buffer holds the appends and not one byte of a pool', (t) => {
  const parts = appends.map(printAppend)
  const packed = packAppends(parts)
  t.type(packed, ArrayBuffer)
  t.equal(
    packed.byteLength,
    parts.reduce((sum, part) => sum + 4 + part.length, 0),
  )
  t.end()
})

t.test('what no entry could hold is refused before it can spoil a group', (t) => {
  const wrong: [string, Append][] = [
    ['short digest', { ...verify, digest: filled(31, 1) }],
    ['long challenge', { ...verify, challenge: filled(43, 1) }],
    ['end as a fraction', { ...verify, expiresMs: 1.5 }],
    ['end before 1970', { ...session, expiresMs: -1 }],
    ['end out of range', { ...session, expiresMs: 2 ** 60 }],
    ['verify undecided', { ...verify, answer: 3 }],
    ['undecided yes', { ...verify, type: 'undecided', answer: 1 }],
    ['carrier', { ...verify, carrier: 'Swift' }],
    ['outlet', { ...verify, outlet: 'a b' }],
    ['device', { ...verify, device: filled(8, 1) }],
    ['courier', { ...verify, courier: filled(0, 1) }],
    ['parcel', { ...verify, parcel: filled(16, 1) }],
    ['sealed hash', { ...verify, sealedHash: filled(33, 1) }],
    ['transaction', { ...verify, transaction: filled(15, 1) }],
    ['refusal', { ...verify, refusal: 256 }],
    ['session digest', { ...session, digest: filled(33, 1) }],
    ['an act too long', { ...act, act: '云'.repeat(22_000) }],
    ['seq 0', { ...act, seq: 0 }],
    ['seq as a fraction', { ...act, seq: 1.5 }],
    ['kind 3', { ...act, kind: 3 as 4 }],
    ['kind 10', { ...act, kind: 10 as 4 }],
  ]
  for (const [name, append] of wrong) t.throws(() => printAppend(append), RangeError, name)
  t.end()
})

t.test('a message of another form is a defect, and throws', (t) => {
  const packed = Buffer.from(packAppends([printAppend(verify)]))
  for (let end = 1; end < packed.length; end++) {
    t.throws(() => unpackAppends(Uint8Array.from(packed.subarray(0, end)).buffer))
  }
  t.end()
})
