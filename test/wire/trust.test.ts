// A running gateway and card trust that changes: a signer that was good, and remembered, is not a second later.
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { makeCardCrl, readPem, serialOf } from '../../certs/card-issuer.ts'
import { printBase64url } from '../../src/base/bytes.ts'
import { printPem } from '../../src/base/pem.ts'
import { openTrustList, signTrustList } from '../../src/pki/trust-list.ts'
import { until } from '../helpers/carrier-calls.ts'
import { parcelOf, startTestGateway, type TestGateway } from '../helpers/gateway.ts'

const dayMs = 86_400_000

async function start(t: Test) {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  const card = g.cardNamed('valid')
  const answer = async () => {
    const reply = await device.verify(parcelOf(), (context) => card.readChip(context)).catch((error) => error)
    return reply.answer ?? reply.message
  }
  for (let i = 0; i < 3; i++) t.equal(await answer(), 'yes', 'remembered')
  return { g, answer, list: revokingList(g) }
}

/** The issuer's next list, with the signer of the good card on it. */
function revokingList(g: TestGateway): Buffer {
  const issuer = {
    certificateDer: readPem('CERTIFICATE', g.file('card-issuer.crt').toString()),
    privateKey: createPrivateKey(g.file('card-issuer.key')),
  }
  const nowMs = g.clock.now()
  const serial = serialOf(readPem('CERTIFICATE', g.file('card-signer-1.crt').toString()))
  const times = { thisUpdateMs: nowMs, nextUpdateMs: nowMs + dayMs, number: 100 }
  return makeCardCrl(issuer, { ...times, revoked: [{ serial, atMs: nowMs }] })
}

/** Asks until the answer is no: ms from `sinceMs` to the arrival of the last yes, which is what counts. */
async function lastYes(t: Test, answer: () => Promise<string>, sinceMs: () => number, ms: number) {
  let lastMs = 0
  await until(
    t,
    async () => {
      const begunMs = performance.now()
      const given = await answer()
      if (given === 'yes') lastMs = begunMs
      return given === 'no'
    },
    'a no',
    ms,
  )
  return Math.max(0, lastMs - sinceMs())
}

t.test('a signer on a new list in a file', async (t) => {
  const { g, answer, list } = await start(t)
  writeFileSync(join(g.certsDir, 'card-issuer.crl'), printPem('X509 CRL', list))
  const atMs = performance.now()
  const lateMs = await lastYes(t, answer, () => atMs, 3000)
  t.comment(`last yes to a request begun ${Math.round(lateMs)} ms after the file was written`)
  t.ok(lateMs < 1000)
})

t.test('a signer on a new list that is fetched, from a place that a new signed list names', async (t) => {
  const { g, answer, list } = await start(t)
  let servedMs = Number.POSITIVE_INFINITY
  const server = createServer((_, response) => {
    response.end(list)
    servedMs = performance.now()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/card-issuer.crl`
  const key = createPrivateKey(g.file('card-trust.key'))
  const file = join(g.certsDir, 'card-trust.jwt')
  const last = openTrustList(readFileSync(file, 'utf8').trim(), createPublicKey(key))
  const anchors = last.issuers.map(({ anchor, certificate, lists }, i) => ({
    ...{ certificate: printBase64url(certificate), suite: anchor.suite.id, state: anchor.state },
    ...{ authorities: anchor.authorities, lists: i === 0 ? [...lists, url] : lists },
  }))
  const iat = Math.floor(g.clock.now() / 1000)
  writeFileSync(file, signTrustList({ seq: last.seq + 1, iat, exp: iat + 86_400, anchors }, key))
  const lateMs = await lastYes(t, answer, () => servedMs, 15_000)
  t.comment(`last yes to a request begun ${Math.round(lateMs)} ms after the list was served`)
  t.ok(lateMs < 1000)
  const { name, secret } = g.first.operator as { name: string; secret: string }
  const authorization = `Basic ${Buffer.from(`${name}:${secret}`).toString('base64')}`
  const { body } = await g.gateway.operator.inject({ path: '/metrics', headers: { authorization } })
  t.match(body, /vouchsafe_card_list_fetches_total\{outcome="newer"\} 1/)
})
