// A gateway's trust in card issuers as it follows it: folders, a key that signs, verifiers over it, a clock of the test's own,
// and a server of revocation lists that does what it is told.
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Test } from 'tap'
import { type CrlContent, type Issued, serialOf } from '../../certs/card-issuer.ts'
import { createMetrics } from '../../plugins/metrics.ts'
import { printBase64url } from '../../src/base/bytes.ts'
import { manualClock } from '../../src/base/clock.ts'
import { printPem } from '../../src/base/pem.ts'
import { createCardVerifier } from '../../src/card/check.ts'
import type { CardVerdict } from '../../src/card/verdict.ts'
import { followCardTrust } from '../../src/card-trust.ts'
import { p256, sm2 } from '../../src/pki/suites.ts'
import { type ListedAnchor, signTrustList } from '../../src/pki/trust-list.ts'
import { issueCard, readCard } from '../../src/simulator/cards.ts'
import { context, holder, nowMs, signedMs, worlds } from './cards.ts'
import { makeFolder } from './folder.ts'

const [world, world2] = worlds
const { issuer, signer, makeCrl } = world
const reading = readCard(issueCard(holder, signer, { signedMs }), context)
const reading2 = readCard(issueCard(holder, world2.signer, { signedMs }), context)
export const iat = Math.floor(nowMs / 1000)

export const anchorOf = (given: Partial<ListedAnchor> = {}, by: Issued = issuer): ListedAnchor => ({
  certificate: printBase64url(by.certificateDer),
  ...{ suite: 1, state: 'CHN', authorities: [], lists: ['card-issuer.crl'] },
  ...given,
})
export const anchor2 = anchorOf({ suite: 2, lists: ['card-issuer-sm2.crl'] }, world2.issuer)

/** A list of the issuer, with the signer on it if that is asked. */
export function listOf(given: Partial<CrlContent> & { revoked?: CrlContent['revoked'] } = {}): Buffer {
  return makeCrl(issuer, given)
}
export const withSigner = { revoked: [{ serial: serialOf(signer.certificateDer), atMs: nowMs }] }

/** Folders of a gateway, the key that signs for it, and what it logs. */
export function setUp(t: Test, key: KeyObject = generateKeyPairSync('ed25519').privateKey) {
  const folder = makeFolder()
  const [certsDir, dataDir] = [join(folder.path, 'certs'), join(folder.path, 'data')]
  for (const path of [certsDir, dataDir]) mkdirSync(path)
  const clock = manualClock(nowMs)
  const said: string[] = []
  const faults: string[] = []
  const say = (level: string) => (fields: unknown, message?: string) => {
    const fault = (fields as { err?: Error }).err?.message
    said.push(`${level} ${message}`)
    if (fault) faults.push(fault)
  }
  const log = { info: say('info'), warn: say('warn'), error: say('error') }
  const metrics = createMetrics()
  const put = (name: string, text: string) => writeFileSync(join(certsDir, name), text)
  const putKey = (by: KeyObject) => put('card-trust.pub', printPublic(by))
  const sign = (seq: number, anchors: readonly ListedAnchor[], given: { iat?: number; exp?: number } = {}) =>
    signTrustList({ seq, iat, exp: iat + 90 * 86_400, anchors, ...given }, key)
  const putList = (...args: Parameters<typeof sign>) => put('card-trust.jwt', `${sign(...args)}\n`)
  const putCrl = (der: Buffer, name = 'card-issuer.crl') => put(name, printPem('X509 CRL', der))
  putKey(key)
  const open: { close(): Promise<void> }[] = []
  t.teardown(async () => {
    for (const one of open) await one.close()
    folder.remove()
  })
  function follow(minutes = 15) {
    const config = { VOUCHSAFE_CERTS: certsDir, VOUCHSAFE_DATA: dataDir, CARD_CRL_MINUTES: minutes }
    const trust = followCardTrust({ config, clock, log, metrics })
    open.push(trust)
    const verify = createCardVerifier({ suite: p256, trust: trust.current })
    const verify2 = createCardVerifier({ suite: sm2, trust: trust.current })
    const verdict = (one = reading, by = verify) => {
      try {
        return (by(one, { context, nowMs: clock.now() }) as CardVerdict).refusal
      } catch (error) {
        return (error as { code?: string; reason?: string }).reason
      }
    }
    return { trust, verdict, verdict2: () => verdict(reading2, verify2) }
  }
  const metric = async (name: string) => (await metrics.registry.getSingleMetricAsString(name)) ?? ''
  return {
    ...{ certsDir, dataDir, clock, said, faults, put, putKey, putList, putCrl, sign, follow, metric, log },
  }
}

const printPublic = (key: KeyObject) => createPublicKey(key).export({ format: 'pem', type: 'spki' }) as string

/** A server of revocation lists. What it does can be changed; how often it was asked is counted. */
export async function serve(t: Test, first: RequestListener) {
  let act = first
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(request.url ?? '')
    act(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/of/card-issuer.crl?v=1`
  const give = (bytes: Buffer | string, status = 200, headers = {}) => {
    act = (_, response) => response.writeHead(status, headers).end(bytes)
  }
  return { url, asked, give, act: (next: RequestListener) => (act = next) }
}

export const outcomeOf = async (g: ReturnType<typeof setUp>, outcome: string) =>
  Number(
    new RegExp(`outcome="${outcome}"} (\\d+)`).exec(
      await g.metric('vouchsafe_card_list_fetches_total'),
    )?.[1] ?? 0,
  )
