// Receipts as they are issued: true for the asker's own, nothing told of anyone else's.
import { createSecretKey, randomBytes } from 'node:crypto'
import t from 'tap'
import { makeReceipt } from '../../src/ledger/issue.ts'
import { checkReceipt } from '../../src/ledger/receipt.ts'
import { ledgerVkey, who } from '../helpers/receipts.ts'
import { day, recordKey, ShownLedger } from '../helpers/shown-ledger.ts'

const recordKeyOf = async () => recordKey
const own = { jti: who.jti, carrier: who.carrier }

t.test('every entry of every small ledger gets a true receipt', async (t) => {
  const whoOf = (i: number) => ({ ...who, jti: Buffer.alloc(16, i + 1) })
  for (let size = 1; size <= 12; size++) {
    const ledger = new ShownLedger()
    for (let i = 0; i < size; i++) ledger.add(whoOf(i), (i % 2) + 1)
    ledger.show()
    for (let i = 0; i < size; i++) {
      const issued = await makeReceipt(ledger, recordKeyOf, { ...own, jti: whoOf(i).jti })
      if (issued.state !== 'issued') return t.fail(issued.state)
      const verdict = checkReceipt(issued.receipt, { ledger: ledgerVkey })
      t.match(verdict, { state: 'true', index: i, size, jti: whoOf(i).jti, answer: i % 2 ? 'no' : 'yes' })
    }
  }
})

t.test('an entry among thousands is proven from tiles, in the checkpoint that is published', async (t) => {
  const ledger = new ShownLedger().fill(700)
  const index = ledger.add(who)
  ledger.fill(1500).show().fill(90).sign()
  const issued = await makeReceipt(ledger, recordKeyOf, own)
  t.equal(issued.state, 'issued')
  if (issued.state !== 'issued') return
  t.match(checkReceipt(issued.receipt, { ledger: ledgerVkey }), { state: 'true', index, size: 2201 })
})

t.test('another carrier is told what anyone is told of an unknown id, published or not', async (t) => {
  const ledger = new ShownLedger()
  ledger.add(who)
  ledger.fill(3)
  const stranger = { jti: who.jti, carrier: 'river-post' }
  t.same(await makeReceipt(ledger, recordKeyOf, stranger), { state: 'unknown' })
  t.same(await makeReceipt(ledger, recordKeyOf, own), { state: 'pending' })
  ledger.sign()
  t.same(await makeReceipt(ledger, recordKeyOf, own), { state: 'pending' }, 'signed is not published')
  ledger.show()
  t.same(await makeReceipt(ledger, recordKeyOf, stranger), { state: 'unknown' })
  t.same(await makeReceipt(ledger, recordKeyOf, { ...own, jti: randomBytes(16) }), { state: 'unknown' })
  t.equal((await makeReceipt(ledger, recordKeyOf, own)).state, 'issued')
})

t.test('once the record key of its day is destroyed there is no receipt', async (t) => {
  const ledger = new ShownLedger()
  ledger.add(who)
  ledger.show()
  const asked: number[] = []
  const destroyed = async (of: number) => void asked.push(of)
  t.same(await makeReceipt(ledger, destroyed as () => Promise<undefined>, own), { state: 'destroyed' })
  t.same(asked, [day])
})

t.test('a ledger that contradicts itself hands out nothing', async (t) => {
  const ledger = new ShownLedger()
  const index = ledger.add(who)
  ledger.add({ ...who, outlet: 'SH-0043', jti: Buffer.alloc(16, 9) })
  ledger.show()
  const [row, other] = [ledger.rows[index], ledger.rows[index + 1]]
  if (!row || !other) return t.fail('no rows')
  const { blob, data } = row
  await t.rejects(
    makeReceipt(ledger, async () => createSecretKey(randomBytes(32)), own),
    /form of a private row/,
  )
  row.blob = Buffer.from(blob).fill(0, 20, 21)
  await t.rejects(makeReceipt(ledger, recordKeyOf, own), /form of a private row/, 'an altered row')
  row.blob = other.blob
  t.same(await makeReceipt(ledger, recordKeyOf, own), { state: 'unknown' }, 'the row of another token')
  row.blob = blob
  row.data = other.data
  await t.rejects(makeReceipt(ledger, recordKeyOf, own), /does not lead to the checkpoint/)
  row.data = data
  t.equal((await makeReceipt(ledger, recordKeyOf, own)).state, 'issued')
})
