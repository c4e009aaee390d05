// What a request is said to cost: CPU of the server, without the handshakes of the connections that it came over.
import t from 'tap'
import { sendLines } from '../../load/measure.ts'
import type { Line } from '../../load/scenarios.ts'
import { startTlsServer } from '../helpers/tls-server.ts'

const connections = 4
const greetingMs = 250

t.test('a new connection is no cost of a request, where there are enough of them', async (t) => {
  const { child, url, certsDir } = await startTlsServer(t, { greetingMs })
  const listeners = { device: url, carrier: url, certsDir }
  const pid = child.pid ?? 0
  const cost = (requests: number) => {
    const expected = { answer: 'yes' as const }
    const line: Line = { kind: 'known', path: '/', token: '', body: '{}', expected }
    const lines = Array.from({ length: requests }, () => line)
    return sendLines(lines, { listeners, name: 'cold', folder: certsDir, pid, connections })
  }
  /** µs that each of so many would have of the handshakes. */
  const greeting = (requests: number) => (connections * greetingMs * 1000) / requests
  const many = await cost(400)
  t.ok(many > 0 && many < greeting(400), `${many} µs each of 100 over a connection`)
  const few = await cost(8)
  t.ok(few > 0.9 * greeting(8), `${few} µs each of two over a connection, whose handshakes are in it`)
})
