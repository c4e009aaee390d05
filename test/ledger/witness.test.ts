// What is said to a witness, and what is believed of its answer: against a witness in this process, then against
// every answer that is not one.
import t from 'tap'
import { parseVkey, type Vkey } from '../../src/ledger/note.ts'
import { emptyRoot } from '../../src/ledger/range.ts'
import { askWitness, type PostCheckpoint, printSubmission } from '../../src/ledger/witness.ts'
import { cosignedS, keyOf, ledgerVkey } from '../helpers/receipts.ts'
import { ReferenceTree } from '../helpers/reference-tree.ts'
import { ShownLedger } from '../helpers/shown-ledger.ts'
import { type Answer, TestWitness } from '../helpers/witness.ts'

const name = 'one.example'
const open = () => new TestWitness({ name, ledger: ledgerVkey, nowS: () => cosignedS })
const vkeyOf = (witness: TestWitness) => parseVkey(witness.vkey) as Vkey

/** A checkpoint over the first `size` leaves of a ledger, with the proofs of the reference tree. */
function submissionOf(size: number) {
  const ledger = new ShownLedger().fill(size)
  const { note } = ledger.sign()
  const tree = new ReferenceTree(ledger.rows.map(({ data }) => data))
  return { note, proveFrom: (old: number) => tree.proof(old, size), root: tree.hash(0, size) }
}
const ask = (witness: TestWitness, size: number, knownSize: number) => {
  const post: PostCheckpoint = async (body) => {
    witness.asked.push(body)
    const { status, type = '', text } = witness.answer(body)
    return { status, type, text }
  }
  return askWitness({ witness: vkeyOf(witness), post, knownSize }, submissionOf(size))
}

t.test('a request has the lines of the specification', (t) => {
  const { note, proveFrom } = submissionOf(7)
  const proof = proveFrom(3).map((hash) => `${hash.toString('base64')}\n`)
  t.equal(proof.length, 4)
  t.equal(printSubmission(3, { note, proveFrom }), `old 3\n${proof.join('')}\n${note}`)
  t.equal(printSubmission(0, { note, proveFrom }), `old 0\n\n${note}`)
  t.end()
})

t.test('a witness cosigns a ledger that grows, from every size to every other', async (t) => {
  for (let old = 0; old <= 9; old++) {
    for (let size = Math.max(old, 1); size <= 9; size++) {
      const witness = open()
      if (old > 0) await ask(witness, old, 0)
      const witnessed = await ask(witness, size, old)
      if (!('cosignature' in witnessed) || witnessed.size !== size || witness.seen.size !== size)
        t.fail(`${old} ${size}`)
    }
  }
  t.pass('cosigned')
})

t.test('a witness that knows another size is asked once more from there', async (t) => {
  const witness = open()
  await ask(witness, 5, 0)
  witness.asked.length = 0
  t.match(await ask(witness, 8, 0), { cosignature: {}, size: 8 }, 'we have forgotten')
  t.same(
    witness.asked.map((body) => body.split('\n', 1)[0]),
    ['old 0', 'old 5'],
  )
  witness.seen = { size: 0, root: emptyRoot }
  t.match(await ask(witness, 8, 8), { cosignature: {}, size: 8 }, 'it has forgotten')
  t.match(await ask(witness, 6, 8), { fault: 'ahead', size: 8 }, 'it has seen more than we ask about')
})

t.test('a witness that has seen another ledger cosigns nothing', async (t) => {
  const witness = open()
  const root = Buffer.alloc(32, 7)
  witness.seen = { size: 5, root }
  t.same(await ask(witness, 8, 5), { fault: 'refused', size: 5, status: 422 })
  t.same(await ask(witness, 8, 0), { fault: 'refused', size: 5, status: 422 })
  t.same(await ask(witness, 5, 5), { fault: 'conflict', size: 5, status: 409 })
  t.same(await ask(witness, 5, 0), { fault: 'conflict', size: 5, status: 409 })
  t.same(witness.seen, { size: 5, root })
})

t.test('an answer that is not one of the specification gives no cosignature', async (t) => {
  const right = open()
  const { note, proveFrom } = submissionOf(4)
  const line = right.answer(printSubmission(0, { note, proveFrom })).text
  const liar = new TestWitness({ name, ledger: ledgerVkey })
  liar.mode = 'lying'
  const untrue = liar.answer(printSubmission(0, { note, proveFrom })).text
  const stranger = new TestWitness({ name: 'two.example', ledger: ledgerVkey })
  const strange = stranger.answer(printSubmission(0, { note, proveFrom })).text
  const sameName = new TestWitness({ name, key: keyOf('other'), ledger: ledgerVkey })
  const otherKey = sameName.answer(printSubmission(0, { note, proveFrom })).text
  const other = open().answer(printSubmission(0, submissionOf(3))).text
  const size = 'text/x.tlog.size'
  const table: [answer: Answer, wanted: string][] = [
    [{ status: 200, text: line }, 'cosigned'],
    [{ status: 200, text: strange + otherKey + line }, 'cosigned'],
    [{ status: 200, text: untrue }, 'untrue'],
    [{ status: 200, text: strange }, 'untrue'],
    [{ status: 200, text: otherKey }, 'untrue'],
    [{ status: 200, text: other }, 'untrue'],
    [{ status: 200, text: '' }, 'untrue'],
    [{ status: 200, text: line.slice(0, -1) }, 'malformed'],
    [{ status: 200, text: 'thanks\n' }, 'malformed'],
    [{ status: 200, text: `\n${line}` }, 'malformed'],
    [{ status: 200, text: line.repeat(70) }, 'malformed'],
    [{ status: 200, text: note }, 'malformed'],
    [{ status: 201, text: line }, 'refused'],
    [{ status: 302, text: line }, 'refused'],
    [{ status: 403, text: '' }, 'refused'],
    [{ status: 500, text: line }, 'refused'],
    [{ status: 409, type: size, text: '99\n' }, 'ahead'],
    [{ status: 409, type: size, text: '0\n' }, 'conflict'],
    [{ status: 409, type: size, text: '3\n' }, 'conflict'],
    [{ status: 409, type: size, text: '3' }, 'malformed'],
    [{ status: 409, type: size, text: '-1\n' }, 'malformed'],
    [{ status: 409, type: size, text: '03\n' }, 'malformed'],
    [{ status: 409, type: size, text: '1e9\n' }, 'malformed'],
    [{ status: 409, type: 'text/plain', text: '3\n' }, 'malformed'],
  ]
  for (const [{ status, type = 'text/plain', text }, wanted] of table) {
    let asked = 0
    const post = async () => {
      asked++
      return { status, type, text }
    }
    const got = await askWitness({ witness: vkeyOf(right), post, knownSize: 0 }, { note, proveFrom })
    t.equal('fault' in got ? got.fault : 'cosigned', wanted, `${status} ${JSON.stringify(text.slice(0, 20))}`)
    t.ok(asked <= 2, 'never asked more than twice')
  }
})

t.test('the witness itself: what it refuses', (t) => {
  const witness = open()
  const { note, proveFrom } = submissionOf(4)
  const told = (body: string) => witness.answer(body).status
  t.equal(told(printSubmission(0, { note, proveFrom })), 200)
  t.equal(told(printSubmission(4, { note, proveFrom })), 200, 'the same again')
  t.equal(told(`old 5\n\n${note}`), 400)
  t.equal(told(`old 04\n\n${note}`), 400)
  t.equal(told(note), 400)
  t.equal(told(printSubmission(2, submissionOf(3))), 409, 'rolled back')
  t.equal(told(`old 4\n\n${submissionOf(6).note}`), 422, 'no proof')
  const stranger = open()
  t.equal(stranger.answer(`old 0\n\n${note.replace('vouchsafe.example', 'other.example')}`).status, 404)
  t.equal(stranger.answer(`old 0\n\n${note.replace(/\n4\n/, '\n5\n')}`).status, 403)
  t.end()
})
