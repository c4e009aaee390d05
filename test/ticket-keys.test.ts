// Ticket keys are the same for workers that know the same, and others after any change.
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { u64 } from '../src/base/bytes.ts'
import { deriveTicketKeys } from '../src/ticket-keys.ts'

t.test('one secret and one state, one key; any other, another', (t) => {
  const secret = randomBytes(32)
  const state = [Buffer.alloc(32, 1), Buffer.alloc(32, 2), u64(7)]
  const key = deriveTicketKeys(secret, 'carrier', state)
  t.equal(key.length, 48, 'as node:tls wants them')
  t.same(deriveTicketKeys(Buffer.from(secret), 'carrier', state), key, 'another worker derives the same')
  const others = [
    deriveTicketKeys(randomBytes(32), 'carrier', state),
    deriveTicketKeys(secret, 'device', state),
    deriveTicketKeys(secret, 'carrier', [Buffer.alloc(32, 3), Buffer.alloc(32, 2), u64(7)]),
    deriveTicketKeys(secret, 'carrier', [Buffer.alloc(32, 1), Buffer.alloc(32, 2), u64(8)]),
    deriveTicketKeys(secret, 'carrier', state.slice(0, 2)),
  ]
  for (const other of others) {
    // Each of the three parts: a ticket is found by its name, and protected by the other two.
    for (const at of [0, 16, 32]) t.notSame(other.subarray(at, at + 16), key.subarray(at, at + 16))
  }
  t.equal(new Set([key, ...others].map((one) => one.toString('hex'))).size, 6)
  t.end()
})
