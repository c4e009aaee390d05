// The judge of a load run: what is right, wrong and unanswered, and what the scenarios deal.
import t from 'tap'
import { goodputBound, partsOf, sumOf } from '../../load/bench-parts.ts'
import { sharesOf } from '../../load/lines.ts'
import { judgeReply, kindOf, type Line, scenarioNames, scenarioOf } from '../../load/scenarios.ts'

const line = (expected: Line['expected']): Line => ({
  kind: 'new',
  path: '/v1/verify',
  token: '',
  body: '',
  expected,
})
const reply = (status: number, body: unknown) => ({
  ...{ line: 0, status, micros: 1 },
  body: typeof body === 'string' ? body : JSON.stringify(body),
})

t.test(
  'an answer that must not be had is wrong, and a refusal that is not true; a passing one is no answer',
  (t) => {
    const { cold, overload } = { cold: scenarioOf('cold'), overload: scenarioOf('overload') }
    const yes = line({ answer: 'yes' })
    const judged = (of: Line, ...[status, body]: Parameters<typeof reply>) =>
      judgeReply(of, reply(status, body), cold)
    t.equal(judged(yes, 200, { answer: 'yes' }), 'right')
    t.equal(judged(yes, 200, { answer: 'no' }), 'wrong')
    t.equal(judged(line({ answer: 'no' }), 200, { answer: 'yes' }), 'wrong', 'a false yes')
    t.equal(judged(yes, 200, {}), 'wrong', 'no answer in an answer')
    t.equal(judged(yes, 200, 'not json'), 'wrong')
    t.equal(judged(yes, 503, { code: 'overloaded' }), 'unanswered')
    t.equal(judgeReply(yes, reply(503, { code: 'overloaded' }), overload), 'refused', 'where that is meant')
    for (const [status, code] of [
      [500, 'internal'],
      [403, 'device_inactive'],
      [401, 'session_invalid'],
      [422, 'challenge_expired'],
      [200, 'overloaded'],
      [503, 'made_up'],
      [503, 'constructor'],
    ] as const)
      t.equal(judged(yes, status, { code }), 'wrong', `${status} ${code}`)
    t.equal(judged(yes, 503, { code: 'overloaded', answer: 'yes' }), 'wrong', 'an answer in a refusal')
    t.equal(judged(yes, 500, { answer: 'yes' }), 'wrong', 'an answer of another status')
    t.equal(judgeReply(yes, reply(200, { answer: 'no' }), overload), 'wrong', 'but no other answer')
    t.equal(judged(yes, 0, ''), 'unanswered', 'cut')
    t.equal(judgeReply(yes, undefined, cold), 'unanswered')
    const down = scenarioOf('bureau-down')
    t.equal(judgeReply(yes, reply(503, { code: 'bureau_unavailable' }), down), 'refused')
    t.equal(judgeReply(yes, reply(200, { answer: 'yes' }), down), 'wrong', 'an answer from nowhere')
    const used = line({ codes: ['challenge_used'] })
    t.equal(judged(used, 409, { code: 'challenge_used' }), 'right')
    t.equal(judged(used, 200, { answer: 'yes' }), 'wrong', 'a replay that is answered')
    t.equal(judged(used, 409, { code: 'in_progress' }), 'unanswered')
    t.equal(judged(line({ active: false }), 200, { active: true }), 'wrong', 'a forged token that is active')
    t.equal(judged(line({ session: true }), 200, { token: 'x.y.z' }), 'right')
    t.equal(judged(line({ session: true }), 200, { token: 'x' }), 'wrong')
    const claims = { jti: 'a', parcel: 'b' }
    const token = `x.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.x`
    const asked = { ...line({ active: true }), body: `token=${token}` }
    t.equal(judged(asked, 200, { active: true, ...claims }), 'right')
    t.equal(judged(asked, 200, { active: true, ...claims, jti: 'c' }), 'wrong', 'what another token says')
    t.equal(judged(asked, 200, { active: true }), 'wrong', 'and nothing of it')
    t.equal(judged(line({ active: false }), 200, { active: false, jti: 'a' }), 'wrong', 'a word more')
    t.end()
  },
)

t.test('the shares of each scenario add up, and are met over any stretch', (t) => {
  for (const name of scenarioNames) {
    const { mix } = scenarioOf(name)
    const sum = Object.values(mix).reduce((all, share) => all + share, 0)
    t.ok(Math.abs(sum - 1) < 1e-9, `${name}: ${sum}`)
    for (const from of [0, 777, 31_415]) {
      const counts: Record<string, number> = {}
      for (let i = from; i < from + 1000; i++) counts[kindOf(mix, i)] = (counts[kindOf(mix, i)] ?? 0) + 1
      for (const [kind, share] of Object.entries(mix)) {
        t.ok(Math.abs((counts[kind] ?? 0) - share * 1000) <= 4, `${name}: ${counts[kind]} ${kind} of 1000`)
      }
    }
  }
  const { mix } = scenarioOf('mixed')
  t.match(mix, { forged: 0.02, replayed: 0.01, 'revoked-device': 0.01 }, 'what a day’s deck must have')
  t.end()
})

t.test('connections get equal shares, disjoint, and a replay stays behind its first', (t) => {
  const lines = Array.from({ length: 103 }, (_, i): Line => {
    const follows = i % 7 === 3
    return { ...line({ answer: 'yes' }), ...(follows ? { follows: true as const } : {}) }
  })
  const shares = sharesOf(lines, 10)
  t.same(
    shares.map((share) => share.length),
    Array.from({ length: 10 }, () => 10),
  )
  t.equal(new Set(shares.flat()).size, 100, 'no line twice')
  for (const share of shares) {
    for (const [at, i] of share.entries()) if (lines[i]?.follows) t.equal(share[at - 1], i - 1)
  }
  t.end()
})

t.test('the parts of a scenario are those of its kinds, by share', (t) => {
  const parts = {
    ...{ 'constant answer': 100, 'token check': 10, unseal: 5, 'SOD signature': 80 },
    ...{ 'chip signature, key import': 90, 'store call': 20, 'bureau question': 15, 'ledger entry': 40 },
    'token signature': 30,
  }
  t.equal(sumOf('cold', parts), 390)
  t.equal(sumOf('returning', parts), 295)
  t.ok(Math.abs(sumOf('cached', parts) - (0.9 * 295 + 0.1 * 390)) < 1e-9)
  const access = {
    ...parts,
    'answer token check': 70,
    'device signature': 60,
    'session key': 75,
    'device token': 25,
  }
  t.equal(sumOf('introspect', access), 170)
  t.equal(sumOf('session-storm', access), 320)
  t.equal(sumOf('slow-bureau', parts), 390)
  t.equal(sumOf('bureau-down', parts), 0.5 * (225 + 305), 'nothing after the question: nobody is answered')
  const sm2 = { ...parts, 'SM2 SOD signature': 400, 'SM2 chip signature, key import': 300 }
  t.equal(sumOf('sm2', sm2), 390 - 170 + 700)
  t.ok(Number.isNaN(sumOf('mixed', parts)), 'SM2 cards are not counted as P-256 ones')
  t.ok(sumOf('mixed', sm2) > sumOf('returning', sm2))
  t.equal(sumOf('overload', { ...parts, refusal: 50 }, 0.4), 0.4 * 390 + 0.6 * 50)
  t.ok(Number.isNaN(sumOf('introspect', parts)), 'a part that was not measured is not taken for nothing')
  t.equal(partsOf('same-person'), undefined)
  t.equal(goodputBound(0), 1)
  t.ok(Math.abs(goodputBound(0.1) - 0.8 / 0.9) < 1e-12)
  t.end()
})
