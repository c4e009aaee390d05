// A receipt's way through a whole gateway: a card is read, the carrier fetches the receipt of its token over
// mTLS, and everything is checked with the ledger's key alone; then with witnesses.
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Agent, request } from 'undici'
import { keyType, printVkey } from '../../src/base/vkey.ts'
import { runReceipt } from '../../src/commands/receipt.ts'
import { Carrier, checkReceipt, Refused } from '../../src/sdk/carrier.ts'
import { parcelOf, startTestGateway, type TestGateway } from '../helpers/gateway.ts'
import { until } from '../helpers/ledger.ts'
import { keyOf } from '../helpers/receipts.ts'
import { type Answer, TestWitness } from '../helpers/witness.ts'

const filesOf = (name = 'swift-crane') =>
  ({ ca: 'gateway-ca.crt', cert: `carrier-${name}.crt`, key: `carrier-${name}.key` }) as const

function carrierOf(t: Test, g: TestGateway, name?: string): Carrier {
  const { ca, cert, key } = filesOf(name)
  const pem = { ca: g.file(ca), cert: g.file(cert), key: g.file(key) }
  const carrier = new Carrier({ url: `https://localhost:${g.ports.carrier}`, ...pem })
  t.teardown(() => carrier.close())
  return carrier
}

const claimsOf = (token: string) =>
  JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Record<string, string>

async function answer(g: TestGateway, name: string) {
  const device = await g.openDevice()
  const parcel = parcelOf()
  const { token, answer } = await device.verify(parcel, (context) => g.cardNamed(name).readChip(context))
  return { token, answer, parcel, jti: String(claimsOf(token)['jti']) }
}

t.test('the receipt of a yes and of a no is true, and is that of its token', async (t) => {
  const g = await startTestGateway(t)
  const carrier = carrierOf(t, g)
  const trust = { ledger: g.gateway.ledgerVkey }
  const [yes, no] = [await answer(g, 'valid'), await answer(g, 'forged')]
  t.same([yes.answer, no.answer], ['yes', 'no'])
  for (const { jti, token, parcel, answer } of [yes, no]) {
    const receipt = await carrier.fetchReceipt(jti)
    const verdict = checkReceipt(receipt, { ...trust, token })
    t.match(verdict, { state: 'true', carrier: 'swift-crane', outlet: 'harbour', answer, parcel })
  }
  const crossed = checkReceipt(await carrier.fetchReceipt(yes.jti), { ...trust, token: no.token })
  t.match(crossed, { state: 'false', why: 'token' })

  const other = carrierOf(t, g, 'river-post')
  for (const [asker, jti] of [
    [other, yes.jti],
    [other, 'AAAAAAAAAAAAAAAAAAAAAA'],
    [carrier, 'AAAAAAAAAAAAAAAAAAAAAA'],
  ] as const) {
    const refused = await asker.fetchReceipt(jti).catch((error: unknown) => error)
    t.ok(refused instanceof Refused)
    if (refused instanceof Refused) t.same([refused.reply.status, refused.code], [404, 'not_found'])
  }
  await t.test('the command fetches it and checks it', (t) => useCommand(t, g, yes))
  await t.test('the same ledger is public on the device listener', (t) => readPublic(t, g))
})

async function useCommand(t: Test, g: TestGateway, { jti, token }: { jti: string; token: string }) {
  const type = async (...args: string[]) => {
    const [out, err]: [string[], string[]] = [[], []]
    const code = await runReceipt(args, { out: (line) => out.push(line), err: (line) => err.push(line) })
    return { code, out: out.join('\n'), err: err.join('\n') }
  }
  const { ca, cert, key } = filesOf()
  const path = (name: string) => join(g.certsDir, name)
  const gateway = ['--gateway', `https://localhost:${g.ports.carrier}`, '--ca', path(ca)]
  const own = [...gateway, '--cert', path(cert), '--key', path(key)]
  const file = join(t.testdir(), 'answer.receipt')
  t.match(await type('get', jti, ...own, '--out', file), {
    code: 0,
    out: /answer\.receipt: check it with/,
    err: '',
  })
  t.match(await type('get', token, ...own), { code: 0, out: /^c2sp\.org\/tlog-proof@v1\n/ }, 'by the token')
  const jwt = `${file}.jwt`
  writeFileSync(jwt, token)
  const pem = ['--key', path('ledger.pub'), '--name', 'localhost']
  const checked = await type('verify', file, ...pem, '--token', jwt)
  t.match(checked, { code: 0, out: /Carrier swift-crane asked, at its outlet harbour/, err: '' })
  t.match(await type('verify', file, '--key', g.gateway.ledgerVkey), { code: 0 })
  const unknown = await type('get', 'AAAAAAAAAAAAAAAAAAAAAA', ...own)
  t.match(unknown, { code: 1, out: '', err: /^The gateway answered 404 not_found\./ })
  const nobody = ['--gateway', 'https://localhost:1', ...own.slice(2)]
  t.match(await type('get', jti, ...nobody), { code: 1, err: /^https:\/\/localhost:1 could not be asked/ })
}

async function readPublic(t: Test, g: TestGateway) {
  const dispatcher = new Agent({ connect: { ca: g.file('gateway-ca.crt') } })
  t.teardown(() => dispatcher.close())
  const get = async (url: string, headers = {}) => {
    const { statusCode, headers: got, body } = await request(url, { dispatcher, headers })
    return { status: statusCode, headers: got, bytes: Buffer.from(await body.arrayBuffer()) }
  }
  const { bytes } = await get(`${g.url}/ledger/checkpoint`)
  const size = Number(bytes.toString().split('\n')[1])
  t.ok(size > 0)
  const tile = await get(`${g.url}/ledger/tile/0/000.p/${size}`)
  t.match(tile, { status: 200, headers: { 'content-type': 'application/octet-stream' } })
  t.equal(tile.bytes.length, size * 32)
  t.equal((await get(`${g.url}/ledger/tile/0/000.p/${size + 200}`)).status, 404)
  t.equal((await get(`${g.url}/ledger/tile/entries/000.p/1`)).status, 404)
  const bundle = `http://127.0.0.1:${g.ports.operator}/ledger/tile/entries/000.p/${size}`
  t.equal((await get(bundle)).status, 401)
  const { name, secret } = g.first.operator ?? { name: '', secret: '' }
  const entries = await get(bundle, { authorization: `Basic ${btoa(`${name}:${secret}`)}` })
  t.equal(entries.status, 200)
}

t.test('a receipt carries the witnesses that were asked for, and waits for them', async (t) => {
  // The witness learns whom to witness once the gateway has made the ledger's key.
  const key = keyOf('one.example')
  const vkey = printVkey('one.example', key, keyType.cosignature)
  const relay = { answer: (_: string): Answer => ({ status: 404, text: '' }) }
  const url = await startRelay(t, (body) => relay.answer(body))
  const g = await startTestGateway(t, { WITNESSES: `${vkey} ${url}`, WITNESS_QUORUM: '1' })
  const carrier = carrierOf(t, g)
  const { jti, token } = await answer(g, 'valid')
  const refused = await carrier.fetchReceipt(jti, { waitMs: 0 }).catch((error: unknown) => error)
  t.ok(refused instanceof Refused && refused.code === 'receipt_pending', 'nobody has cosigned yet')
  await until(() => g.lines.join().includes('witness does not cosign'))
  const witness = new TestWitness({ name: 'one.example', key, ledger: g.gateway.ledgerVkey })
  relay.answer = (body) => witness.answer(body)
  const receipt = await carrier.fetchReceipt(jti)
  const trust = { ledger: g.gateway.ledgerVkey, witnesses: [vkey], quorum: 1 }
  t.match(checkReceipt(receipt, { ...trust, token }), { state: 'true', witnesses: 1 })
  t.match(g.lines.join(), 'witness cosigns again')
})

/** An HTTP server whose answers come from `answer`. */
async function startRelay(t: Test, answer: (body: string) => Answer): Promise<string> {
  const server = createServer(async (asked, response) => {
    const { status, type = 'text/plain', text } = answer((await asked.toArray()).join(''))
    response.writeHead(status, { 'content-type': type }).end(text)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
