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
    for (const card of g.deck()) {
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
