// The judge of a load run against a ledger: an answer counts only with its one entry, and with its own token.
import { generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import { SignJWT } from 'jose'
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
const issuer = 'https://gateway.test'
const pair = () => generateKeyPairSync('ec', { namedCurve: 'P-256' })
const own = pair()
const signed = { issuer, keys: { keys: [{ ...own.publicKey.export({ format: 'jwk' }), kid: 'k' }] } }
const tokenOf = (claims: object, key = own.privateKey): Promise<string> => {
  const iat = Math.floor(Date.now() / 1000)
  const fixed = { iss: issuer, aud: 'urn:vouchsafe:carrier:swift-crane', iat, exp: iat + 60 }
  return new SignJWT({ ...fixed, answer: 'yes', parcel, ...claims })
    .setProtectedHeader({ alg: 'ES256', typ: 'answer+jwt', kid: 'k' })
    .sign(key)
}

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
  let before = 0
  const judged = (...bodies: unknown[]) => {
    const replies = bodies.map((body, i) => ({
      ...{ line: i, status: 200, micros: 1 },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    }))
    const lines = bodies.map(() => line)
    const { right, wrong, missingEntries } = judge(lines, replies, {
      ...{ scenario: scenarioOf('cold'), dataDir, entries: before, left: [], signed },
    })
    return { right, wrong, missingEntries }
  }
  const answer = async (given: object) => ({ answer: 'yes', token: await tokenOf(given) })
  const [first, second, third] = claims
  const answers = await Promise.all(claims.map(answer))
  t.same(judged(...answers), { right: 3, wrong: 0, missingEntries: 0 })
  const wrong = { right: 0, wrong: 1, missingEntries: 0 }
  t.same(judged({ answer: 'yes' }), wrong, 'no token')
  t.same(judged({ answer: 'yes', token: 'x.x.x' }), wrong, 'a token that is none')
  t.same(judged({ answer: 'yes', token: await tokenOf(first ?? {}, pair().privateKey) }), wrong, 'forged')
  t.same(judged(await answer({ ...first, answer: 'no' })), wrong, 'a token that says something else')
  t.same(judged(await answer({ ...first, parcel: 'other' })), wrong, 'a token for another parcel')
  const missing = { right: 1, wrong: 0, missingEntries: 1 }
  t.same(judged(await answer({ ...first, leaf: second?.leaf })), missing, 'another leaf')
  t.same(judged(await answer({ ...first, index: second?.index })), missing, 'the index of another')
  t.same(judged(await answer({ ...first, index: 99 })), missing, 'an index beyond the end')
  const unknown = { ...first, jti: deriveJti(Buffer.alloc(32)).toString('base64url') }
  t.same(judged(await answer(unknown)), missing, 'unknown')
  const twice = await answer(third ?? {})
  t.same(judged(twice, twice), { right: 2, wrong: 0, missingEntries: 1 }, 'one entry for two answers')
  before = 1
  t.same(
    judged(...answers),
    { right: 3, wrong: 0, missingEntries: 1 },
    'an entry that was there before the run',
  )
  t.same(judged('<html>'), { right: 0, wrong: 1, missingEntries: 0 }, 'told as wrong, and the rest is judged')
})

t.test('a login is in the ledger by its challenge', async (t) => {
  const dataDir = t.testdir()
  const ledger = await openAt(join(dataDir, 'ledger.db'))
  t.teardown(() => ledger.close())
  const [entry] = makeEntries(1)
  if (!entry) throw new Error('no entry')
  await ledger.append(entry)
  const judged = (challenge: Buffer) => {
    const body = JSON.stringify({ challenge: challenge.toString('base64url') })
    const login: Line = { kind: 'login', path: '/v1/sessions', token: '', body, expected: { session: true } }
    const reply = { line: 0, status: 200, micros: 1, body: JSON.stringify({ token: 'a.b.c' }) }
    const { right, missingEntries } = judge([login], [reply], {
      ...{ scenario: scenarioOf('session-storm'), dataDir, entries: 0, left: [], signed },
    })
    return { right, missingEntries }
  }
  t.same(judged(entry.challenge), { right: 1, missingEntries: 0 })
  t.same(judged(Buffer.alloc(42, 9)), { right: 1, missingEntries: 1 })
})

t.test(
  'a yes that never came is slower than all that came, and what is refused on purpose is no answer',
  (t) => {
    const dataDir = t.testdir()
    return openAt(join(dataDir, 'ledger.db')).then(async (ledger) => {
      const refused = { line: 0, status: 503, micros: 1, body: JSON.stringify({ code: 'overloaded' }) }
      const of = (name: 'cold' | 'overload') =>
        judge([line, line], [refused], { scenario: scenarioOf(name), dataDir, entries: 0, left: [], signed })
      t.match(of('cold'), { right: 0, refused: 0, unanswered: 2, yesUnanswered: 2, micros: { all: [] } })
      t.match(of('overload'), { right: 0, refused: 1, unanswered: 1, yesUnanswered: 1, micros: { all: [] } })
      await ledger.close()
    })
  },
)
