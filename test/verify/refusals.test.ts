// Every card of the deck against a whole gateway: answers, private rows, and refusals that all look alike.

import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { decodeProtectedHeader, importJWK, jwtVerify } from 'jose'
import t from 'tap'
import { Agent, request } from 'undici'
import { loadKeks } from '../../src/keys/kek.ts'
import { Keyring } from '../../src/keys/keyring.ts'
import { openRow, parseEntry, parsePrivate } from '../../src/ledger/entry.ts'
import { leafHash } from '../../src/ledger/hash.ts'
import { parcelOf, startTestGateway } from '../helpers/gateway.ts'

t.test(
  'each card of the deck gets its answer, its entry says why, and refusals cannot be told apart',
  async (t) => {
    const g = await startTestGateway(t)
    const device = await g.openDevice()
    const keyring = await Keyring.open({
      file: join(g.dataDir, 'keyring.db'),
      keks: loadKeks(g.certsDir),
      clock: g.clock,
    })
    const ledger = new DatabaseSync(join(g.dataDir, 'ledger.db'), { readOnly: true })
    t.teardown(() => Promise.all([keyring.close(), ledger.close()]))
    const jwks = await await fetchJson(g, '/.well-known/jwks.json')
    const seen: { headers: string; fields: string; tokenLength: number; ms: number }[] = []
    for (const card of [...g.deck('P-256'), ...g.deck('SM2')]) {
      if (card.status) await g.knobs.setStatus(card.holder.number, card.status)
      const parcel = parcelOf()
      const { body } = await device.prepare(parcel, (context) => card.readChip(context))
      const began = performance.now()
      const reply = await device.post('/v1/verify', body)
      const ms = performance.now() - began
      t.equal(reply.status, 200)
      t.equal(reply.body['answer'], card.answer, card.name)
      const token = String(reply.body['token'])
      const { kid } = decodeProtectedHeader(token)
      const known = jwks.keys.find((k) => k.kid === kid)
      const key = await importJWK(known ?? {}, 'ES256')
      const { payload } = await jwtVerify(token, key, {
        issuer: g.config.VOUCHSAFE_ORIGIN,
        audience: 'urn:vouchsafe:carrier:swift-crane',
        typ: 'answer+jwt',
        algorithms: ['ES256'],
      })
      t.equal(payload['answer'], card.answer)
      t.equal(payload['parcel'], parcel.toString('base64url'))
      t.equal(Number(payload.exp) - Number(payload.iat), 86_400)
      t.same(Object.keys(payload).sort(), [
        'answer',
        'aud',
        'device',
        'exp',
        'iat',
        'index',
        'iss',
        'jti',
        'leaf',
        'level',
        'parcel',
      ])
      const index = Number(payload['index'])
      const entry = ledger.prepare('select data, leaf from entries where idx = ?').get(index) as {
        data: Uint8Array
        leaf: Uint8Array
      }
      t.equal(leafHash(entry.data).toString('base64url'), payload['leaf'], 'the token names its leaf')
      t.equal(parseEntry(Buffer.from(entry.data))?.answer, card.answer === 'yes' ? 1 : 2)
      const row = ledger.prepare('select day, blob from private_rows where idx = ?').get(index) as {
        day: number
        blob: Uint8Array
      }
      const plain = openRow(await keyring.ofDay('record', row.day), row.day, Buffer.from(row.blob))
      t.equal(
        plain && parsePrivate(plain)?.refusal,
        card.refusal,
        `${card.name} is recorded as R${card.refusal}`,
      )
      if (card.answer === 'no') {
        const headers = Object.keys(reply.headers).sort().join()
        seen.push({ headers, fields: Object.keys(reply.body).join(), tokenLength: token.length, ms })
      }
    }
    t.equal(new Set(seen.map((no) => no.headers)).size, 1, 'one set of header names')
    t.equal(new Set(seen.map((no) => no.fields)).size, 1, 'one set of fields')
    const lengths = seen.map((no) => no.tokenLength)
    t.ok(Math.max(...lengths) - Math.min(...lengths) <= 8, 'token lengths within 8 bytes')
    for (const { ms } of seen) t.ok(ms >= 149, 'no refusal before 150 ms')
  },
)

async function fetchJson(g: { url: string; file(name: string): Buffer }, path: string) {
  const dispatcher = new Agent({ connect: { ca: g.file('gateway-ca.crt') } })
  const response = await request(g.url + path, { dispatcher })
  const json = await response.body.json()
  await dispatcher.close()
  return json as { keys: { kid: string }[] }
}

t.test(
  'a no is recorded and released on one grid, whoever refused: neither index nor time tells',
  async (t) => {
    const g = await startTestGateway(t)
    const device = await g.openDevice()
    const known = g.cardNamed('valid')
    await device.verify(parcelOf(), (context) => known.readChip(context)) // From now on a cached yes.
    await g.knobs.setFaults({ delayMs: { min: 50, max: 70 } })
    await device.verify(parcelOf(), (context) => g.cardNamed('valid').readChip(context)) // H knows this delay.
    const before: Record<string, number> = {}
    for (const name of ['forged', 'unknown', 'altered', 'mismatch', 'expired-sm2', 'unknown-sm2']) {
      const no = await device.prepare(parcelOf(), (context) => g.cardNamed(name).readChip(context))
      const references = []
      for (let i = 0; i < 12; i++)
        references.push((await device.prepare(parcelOf(), (c) => known.readChip(c))).body)
      const asked = device.send(no.body)
      const given = []
      for (const body of references) {
        given.push(device.send(body))
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
      const index = indexOf((await asked).token)
      const others = (await Promise.all(given)).map(({ token }) => indexOf(token))
      before[`${name} ${Object.keys(before).length}`] = others.filter((other) => other < index).length
    }
    const counts = Object.values(before)
    t.ok(Math.max(...counts) - Math.min(...counts) <= 5, `entries before each no: ${JSON.stringify(before)}`)
    t.ok(Math.min(...counts) >= 3, 'none is recorded at once')
    // Others' work makes single answers late, so each kind shows its least of five, and none may be early. Of more,
    // if that work went on: a kind that is always later stays later.
    const least: Record<string, number> = {}
    const spread = () => Math.max(...Object.values(least)) - Math.min(...Object.values(least))
    for (let i = 0; i < 5 || (i < 25 && spread() >= 45); i++) {
      for (const name of ['forged', 'unknown', 'altered', 'mismatch', 'cloned-sm2', 'expired-sm2']) {
        const { body } = await device.prepare(parcelOf(), (c) => g.cardNamed(name).readChip(c))
        const from = g.lines.length
        await device.send(body)
        const ms = await heldMs(g.lines, from)
        least[name] = Math.min(least[name] ?? 9999, ms)
      }
    }
    const held = Object.values(least)
    const told = JSON.stringify(least)
    t.ok(Math.min(...held) >= 149.5, `none before 150 ms: ${told}`)
    t.ok(spread() < 45, `within one step of the grid: ${told}`)
  },
)

/** How long the gateway says that the one answer after line `from` took. */
async function heldMs(lines: string[], from: number): Promise<number> {
  for (;;) {
    for (const line of lines.slice(from)) {
      const { msg, route, ms } = JSON.parse(line) as { msg: string; route?: string; ms: number }
      if (msg === 'request done' && route === '/v1/verify') return ms
    }
    await new Promise((resolve) => setTimeout(resolve, 1)) // Logged when the last byte has left.
  }
}

const indexOf = (token: string) =>
  Number(JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()).index)
