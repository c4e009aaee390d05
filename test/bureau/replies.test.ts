// What a bureau may reply, bent in every way, over real mTLS: an answer counts only if it fits its batch exactly,
// and tries are bounded (PROTOCOL sections 7 and 11).
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ensureDevPki } from '../../certs/generate.ts'
import { systemClock } from '../../src/base/clock.ts'
import { limits } from '../../src/base/limits.ts'
import { BureauClient, type BureauOptions, BureauUnavailable } from '../../src/bureau/client.ts'
import type { Query, Question } from '../../src/bureau/protocol.ts'
import { personAt } from '../../src/bureau-mock/people.ts'

const seed = 'replies-test'
const clock = systemClock
const certs = mkdtempSync(join(tmpdir(), 'vouchsafe-bureau-'))
await ensureDevPki({ directory: certs, nowMs: clock.now() })
t.teardown(() => rmSync(certs, { recursive: true, force: true }))
const file = (name: string) => readFileSync(join(certs, name))
const clientTls = {
  ca: file('bureau-ca.crt'),
  cert: file('bureau-client.crt'),
  key: file('bureau-client.key'),
}
const serverTls = {
  ca: file('bureau-ca.crt'),
  cert: file('bureau-server.crt'),
  key: file('bureau-server.key'),
}

type Batch = { size: number; ms: number; ok: boolean }

function openClient(t: Test, url: string, more: Partial<BureauOptions> = {}) {
  const batches: Batch[] = []
  const onBatch = (batch: Batch) => batches.push(batch)
  const client = new BureauClient({ url, tls: clientTls, clock, position: () => 7, onBatch, ...more })
  t.teardown(() => client.close())
  return { client, batches }
}

/** A bureau that answers as the test says; still over mTLS. */
async function openFakeBureau(t: Test, reply: (text: string, response: ServerResponse) => void) {
  const server = createServer(
    { ...serverTls, requestCert: true, rejectUnauthorized: true },
    async (request: IncomingMessage, response) => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      reply(Buffer.concat(chunks).toString(), response)
    },
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function questionOf(index: number): Question {
  const { number, name, serial, validTo } = personAt(seed, index)
  const until = validTo === '长期' ? '99991231' : validTo
  const person = { number, name, serial: serial.toString('base64url'), validTo: until }
  return { docType: 'ID', issuingState: 'CHN', ...person }
}

/** The error of a question that must get none but a refusal to answer. */
async function refusalOf(asked: Promise<unknown>): Promise<BureauUnavailable> {
  try {
    await asked
  } catch (error) {
    if (error instanceof BureauUnavailable) return error
    throw error
  }
  throw new Error('there was an answer')
}

const answersOf = (text: string) => (JSON.parse(text) as Query[]).map(({ id }) => ({ id, result: 'match' }))
for (const [what, make] of Object.entries<(text: string) => string>({
  'an unknown result': (text) => JSON.stringify(answersOf(text).map((a) => ({ ...a, result: 'yes' }))),
  'a result in capitals': (text) => JSON.stringify(answersOf(text).map((a) => ({ ...a, result: 'MATCH' }))),
  'no result': (text) => JSON.stringify(answersOf(text).map(({ id }) => ({ id }))),
  'a field too many': (text) => JSON.stringify(answersOf(text).map((a) => ({ ...a, name: 'x' }))),
  'a result named twice': (text) =>
    JSON.stringify(answersOf(text)).replace('"result"', '"result":"alert","result"'),
  'another id': (text) => JSON.stringify(answersOf(text).map((a) => ({ ...a, id: `${a.id}0` }))),
  'an id as a number': (text) => JSON.stringify(answersOf(text).map((a) => ({ ...a, id: Number(a.id) }))),
  'an answer too many': (text) => JSON.stringify([...answersOf(text), ...answersOf(text)]),
  'the same id for all': (text) =>
    JSON.stringify(answersOf(text).map((a, _, all) => ({ ...a, id: all[0]?.id }))),
  'an empty array': () => '[]',
  'an object': (text) => JSON.stringify({ answers: answersOf(text) }),
  null: () => 'null',
  nothing: () => '',
  'half an answer': (text) => JSON.stringify(answersOf(text)).slice(0, -9),
  'more bytes than a batch can take': (text) => ' '.repeat(100_000) + JSON.stringify(answersOf(text)),
})) {
  t.test(`an answer with ${what} counts for nothing`, async (t) => {
    const url = await openFakeBureau(t, (text, response) => response.end(make(text)))
    const { client } = openClient(t, url)
    const errors = await Promise.all([1, 2].map((i) => refusalOf(client.ask(questionOf(i)))))
    for (const { reason, questionLeft } of errors)
      t.same({ reason, questionLeft }, { reason: 'bureau_failed', questionLeft: true })
  })
}

t.test('a reply that drips without end stops at the deadline', async (t) => {
  const url = await openFakeBureau(t, (_, response) => {
    const drip = setInterval(() => response.write(' '), 20)
    response.on('close', () => clearInterval(drip))
  })
  const { client } = openClient(t, url, { deadlineMs: 300 })
  const began = performance.now()
  t.equal((await refusalOf(client.ask(questionOf(1)))).reason, 'deadline')
  t.ok(performance.now() - began < 400)
})

t.test('one failure is made good by a second try within the deadline', async (t) => {
  let tries = 0
  const bodies: string[] = []
  const url = await openFakeBureau(t, (text, response) => {
    bodies.push(text)
    if (++tries === 1) response.writeHead(502).end()
    else response.end(JSON.stringify(answersOf(text)))
  })
  const { client, batches } = openClient(t, url)
  t.equal((await client.ask(questionOf(1))).result, 'match')
  t.same(
    batches.map(({ ok }) => ok),
    [false, true],
  )
  t.equal(bodies[0], bodies[1], 'with the same transactions: it is the same question')
})

t.test('tries are not doubled against a bureau that fails: a tenth of the batches at most', async (t) => {
  let tries = 0
  const url = await openFakeBureau(t, (text, response) => {
    if (++tries % 2 === 1) response.writeHead(500).end()
    else response.end(JSON.stringify(answersOf(text)))
  })
  const { client, batches } = openClient(t, url)
  const asked = 100
  let refused = 0
  for (let n = 0; n < asked; n++) await client.ask(questionOf(n)).catch(() => refused++)
  const retries = batches.length - asked
  t.ok(retries >= 5 && retries <= 11, `${retries} retries of ${asked} batches`)
  t.ok(refused > 30)
})

t.test('410 is told as gone; what is not a page is an error', async (t) => {
  let text = ''
  let status = 410
  const url = await openFakeBureau(t, (_, response) => response.writeHead(status).end(text))
  const { client } = openClient(t, url)
  t.equal(await client.fetchPage(3), 'gone')
  status = 200
  const change = { position: 1, kind: 'alert', docType: 'ID', issuingState: 'CHN', number: '1' }
  const page = { first: 1, head: 1, changes: [change] }
  text = JSON.stringify(page)
  t.same(await client.fetchPage(0), page)
  const most = { ...change, kind: 'card_superseded', number: '9'.repeat(32), serial: 'A'.repeat(22) }
  const changes = Array.from({ length: limits.feedPageMax }, (_, n) => ({ ...most, position: n + 1e15 }))
  text = JSON.stringify({ first: 1e15, head: 2e15, changes }, null, 2)
  t.same(await client.fetchPage(0), { first: 1e15, head: 2e15, changes }, 'the longest page is read')
  const broken: object[] = [
    { ...page, more: 1 },
    { first: 1, head: 1 },
    { ...page, head: '1' },
    { ...page, head: -1 },
    { ...page, head: 1.5 },
    { ...page, first: 2 ** 60 },
    { ...page, changes: [{ ...change, kind: 'birthday' }] },
    { ...page, changes: [{ ...change, serial: 'AAAAAAAAAAAAAAAAAAAAAB' }] },
    { ...page, changes: [{ ...change, issuingState: 'CN' }] },
    { ...page, changes: Array(limits.feedPageMax + 1).fill(change) },
  ]
  for (const one of broken) {
    text = JSON.stringify(one)
    await t.rejects(client.fetchPage(0), { message: 'page malformed' })
  }
})
