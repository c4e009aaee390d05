// Receipts beside tokens: the one it was made for, and no other. What a receipt itself must be is tested in
// test/ledger/receipt.test.ts.
import t from 'tap'
import { checkReceipt as checkAlone } from '../../src/ledger/receipt.ts'
import { checkReceipt } from '../../src/sdk/receipt.ts'
import {
  ledgerVkey as ledger,
  receiptOf,
  tokenOf,
  undecidedEntry,
  undecidedWho,
} from '../helpers/receipts.ts'

t.test('without a token the verdict is that of the ledger', (t) => {
  for (const text of [
    receiptOf(),
    receiptOf({ size: 1, index: 0 }),
    'no receipt',
    receiptOf().replace('5', '6'),
  ])
    t.same(checkReceipt(text, { ledger }), checkAlone(text, { ledger }))
  t.end()
})

t.test('a receipt is that of the token whose claims follow from its entry', (t) => {
  t.match(checkReceipt(receiptOf(), { ledger, token: tokenOf() }), { state: 'true', answer: 'yes', index: 5 })
  const changes = {
    aud: 'urn:vouchsafe:carrier:river-post',
    jti: 'AAAAAAAAAAAAAAAAAAAAAA',
    iat: 1,
    answer: 'no',
    parcel: 'x',
    device: undefined,
    index: 6,
    leaf: 'x',
  }
  for (const [claim, value] of Object.entries(changes)) {
    const verdict = checkReceipt(receiptOf(), { ledger, token: tokenOf({ [claim]: value }) })
    t.same(verdict, { state: 'false', why: 'token', claim }, claim)
  }
  const asText = checkReceipt(receiptOf(), { ledger, token: tokenOf({ index: '5' }) })
  t.same(asText, { state: 'false', why: 'token', claim: 'index' }, 'a number is not its text')
  t.match(checkReceipt(receiptOf(), { ledger, token: tokenOf({ iss: 'x', exp: 1, more: 1 }) }), {
    state: 'true',
  })
  t.end()
})

t.test('an undecided entry is that of no token', (t) => {
  const receipt = receiptOf({ data: undecidedEntry(), opening: undecidedWho })
  t.same(checkReceipt(receipt, { ledger, token: tokenOf() }), {
    state: 'false',
    why: 'token',
    claim: 'answer',
  })
  t.end()
})

t.test('what is no token cannot be read, and a false receipt is false whatever the token', (t) => {
  for (const token of [
    '',
    'x',
    'a.b',
    'a.b.c.d',
    'a..c',
    'a.!.c',
    `a.${btoa('[]x')}.c`,
    'a.bnVsbA.c',
    '..',
    'a.IjEi.c',
  ])
    t.match(checkReceipt(receiptOf(), { ledger, token }), { state: 'unreadable', why: 'token' }, token)
  const other = receiptOf({ log: { name: 'other.example' } })
  t.equal(checkReceipt(other, { ledger, token: 'x' }).state, 'false')
  t.match(checkReceipt(other, { ledger, token: 'x' }), { why: 'signature' })
  t.end()
})
