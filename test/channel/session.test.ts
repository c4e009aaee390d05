// The key of a session, wrapped into its token: it opens where it belongs, and once for as long as it is held.
import { createSecretKey, randomBytes } from 'node:crypto'
import t from 'tap'
import { createSessionKeys, wrapSessionKey } from '../../src/channel/session.ts'

const wrap = createSecretKey(randomBytes(32))
const key = createSecretKey(randomBytes(32))
const context = { sid: randomBytes(16), device: randomBytes(16), carrier: 'swift-crane', expS: 1_800_000_000 }
const session = { ...context, wrappedKey: wrapSessionKey(wrap, key, context) }

t.test('a session gets its key, the same object each time', async (t) => {
  const sessionKeyOf = createSessionKeys()
  const found = sessionKeyOf(wrap, session)
  t.ok(found?.equals(key))
  t.equal(sessionKeyOf(wrap, session), found)
  const alike = sessionKeyOf(wrap, { ...session })
  t.ok(alike?.equals(key))
  t.not(alike, found, 'another session that is alike is opened for itself')
})

t.test('what was opened for one opens nothing for another', async (t) => {
  const sessionKeyOf = createSessionKeys()
  sessionKeyOf(wrap, session)
  const bent = Buffer.from(session.wrappedKey)
  bent[0] = (bent[0] ?? 0) ^ 1
  const others = {
    'another session id': { ...session, sid: randomBytes(16) },
    'another device': { ...session, device: randomBytes(16) },
    'another carrier': { ...session, carrier: 'blue-heron' },
    'another end': { ...session, expS: session.expS + 1 },
    'a bent byte': { ...session, wrappedKey: bent },
  }
  for (const [what, other] of Object.entries(others)) t.equal(sessionKeyOf(wrap, other), undefined, what)
  t.equal(sessionKeyOf(createSecretKey(randomBytes(32)), session), undefined, 'another wrapping key')
  t.ok(sessionKeyOf(wrap, session)?.equals(key), 'nothing of that is remembered')
})
