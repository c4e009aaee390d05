// Challenges prove themselves: every bit is covered, every bound is where PROTOCOL section 4 puts it.
import { createSecretKey, randomBytes } from 'node:crypto'
import t from 'tap'
import { hourMs } from '../../src/base/clock.ts'
import {
  challengeOf,
  checkChallenge,
  epochByteOf,
  epochFromByte,
  issueChallenges,
  purpose,
} from '../../src/channel/challenge.ts'

const key = createSecretKey(randomBytes(32))
const device = randomBytes(16)
const nowMs = 1_790_000_000_000
const batch = issueChallenges(key, { use: purpose.reading, device, count: 64, nowMs }).challenge
const check = (challenge: Buffer, more: Partial<Parameters<typeof checkChallenge>[1]> = {}) =>
  checkChallenge(challenge, { key, use: purpose.reading, device, nowMs, ...more }).state

t.test('one base serves exactly count challenges', (t) => {
  t.equal(batch.length, 42)
  for (let i = 0; i < 64; i++) t.equal(check(challengeOf(batch, i)), 'fresh')
  for (const i of [64, 65, 255]) t.equal(check(challengeOf(batch, i)), 'invalid')
  const one = issueChallenges(key, { use: purpose.session, device, count: 1, nowMs })
  t.equal(one.ttlS, 120)
  t.equal(check(one.challenge, { use: purpose.session }), 'fresh')
  t.equal(check(challengeOf(one.challenge, 1), { use: purpose.session }), 'invalid')
  t.end()
})

t.test('any flipped bit before the index, any truncation, another key, device or use is refused', (t) => {
  for (let bit = 0; bit < 41 * 8; bit++) {
    const bent = Buffer.from(batch)
    bent[bit >> 3] = (bent[bit >> 3] as number) ^ (1 << (bit & 7))
    if (check(bent) !== 'invalid') t.fail(`bit ${bit}`)
  }
  for (let n = 0; n < 42; n++) t.equal(check(batch.subarray(0, n)), 'invalid')
  t.equal(check(Buffer.concat([batch, Buffer.of(0)])), 'invalid')
  t.equal(check(batch, { key: undefined }), 'invalid')
  t.equal(check(batch, { key: createSecretKey(randomBytes(32)) }), 'invalid')
  t.equal(check(batch, { device: randomBytes(16) }), 'invalid')
  t.equal(check(batch, { use: purpose.session }), 'invalid')
  t.end()
})

t.test('times: 5 s early, ttl and 5 s late, then 185 s for an answer already given', (t) => {
  const at = (seconds: number) => check(batch, { nowMs: Math.floor(nowMs / 1000) * 1000 + seconds * 1000 })
  t.equal(at(-6), 'invalid')
  t.equal(at(-5), 'fresh')
  t.equal(at(605), 'fresh')
  t.equal(at(606), 'replay_only')
  t.equal(at(790), 'replay_only')
  t.equal(at(791), 'expired')
  t.end()
})

t.test('the epoch byte means the current hour, the one before or the one after', (t) => {
  const hour = Math.floor(nowMs / hourMs)
  t.equal(epochByteOf(batch), hour & 255)
  for (const d of [-1, 0, 1]) t.equal(epochFromByte((hour + d) & 255, hour), hour + d)
  t.equal(epochFromByte((hour + 2) & 255, hour), undefined)
  t.end()
})
