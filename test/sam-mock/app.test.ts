// The simulated service by itself: one record for one binding, for as long as a gateway may ask, to the gateway alone.
import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ensureDevPki } from '../../certs/generate.ts'
import { printBase64url } from '../../src/base/bytes.ts'
import { manualClock, systemClock } from '../../src/base/clock.ts'
import { checkP256 } from '../../src/base/p256.ts'
import { attestedMessage } from '../../src/sam/protocol.ts'
import { buildSam } from '../../src/sam-mock/app.ts'
import { samTls } from '../helpers/sam.ts'

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const bytes = (length: number, of: number) => printBase64url(Buffer.alloc(length, of))
const read = { record: bytes(256, 1), serial: bytes(16, 2), binding: bytes(32, 3) }
const startMs = Date.UTC(2026, 10, 23, 12)

function openRig() {
  const clock = manualClock(startMs)
  const app = buildSam({ clock, attestationKey: privateKey })
  const post = async (url: string, payload: object) => {
    const reply = await app.inject({ method: 'POST', url, payload })
    return { status: reply.statusCode, body: reply.json() as Record<string, unknown> }
  }
  const begin = async () => String((await post('/v1/reads', read)).body['transaction'])
  const fetch = async (transaction: string, binding = read.binding) =>
    (await post('/v1/records', { transaction, binding })).body
  return { clock, app, post, begin, fetch }
}

t.test('the same binding gets the same record again, and no other gets it', async (t) => {
  const { begin, fetch } = openRig()
  const transaction = await begin()
  t.same(await fetch(transaction, bytes(32, 4)), { found: false }, 'first another')
  const one = await fetch(transaction)
  const two = await fetch(transaction)
  t.match(one, { found: true, record: read.record, serial: read.serial, readAt: startMs })
  const { attestation: _, ...said } = one
  t.match(two, said)
  t.same(await fetch(transaction, bytes(32, 4)), { found: false }, 'and then another')
  t.same(await fetch(await begin(), bytes(32, 4)), { found: false })
  t.same(await fetch(bytes(32, 9)), { found: false }, 'a transaction that never was')
})

t.test('its attestation is over transaction, binding, record, serial and time', async (t) => {
  const { begin, fetch } = openRig()
  const transaction = await begin()
  const { record, serial, readAt, attestation } = await fetch(transaction)
  const of = (text: unknown) => Buffer.from(String(text), 'base64url')
  const said = { record: of(record), serial: of(serial), readAtMs: Number(readAt) }
  const message = attestedMessage(of(transaction), of(read.binding), said)
  t.ok(checkP256(createPublicKey(privateKey), message, of(attestation)))
})

t.test('a record is kept as long as its challenge may be asked for, and then forgotten', async (t) => {
  const { clock, begin, fetch } = openRig()
  const transaction = await begin()
  clock.advance(794_000)
  await begin()
  t.match(await fetch(transaction), { found: true })
  clock.advance(2000)
  await begin()
  t.same(await fetch(transaction), { found: false })
})

t.test('what is not as documented is refused', async (t) => {
  const { post } = openRig()
  const cases: [string, object][] = [
    ['/v1/reads', { ...read, record: bytes(255, 1) }],
    ['/v1/reads', { ...read, name: 'x' }],
    ['/v1/records', { transaction: bytes(15, 1), binding: read.binding }],
    ['/v1/records', { transaction: bytes(65, 1), binding: read.binding }],
    ['/v1/records', { transaction: bytes(32, 1), binding: bytes(31, 1) }],
    ['/faults', { slow: true }],
  ]
  for (const [url, body] of cases) t.equal((await post(url, body)).status, 400, url)
})

t.test('a reader begins and never fetches; the gateway fetches and never begins', async (t) => {
  const certs = mkdtempSync(join(tmpdir(), 'vouchsafe-sam-'))
  await ensureDevPki({ directory: certs, nowMs: systemClock.now() })
  const file = (name: string) => readFileSync(join(certs, name))
  const app = buildSam({
    ...{ clock: systemClock, attestationKey: privateKey },
    tls: { key: file('sam-server.key'), cert: file('sam-server.crt'), ca: file('sam-ca.crt') },
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(async () => {
    await app.close()
    rmSync(certs, { recursive: true, force: true })
  })
  const { port } = app.server.address() as AddressInfo
  const post = (path: string, body: object, tls: object) =>
    new Promise<number>((resolve, reject) => {
      const headers = { 'content-type': 'application/json' }
      const options = { method: 'POST', headers, agent: false, ca: file('sam-ca.crt'), ...tls } as const
      request(`https://localhost:${port}${path}`, options, (response) => {
        response.resume()
        resolve(response.statusCode as number)
      })
        .on('error', reject)
        .end(JSON.stringify(body))
    })
  const fetching = { transaction: bytes(32, 1), binding: read.binding }
  t.equal(await post('/v1/reads', read, samTls(certs, 'sam-reader')), 200)
  t.equal(await post('/v1/records', fetching, samTls(certs, 'sam-reader')), 403)
  t.equal(await post('/v1/records', fetching, samTls(certs, 'sam-client')), 200)
  t.equal(await post('/v1/reads', read, samTls(certs, 'sam-client')), 403)
  await t.rejects(post('/v1/records', fetching, {}), 'without a certificate')
  const foreign = { cert: file('bureau-client.crt'), key: file('bureau-client.key') }
  await t.rejects(post('/v1/records', fetching, foreign), 'with one of another CA')
})
