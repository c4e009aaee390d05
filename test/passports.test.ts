// The deck of passports against a whole gateway that has their CSCAs, and against one that has none.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { dayMs } from '../src/base/clock.ts'
import { passportAt } from '../src/bureau-mock/passports.ts'
import { peopleCount } from '../src/bureau-mock/people.ts'
import { loadKeks } from '../src/keys/kek.ts'
import { Keyring } from '../src/keys/keyring.ts'
import { openRow, parsePrivate } from '../src/ledger/entry.ts'
import { makePassportSigner, makeState, makeStateList } from '../src/simulator/csca.ts'
import { makePassportDeck } from '../src/simulator/passport-deck.ts'
import { makeFolder } from './helpers/folder.ts'
import { parcelOf, startTestGateway, type TestGateway } from './helpers/gateway.ts'

const now = Date.now()
const life = { fromMs: now - 400 * dayMs, toMs: now + 3000 * dayMs }
const signature = { padding: 'pss', hash: 'sha256' } as const
const ecdsa = { padding: 'ecdsa', hash: 'sha256' } as const
const state = makeState({ ...life, state: 'UTO', country: 'UT', signature, key: { bits: 2048 } })
const foreign = makeState({ ...life, state: 'QAA', country: 'QA', signature: ecdsa, key: { curve: 'P-256' } })
const signerOf = (by: typeof state) =>
  makePassportSigner(by, { ...life, signature: ecdsa, key: { curve: 'brainpoolP256r1', explicit: true } })
const signers = { good: signerOf(state), revoked: signerOf(state), foreign: signerOf(foreign) }

/** A folder with what both states publish. */
function makeTrust(t: Test): string {
  const folder = makeFolder()
  t.teardown(() => folder.remove())
  const list = { fromMs: now - dayMs, toMs: now + dayMs }
  writeFileSync(join(folder.path, 'UTO.crt'), state.certificateDer)
  writeFileSync(join(folder.path, 'UTO.crl'), makeStateList(state, { ...list, revoked: [signers.revoked] }))
  writeFileSync(join(folder.path, 'QAA.crt'), foreign.certificateDer)
  writeFileSync(join(folder.path, 'QAA.crl'), makeStateList(foreign, list))
  return folder.path
}

const deck = () =>
  makePassportDeck({
    ...{ peopleCount, signers, signedMs: now - dayMs },
    personAt: (index) => passportAt('vouchsafe-test', 'UTO', index),
  })

/** What the private row of an answer says. */
async function openRows(t: Test, g: TestGateway) {
  const keyring = await Keyring.open({
    file: join(g.dataDir, 'keyring.db'),
    keks: loadKeks(g.certsDir),
    clock: g.clock,
  })
  const ledger = new DatabaseSync(join(g.dataDir, 'ledger.db'), { readOnly: true })
  t.teardown(() => Promise.all([keyring.close(), ledger.close()]))
  return async (token: string) => {
    const { index } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
    const row = ledger.prepare('select day, blob from private_rows where idx = ?').get(index) as {
      day: number
      blob: Uint8Array
    }
    const plain = openRow(await keyring.ofDay('record', row.day), row.day, Buffer.from(row.blob))
    return plain && parsePrivate(plain)?.refusal
  }
}

t.test('each passport of the deck gets its answer, and its entry says why', async (t) => {
  const g = await startTestGateway(t, { PASSPORT_CSCA: makeTrust(t) })
  const device = await g.openDevice()
  const refusalOf = await openRows(t, g)
  const dealt = deck()
  for (const passport of dealt) {
    if (passport.status) await g.knobs.setStatus(passport.holder.number, passport.status)
    const { answer, token } = await device.verify(parcelOf(), (context) => passport.readChip(context))
    t.equal(answer, passport.answer, passport.name)
    t.equal(await refusalOf(token), passport.refusal, `${passport.name} is recorded as R${passport.refusal}`)
  }
  const again = dealt.find(({ name }) => name === 'valid')
  const { answer } = await device.verify(parcelOf(), (context) => again?.readChip(context) as Buffer)
  t.equal(answer, 'yes', 'from the cache')
  const card = g.cardNamed('valid')
  t.equal((await device.verify(parcelOf(), (c) => card.readChip(c))).answer, 'yes', 'cards as before')
  const files = readdirSync(g.dataDir).filter((name) => /\.db(-wal)?$/.test(name))
  t.ok(files.length >= 3)
  const written = [Buffer.from(g.lines.join('')), ...files.map((name) => readFileSync(join(g.dataDir, name)))]
  for (const { holder } of dealt) {
    const planted = [holder.number, holder.name, ...holder.name.split('<<')]
    const found = planted.some((text) => written.some((bytes) => bytes.includes(text)))
    t.notOk(found, 'nobody is named in log or databases')
  }
})

t.test('a yes ends when the passport is told to be lost', async (t) => {
  const g = await startTestGateway(t, { PASSPORT_CSCA: makeTrust(t) })
  const device = await g.openDevice()
  const [valid] = deck()
  if (!valid) return t.fail('no passport')
  const ask = async () => (await device.verify(parcelOf(), (context) => valid.readChip(context))).answer
  t.equal(await ask(), 'yes')
  await g.knobs.setStatus(valid.holder.number, 'lost')
  let answer = 'yes'
  for (let tries = 0; tries < 20 && answer === 'yes'; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 250)) // The news are polled.
    answer = await ask()
  }
  t.equal(answer, 'no')
})

t.test('where passports are off, none of the sizes lets one in', async (t) => {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  const [valid] = deck()
  if (!valid) return t.fail('no passport')
  const wide = await device.prepare(parcelOf(), (context) => valid.readChip(context))
  const refused = await device.post('/v1/verify', wide.body)
  t.match([refused.status, refused.body['code']], [400, 'malformed'], 'the size itself is unknown')
  const narrow = await device.prepare(parcelOf(), (context) => {
    const card = Buffer.from(g.cardNamed('valid').readChip(context))
    card.writeUInt8(3, 5) // Suite, after the length of all, its tag and its own length.
    return card
  })
  const unknown = await device.post('/v1/verify', narrow.body)
  t.match([unknown.status, unknown.body['code']], [422, 'reading_malformed'])
})

t.test('a passport in a reading of the size of cards, and the reverse, are malformed', async (t) => {
  const g = await startTestGateway(t, { PASSPORT_CSCA: makeTrust(t) })
  const device = await g.openDevice()
  const [valid] = deck()
  if (!valid) return t.fail('no passport')
  const wideCard = await device.prepare(parcelOf(), (context) =>
    Buffer.concat([g.cardNamed('valid').readChip(context)], 4096),
  )
  const narrow = await device.prepare(parcelOf(), (context) => valid.readChip(context).subarray(0, 2048))
  for (const { body } of [wideCard, narrow]) {
    const { status, body: problem } = await device.post('/v1/verify', body)
    t.match([status, problem['code']], [422, 'reading_malformed'])
  }
  const between = await device.post('/v1/verify', { ...wideCard.body, sealed: 'A'.repeat(4000) })
  t.match([between.status, between.body['code']], [400, 'malformed'])
})
