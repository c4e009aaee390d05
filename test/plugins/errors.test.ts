// What is refused before a route is known: a problem document all the same, and nothing of the input in it.
import { connect } from 'node:tls'
import t from 'tap'
import { startTestGateway } from '../helpers/gateway.ts'

/** Sends bytes as they are and reads until the other side ends. */
function sendRaw(port: number, ca: Buffer, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: 'localhost', ca }, () => socket.write(bytes))
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.on('close', () => resolve(text))
    socket.on('error', reject)
  })
}

t.test('bytes that are no request get a problem document that quotes nothing', async (t) => {
  const g = await startTestGateway(t)
  const planted = '110101199003070000'
  const table: [what: string, bytes: string][] = [
    ['a bent escape', `GET /%zz${planted} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`],
    ['no HTTP at all', `${planted}\r\n\r\n`],
    [
      'two lengths of one body',
      `POST /v1/verify HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\nx: ${planted}\r\n\r\n`,
    ],
    ['a header without end', `GET / HTTP/1.1\r\nhost: x\r\nx: ${planted.repeat(2000)}\r\n\r\n`],
    ['no host', `GET / HTTP/1.1\r\nx: ${planted}\r\nconnection: close\r\n\r\n`],
    ['an unknown method', `${planted} / HTTP/1.1\r\nhost: x\r\n\r\n`],
  ]
  for (const [what, bytes] of table) {
    const answer = await sendRaw(g.ports.device, g.file('gateway-ca.crt'), bytes)
    t.match(answer, /^HTTP\/1\.1 400 /, what)
    t.match(answer, /content-type: application\/problem\+json/, what)
    t.notMatch(answer, planted, what)
    const problem = JSON.parse(answer.slice(answer.indexOf('{'))) as object
    t.same(Object.keys(problem), ['type', 'title', 'status', 'code', 'requestId', 'retry'], what)
  }
  t.notMatch(g.lines.join(''), planted, 'nor is it logged')
})

t.test('a missing route is a 404 problem that does not repeat the address', async (t) => {
  const g = await startTestGateway(t)
  const ca = g.file('gateway-ca.crt')
  const bytes = 'GET /v1/people/110101199003070000 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n'
  const answer = await sendRaw(g.ports.device, ca, bytes)
  t.match(answer, /^HTTP\/1\.1 404 /)
  t.match(answer, /"code":"not_found"/)
  t.notMatch(answer, '110101199003070000')
})
