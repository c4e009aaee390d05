// The judge of a load run against a ledger: an answer counts only with its one entry, and with its own token.
import { join } from 'node:path'
import t from 'tap'
import { judge } from '../../load/judge.ts'
import { appendAll, makeEntries, openAt } from '../../load/ledger-entries.ts'
import { type Line, scenarioOf } from '../../load/scenarios.ts'
import { deriveJti } from '../../src/ledger/entry.ts'
import type { Appended } from '../../src/ledger/ledger.ts'

const parcel = Buffer.alloc(32, 5).toString('base64url')
const line: Line = {
  ...{ kind: 'new', path: '/v1/verify', token: '' },
  ...{ body: JSON.stringify({ parcel }), expected: { answer: 'yes' } },
}
const tokenOf = (claims: object) =>
  `x.${Buffer.from(JSON.stringify({ answer: 'yes', parcel, ...claims })).toString('base64url')}.x`

t.test('an answer without its entry is missing, whatever it says', async (t) => {
  const dataDir = t.testdir()
  const ledger = await openAt(join(dataDir, 'ledger.db'))
  t.teardown(() => ledger.close())
  const entries = makeEntries(3)
  const claims: { jti: string; index: number; leaf: string }[] = []
  const kept = {
    async append(entry: (typeof entries)[number]): Promise<Appended> {
      const appended = await ledger.append(entry)
      if ('lost' in appended) throw new Error('an entry of its own was lost')
      const jti = deriveJti(entry.digest).toString('base64url')
      claims.push({ jti, index: appended.index, leaf: appended.leaf.toString('base64url') })
      return appended
    },
  }
  await appendAll(kept, entries, 1)
  const judged = (...bodies: unknown[]) => {
    const replies = bodies.map((body, i) => ({
      ...{ line: i, status: 200, micros: 1 },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    }))
    const lines = bodies.map(() => line)
    const { right, wrong, missingEntries } = judge(lines, replies, {
      ...{ scenario: scenarioOf('cold'), dataDir, left: [] },
    })
    return { right, wrong, missingEntries }
  }
  const answer = (given: object) => ({ answer: 'yes', token: tokenOf(given) })
  const [first, second, third] = claims
  t.same(judged(...claims.map(answer)), { right: 3, wrong: 0, missingEntries: 0 })
  const missing = { right: 1, wrong: 0, missingEntries: 1 }
  t.same(judged({ answer: 'yes' }), missing, 'no token')
  t.same(judged({ answer: 'yes', token: 'x.x.x' }), missing, 'a token that is none')
  t.same(judged(answer({ ...first, answer: 'no' })), missing, 'a token that says something else')
  t.same(judged(answer({ ...first, parcel: 'other' })), missing, 'a token for another parcel')
  t.same(judged(answer({ ...first, leaf: second?.leaf })), missing, 'another leaf')
  t.same(judged(answer({ ...first, index: second?.index })), missing, 'the index of another')
  t.same(judged(answer({ ...first, index: 99 })), missing, 'an index beyond the end')
  t.same(
    judged(answer({ ...first, jti: deriveJti(Buffer.alloc(32)).toString('base64url') })),
    missing,
    'unknown',
  )
  t.same(
    judged(answer(third ?? {}), answer(third ?? {})),
    { right: 2, wrong: 0, missingEntries: 1 },
    'one entry for two answers',
  )
  t.same(judged('<html>'), { right: 0, wrong: 1, missingEntries: 0 }, 'told as wrong, and the rest is judged')
})
