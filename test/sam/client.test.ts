// The client against a service that replies as the test says: only the documented reply counts, and a connection that
// fails is tried once more.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ensureDevPki } from '../../certs/generate.ts'
import { printBase64url } from '../../src/base/bytes.ts'
import { systemClock } from '../../src/base/clock.ts'
import { SamClient } from '../../src/sam/client.ts'
import { samTls } from '../helpers/sam.ts'

const certs = mkdtempSync(join(tmpdir(), 'vouchsafe-sam-'))
await ensureDevPki({ directory: certs, nowMs: systemClock.now() })
t.teardown(() => rmSync(certs, { recursive: true, force: true }))
const file = (name: string) => readFileSync(join(certs, name))
const server = { key: file('sam-server.key'), cert: file('sam-server.crt'), ca: file('sam-ca.crt') }

const [transaction, binding] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)]
const bytes = (length: number, of = 7) => printBase64url(Buffer.alloc(length, of))
const good = { found: true, record: bytes(256), serial: bytes(16), readAt: 5, attestation: bytes(64) }

type Reply = (request: IncomingMessage, response: ServerResponse, body: string) => void

async function open(t: Test, reply: Reply, tls = server) {
  const asked: string[] = []
  const https = createServer({ ...tls, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    let body = ''
    request.on('data', (chunk) => (body += chunk))
    request.on('end', () => {
      asked.push(`${request.method} ${request.url} ${body}`)
      reply(request, response, body)
    })
  })
  await new Promise<void>((resolve) => https.listen(0, '127.0.0.1', resolve))
  const url = `https://localhost:${(https.address() as AddressInfo).port}`
  const client = new SamClient({ url, tls: samTls(certs, 'sam-client') })
  t.teardown(async () => {
    await client.close()
    https.closeAllConnections()
    await new Promise((resolve) => https.close(resolve))
  })
  const fetch = (signal = new AbortController().signal) => client.fetchRecord(transaction, binding, signal)
  return { fetch, asked, url }
}

const json =
  (value: unknown, status = 200): Reply =>
  (_, response) => {
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(typeof value === 'string' ? value : JSON.stringify(value))
  }

t.test('it asks as documented, and decodes what comes', async (t) => {
  const { fetch, asked } = await open(t, json(good))
  t.same(await fetch(), {
    ...{ record: Buffer.alloc(256, 7), serial: Buffer.alloc(16, 7) },
    ...{ readAtMs: 5, attestation: Buffer.alloc(64, 7) },
  })
  const body = JSON.stringify({ transaction: bytes(32, 1), binding: bytes(32, 2) })
  t.same(asked, [`POST /v1/records ${body}`])
})

t.test('that there is no such reading is said in words, never by a status', async (t) => {
  const { fetch } = await open(t, json({ found: false }))
  t.equal(await fetch(), undefined)
  for (const status of [201, 204, 301, 400, 403, 404, 409, 500, 503]) {
    const { fetch: other, asked } = await open(t, json(status === 204 ? '' : { found: false }, status))
    await t.rejects(other(), { message: `status ${status}` })
    t.equal(asked.length, 1, 'and not asked again')
  }
})

t.test('every other reply is an error, and is not asked for again', async (t) => {
  const cases: [string, unknown][] = [
    ['nothing', ''],
    ['no JSON', '{"found":fal'],
    ['a list', [good]],
    ['one field more', { ...good, name: 'x' }],
    ['a no with a record', { ...good, found: false }],
    ['a word', { ...good, found: 'true' }],
    ['a member twice', JSON.stringify(good).replace('{', '{"found":true,')],
    ['a short record', { ...good, record: bytes(255) }],
    ['a long record', { ...good, record: bytes(257) }],
    ['a short serial', { ...good, serial: bytes(15) }],
    ['a serial that is not canonical', { ...good, serial: `${bytes(16).slice(0, -1)}x` }],
    ['padding', { ...good, attestation: `${bytes(62)}==` }],
    ['a time as a word', { ...good, readAt: '5' }],
    ['a time before 1970', { ...good, readAt: -1 }],
    ['a time in parts', { ...good, readAt: 5.5 }],
    ['a time that is no safe integer', JSON.stringify(good).replace(':5,', ':9007199254740992,')],
    ['more than it may be', `${' '.repeat(5000)}${JSON.stringify(good)}`],
  ]
  for (const name of Object.keys(good)) cases.push([`no ${name}`, { ...good, [name]: undefined }])
  for (const [what, value] of cases) {
    const { fetch, asked } = await open(t, json(value))
    await t.rejects(fetch(), what)
    t.ok(asked.length <= 2, `${what}: ${asked.length}`)
  }
})

t.test('a connection that fails is tried once more, and only once', async (t) => {
  let tries = 0
  const { fetch } = await open(t, (request, response, body) => {
    tries += 1
    if (tries === 1) request.socket.destroy()
    else json(good)(request, response, body)
  })
  t.ok(await fetch())
  const { fetch: never, asked } = await open(t, (request) => void request.socket.destroy())
  await t.rejects(never())
  t.equal(asked.length, 2)
})

t.test('what was aborted is not tried again', async (t) => {
  const abort = new AbortController()
  const { fetch, asked } = await open(t, () => abort.abort(new Error('late')))
  await t.rejects(fetch(abort.signal))
  t.equal(asked.length, 1)
})

t.test('only the service’s own CA is trusted, and no other name', async (t) => {
  const bureau = { key: file('bureau-server.key'), cert: file('bureau-server.crt'), ca: server.ca }
  const { fetch, asked } = await open(t, json(good), bureau)
  await t.rejects(fetch())
  t.equal(asked.length, 0)
  const { fetch: client } = await open(t, json(good), {
    ...{ key: file('sam-client.key'), cert: file('sam-client.crt'), ca: server.ca },
  })
  await t.rejects(client(), 'a certificate of the CA that is for a client')
})
