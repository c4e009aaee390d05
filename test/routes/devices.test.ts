// Handhelds over the carrier API: bulk with a result each, cursor, rotation by both keys, revocation of one or all of
// an outlet, and that a key is never accepted twice, whoever asks.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { parseBase64url, printBase64url } from '../../src/base/bytes.ts'
import { printP256Spki, signP256 } from '../../src/base/p256.ts'
import { bind } from '../../src/base/t2l.ts'
import { Refused } from '../../src/sdk/carrier.ts'
import {
  collect,
  newDeviceKey,
  openCarrier,
  openOperator,
  openRaw,
  readerFor,
  until,
} from '../helpers/carrier.ts'
import { parcelOf, startTestGateway } from '../helpers/gateway.ts'

const codeOf = (error: unknown) => (error instanceof Refused ? error.code : `not refused: ${error}`)
const refusedAs = (call: Promise<unknown>) => call.then(() => 'not refused', codeOf)

t.test('a thousand at once, each with a result of its own, and then they work', async (t) => {
  const g = await startTestGateway(t)
  const own = openCarrier(t, g)
  const readers = Array.from({ length: 1000 }, (_, i) => readerFor('swift-crane', { serial: `SC-${i}` }))
  const [first, second, third, fourth] = readers
  if (!first || !second || !third || !fourth) throw new Error('no readers')
  second.pop = Buffer.alloc(64, 1)
  third.outlet = 'nowhere'
  Object.assign(fourth, readerFor('swift-crane', { serial: fourth.serial, key: first.key }))
  const results = await own.registerDevices(readers)
  t.equal(results.length, 1000)
  t.match(results[0], { serial: 'SC-0', device: /^[\w-]{22}$/, refused: undefined })
  t.match(results[1], {
    serial: 'SC-1',
    device: undefined,
    refused: 'proof_of_possession_wrong',
    detail: /enrol/,
  })
  t.match(results[2], { serial: 'SC-2', refused: 'outlet_unknown' })
  t.match(results[3], { serial: 'SC-3', device: undefined, refused: 'key_already_used' })
  t.equal(results.filter(({ device }) => device !== undefined).length, 997)
  const listed = await collect(own.listDevices({ outlet: 'harbour' }))
  t.equal(listed.length, 998, 'with the demo device')
  t.equal(new Set(listed.map(({ device }) => device)).size, 998)
  t.same(await collect(own.listDevices({ outlet: 'old-bridge' })), [])
  const again = await own.registerDevices(readers.slice(0, 1))
  t.match(
    again,
    [{ serial: 'SC-0', device: results[0]?.device, refused: 'key_already_used' }],
    'and which it is',
  )
  const other = openCarrier(t, g, 'river-post')
  const theirs = readerFor('river-post', { serial: 'SC-0', key: first.key, outlet: 'old-bridge' })
  t.match(await other.registerDevices([theirs]), [{ refused: 'key_already_used', device: undefined }])
  await until(() => g.gateway.readiness()['registry'] === true, 'registry')
  const key = first.key.export({ format: 'pem', type: 'pkcs8' }) as string
  const device = await g.openDevice({
    id: results[0]?.device ?? '',
    carrier: 'swift-crane',
    outlet: 'harbour',
    key,
  })
  const card = g.cardNamed('valid')
  t.match(await device.verify(parcelOf(), (context) => card.readChip(context)), { answer: 'yes' })
})

t.test('a new key takes both signatures, ends the old one, and neither may come again', async (t) => {
  const g = await startTestGateway(t)
  const own = openCarrier(t, g)
  const reader = readerFor('swift-crane', { serial: 'SC-1' })
  const [registered] = await own.registerDevices([reader])
  const id = parseBase64url(registered?.device ?? '') as Buffer
  const next = newDeviceKey()
  const spki = printP256Spki(next)
  const message = bind('rotate', id, reader.spki, spki)
  const [byOld, byNew] = [signP256(reader.key, message), signP256(next, message)]
  const name = printBase64url(id)
  for (const [what, keys] of [
    ['by the new key alone', { spki, byOld: byNew, byNew }],
    ['by the old key alone', { spki, byOld, byNew: byOld }],
    [
      'of another device',
      { spki, byOld: signP256(reader.key, bind('rotate', Buffer.alloc(16), reader.spki, spki)), byNew },
    ],
    ['to a key on no curve', { spki: Buffer.concat([spki.subarray(0, 90), Buffer.of(7)]), byOld, byNew }],
    ['to itself', { spki: reader.spki, byOld, byNew }],
  ] as const) {
    t.equal(await refusedAs(own.rotateDevice(name, keys)), 'refused', what)
  }
  const theirs = openCarrier(t, g, 'river-post')
  t.equal(
    await refusedAs(theirs.rotateDevice(name, { spki, byOld, byNew })),
    'not_found',
    'of another carrier',
  )
  const key = (k: typeof next) => k.export({ format: 'pem', type: 'pkcs8' }) as string
  const place = { id: name, carrier: 'swift-crane', outlet: 'harbour' }
  await sleep(300) // Until the gateway has read of the device.
  const before = await g.openDevice({ ...place, key: key(reader.key) })
  t.match(await own.rotateDevice(name, { spki, byOld, byNew }), { device: name, keyEndsAt: /^2/ })
  await sleep(800)
  const card = g.cardNamed('valid')
  const running = await before.verify(parcelOf(), (context) => card.readChip(context))
  t.equal(running.answer, 'yes', 'its session goes on')
  t.match(await g.openDevice({ ...place, key: key(reader.key) }).catch(codeOf), 'signature_invalid')
  await g.openDevice({ ...place, key: key(next) })
  t.equal(
    await refusedAs(own.rotateDevice(name, { spki: reader.spki, byOld: byNew, byNew: byOld })),
    'refused',
  )
  for (const used of [reader.key, next]) {
    const [result] = await own.registerDevices([readerFor('swift-crane', { serial: 'SC-9', key: used })])
    t.match(result, { refused: 'key_already_used', device: undefined })
  }
})

t.test('one or all of an outlet are revoked, for good, and only by their carrier or for it', async (t) => {
  const g = await startTestGateway(t)
  const [own, theirs] = [openCarrier(t, g), openCarrier(t, g, 'river-post')]
  const results = await own.registerDevices(
    Array.from({ length: 4 }, (_, i) => readerFor('swift-crane', { serial: `SC-${i}` })),
  )
  const [first = '', second = ''] = results.map(({ device }) => device ?? '')
  t.equal(await refusedAs(theirs.revokeDevices({ device: first })), 'not_found')
  t.equal(await refusedAs(theirs.revokeDevices({ outlet: 'harbour' })), 'not_found')
  t.equal(await refusedAs(own.revokeDevices({ device: printBase64url(Buffer.alloc(16)) })), 'not_found')
  t.same(await own.revokeDevices({ device: first }), [first])
  t.equal(await refusedAs(own.revokeDevices({ device: first })), 'refused', 'revoked already')
  const rest = await own.revokeDevices({ outlet: 'harbour' })
  t.equal(rest.length, 4, 'three, and the demo device')
  t.notOk(rest.includes(first))
  t.same(await own.revokeDevices({ outlet: 'harbour' }), [])
  const statuses = (await collect(own.listDevices())).map(({ status }) => status)
  t.ok(statuses.every((status) => status === 'revoked'))
  const operator = openOperator(g)
  const back = {
    method: 'POST',
    path: `/v1/devices/${second}/reinstatement`,
    body: { reason: 'found again' },
  }
  t.match(await operator(back), {
    status: 422,
    body: { code: 'refused', detail: /is revoked, not suspended/ },
  })
  const news = await own.changes()
  t.equal(news.changes.filter(({ change }) => change === 'device.revoke').length, 5)
  t.same(
    (await theirs.changes()).changes.filter(({ change }) => change.startsWith('device.')),
    [],
  )
})

t.test(
  'a body of a wrong form is refused whole, and a suspended device comes back by an operator',
  async (t) => {
    const g = await startTestGateway(t)
    const raw = openRaw(t, g)
    const { key: _, spki, pop, ...rest } = readerFor('swift-crane', { serial: 'SC-1' })
    const good = { ...rest, spki: printBase64url(spki), pop: printBase64url(pop) }
    const headers = { 'idempotency-key': '"k"' }
    for (const [what, body] of [
      ['not an array', good],
      ['none', []],
      ['1,001', Array.from({ length: 1001 }, () => good)],
      ['a field too many', [{ ...good, owner: 'x' }]],
      ['a field too few', [{ ...good, pop: undefined }]],
      ['base64url that is not canonical', [{ ...good, pop: `${good.pop.slice(0, -1)}B` }]],
      ['an outlet of a wrong form', [{ ...good, outlet: 'a/b' }]],
    ] as const) {
      const reply = await raw({ method: 'POST', path: '/v1/devices', headers, body })
      t.match(reply, { status: 400, body: { code: 'malformed' } }, what)
    }
    const big = await raw({ method: 'POST', path: '/v1/devices', headers, body: 'x'.repeat(512 * 1024 + 1) })
    t.equal(big.status, 413)
    for (const query of ['after=x', 'limit=0', 'limit=-1', 'outlet=a/b', 'who=1']) {
      t.equal((await raw({ method: 'GET', path: `/v1/devices?${query}` })).status, 400, query)
    }
    const made = await raw({ method: 'POST', path: '/v1/devices', headers, body: [good] })
    const { device } = (made.body['results'] as { device: string }[])[0] as { device: string }
    const operator = openOperator(g)
    const move = (name: string) =>
      operator({ method: 'POST', path: `/v1/devices/${device}/${name}`, body: { reason: 'on loan' } })
    t.equal((await move('suspension')).status, 200)
    t.match(await move('suspension'), { status: 422, body: { detail: /is suspended, not active/ } })
    t.equal((await move('reinstatement')).status, 200)
  },
)

t.test('pages of a list go on where the last one ended, and never into another carrier', async (t) => {
  const g = await startTestGateway(t)
  const [own, raw] = [openCarrier(t, g), openRaw(t, g)]
  await own.registerDevices(
    Array.from({ length: 5 }, (_, i) => readerFor('swift-crane', { serial: `SC-${i}` })),
  )
  const theirs = openCarrier(t, g, 'river-post')
  const [other] = await theirs.registerDevices([
    readerFor('river-post', { serial: 'RP-1', outlet: 'old-bridge' }),
  ])
  type Page = { devices: { device: string }[]; next: string | null }
  const seen: string[] = []
  let after = ''
  for (let pages = 1; ; pages++) {
    const { body } = await raw({ method: 'GET', path: `/v1/devices?limit=2${after && `&after=${after}`}` })
    const page = body as Page
    seen.push(...page.devices.map(({ device }) => device))
    if (page.next === null) {
      t.equal(pages, 3, 'six, with the demo device')
      break
    }
    after = page.next
  }
  t.equal(new Set(seen).size, 6)
  t.notOk(seen.includes(other?.device ?? ''))
  t.same(await collect(own.listDevices({ outlet: 'old-bridge' })), [], 'an outlet of the other')
  const path = `/v1/devices?after=${other?.device}`
  const beyond = (await raw({ method: 'GET', path })).body as Page
  t.notOk(
    beyond.devices.some(({ device }) => device === other?.device),
    'by the cursor of the other',
  )
})

t.test('what is suspended its carrier cannot revoke, and so not register anew', async (t) => {
  const g = await startTestGateway(t)
  const own = openCarrier(t, g)
  const [first, second] = await own.registerDevices([
    readerFor('swift-crane', { serial: 'SC-1' }),
    readerFor('swift-crane', { serial: 'SC-2' }),
  ])
  const path = `/v1/devices/${first?.device}/suspension`
  t.equal((await openOperator(g)({ method: 'POST', path, body: { reason: 'refusals' } })).status, 200)
  t.equal(await refusedAs(own.revokeDevices({ device: first?.device ?? '' })), 'refused')
  const revoked = await own.revokeDevices({ outlet: 'harbour' })
  t.ok(revoked.includes(second?.device ?? '') && !revoked.includes(first?.device ?? ''))
  t.match(await own.registerDevices([readerFor('swift-crane', { serial: 'SC-1' })]), [
    { refused: 'serial_suspended' },
  ])
  const back = {
    method: 'POST',
    path: `/v1/devices/${first?.device}/reinstatement`,
    body: { reason: 'seen' },
  }
  t.equal((await openOperator(g)(back)).status, 200)
  t.same(await own.revokeDevices({ device: first?.device ?? '' }), [first?.device])
})
