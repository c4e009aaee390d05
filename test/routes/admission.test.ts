// Admission from application to expulsion, over the operator API and a sandbox: who may do which step, what each needs
// before it, and that every step is an entry that names who took it.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { parseBase64url } from '../../src/base/bytes.ts'
import { dayMs, manualClock, systemClock } from '../../src/base/clock.ts'
import { admitCarrier } from '../../src/registry/carriers.ts'
import { changesAfter } from '../../src/registry/changes.ts'
import { addOperator, type OperatorRole } from '../../src/registry/operators.ts'
import { openResources } from '../../src/resources.ts'
import { Refused } from '../../src/sdk/carrier.ts'
import { openCarrier, openOperator, readerFor, until } from '../helpers/carrier.ts'
import { parcelOf, startTestGateway, type TestGateway } from '../helpers/gateway.ts'

const application = {
  id: 'plum-parcel',
  name: 'Plum Parcel',
  contact: 'Operations desk',
  outlets: [{ id: 'harbour', name: 'Harbour' }],
  evidence: [{ name: 'protection-plan.pdf', sha256: 'ab'.repeat(32) }],
}

const refusedAs = (call: Promise<unknown>) =>
  call.then(
    () => 'not refused',
    (error) => (error instanceof Refused ? error.code : String(error)),
  )

async function addOperators(g: TestGateway) {
  const by = g.first.operator?.name ?? ''
  const add = async (name: string, role: OperatorRole) => {
    const { secret } = await addOperator(g.db, { name, role, by, nowMs: g.clock.now() })
    return { name, secret }
  }
  return {
    lin: await add('lin.qiao', 'reviewer'),
    wei: await add('wei.han', 'reviewer'),
    auditor: await add('an.audit', 'auditor'),
    metrics: await add('scraper', 'metrics'),
  }
}

/** A new key and a request for it, by openssl. */
function makeRequest(t: Test, carrier: string) {
  const folder = t.testdir()
  const [key, csr] = [join(folder, `${carrier}.key`), join(folder, `${carrier}.csr`)]
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-sha256']
  execFileSync('openssl', ['req', '-new', ...ec, '-keyout', key, '-out', csr, '-subj', `/CN=${carrier}`], {
    stdio: 'ignore',
  })
  return { key: readFileSync(key), request: readFileSync(csr, 'utf8') }
}

t.test('a carrier comes in by two independent reviews and a sandbox, and goes out at once', async (t) => {
  const g = await startTestGateway(t)
  const operators = await addOperators(g)
  const { lin, wei, auditor, metrics } = operators
  const operator = openOperator(g)
  const post = (path: string, body: unknown, as?: typeof lin) => operator({ method: 'POST', path, body }, as)

  await t.test('application and reviews', async (t) => {
    for (const as of [auditor, metrics])
      t.equal((await post('/v1/applications', application, as)).status, 403)
    t.equal((await post('/v1/applications', application, { name: 'nobody', secret: 'x' })).status, 401)
    t.match(await post('/v1/applications', application, lin), { status: 200, body: { seq: /\d+/ } })
    t.match(await post('/v1/applications', application), {
      status: 422,
      body: { detail: /is filed already/ },
    })
    const review = (verdict: string, as?: typeof lin) =>
      post('/v1/applications/plum-parcel/reviews', { verdict, note: 'plan read' }, as)
    t.match(await review('approve', lin), { status: 422, body: { detail: /has filed/ } }, 'the filer')
    t.match(await review('maybe', wei), { status: 400 })
    t.match(await review('approve', wei), { status: 200, body: { status: 'filed' } })
    t.match(await review('approve', wei), { status: 422, body: { detail: /has reviewed/ } }, 'the same again')
    const early = await post('/v1/applications/plum-parcel/admission', {})
    t.match(early, { status: 422, body: { detail: /2 operators must approve/ } })
    t.match(await review('approve'), { status: 200, body: { status: 'approved' } })
    t.match(await review('approve'), { status: 422, body: { detail: /is approved/ } })
    t.match(await post('/v1/applications/nobody/reviews', { verdict: 'approve', note: 'x' }), { status: 404 })
  })

  const sandbox = 'plum-parcel-sandbox'
  const { key, request } = makeRequest(t, sandbox)
  const certified = await post(`/v1/carriers/${sandbox}/certificates`, { request })
  t.match(certified, { status: 200, body: { certificate: /BEGIN CERTIFICATE/, notAfter: /^2/ } })
  const cert = String(certified.body['certificate'])
  const own = openCarrier(t, g, sandbox, { ca: g.file('gateway-ca.crt'), cert: Buffer.from(cert), key })

  await t.test('the sandbox proves each outcome, and only by what happened', async (t) => {
    await until(async () => (await refusedAs(own.standing())) === 'not refused', 'the sandbox is known')
    const reader = readerFor(sandbox, { serial: 'PP-1' })
    const [registered] = await own.registerDevices([reader])
    const id = registered?.device ?? ''
    const pem = reader.key.export({ format: 'pem', type: 'pkcs8' }) as string
    await until(async () => {
      const device = parseBase64url(id)
      return (
        device !== undefined &&
        (await g.db.selectFrom('devices').select('id').where('id', '=', device).execute()).length === 1
      )
    }, 'the device is there')
    await new Promise((resolve) => setTimeout(resolve, 600))
    const device = await g.openDevice({ id, carrier: sandbox, outlet: 'harbour', key: pem })
    const ask = async (name: string) => {
      const card = g.cardNamed(name)
      const parcel = parcelOf()
      return { parcel, ...(await device.verify(parcel, (context) => card.readChip(context))) }
    }
    const [yes, no] = [await ask('valid'), await ask('forged')]
    const show = (outcome: 'yes' | 'no' | 'undecided' | 'audit', token: string, receipt?: string) =>
      own.showOutcome({ outcome, token, ...(receipt === undefined ? {} : { receipt }) })
    t.equal(await refusedAs(show('yes', yes.token)), 'refused', 'not redeemed yet')
    t.equal(await refusedAs(show('yes', no.token)), 'refused')
    t.equal(await refusedAs(show('no', yes.token)), 'refused')
    t.equal(await refusedAs(show('undecided', yes.token)), 'refused', 'nothing was left undecided')
    t.equal(await refusedAs(show('audit', yes.token)), 'refused', 'no receipt')
    t.equal(await refusedAs(show('no', 'x')), 'refused')
    const theirs = openCarrier(t, g, 'river-post')
    const shown = theirs.showOutcome({ outcome: 'no', token: no.token })
    t.equal(await refusedAs(shown), 'refused', 'a token of another, by one that is no sandbox')
    await own.redeem(yes.token, yes.parcel)
    t.match(await show('yes', yes.token), { proved: ['yes'], missing: ['no', 'undecided', 'audit'] })
    t.match(await show('no', no.token), { missing: ['undecided', 'audit'] })
    const early = await post('/v1/applications/plum-parcel/admission', {})
    t.match(early, { status: 422, body: { detail: /has not proved: undecided, audit/ } })
    await g.knobs.setFaults({ errorRate: 1 })
    const card = g.cardNamed('valid')
    const { body } = await device.prepare(parcelOf(), (context) => card.readChip(context))
    t.match(await device.post('/v1/verify', body), { status: 503 })
    await g.knobs.clearFaults()
    await until(
      async () => (await device.post('/v1/verify', body)).status === 200,
      'the breaker closes',
      15_000,
    )
    t.match(await show('undecided', (await ask('valid')).token), { missing: ['audit'] })
    const { jti } = JSON.parse(Buffer.from(yes.token.split('.')[1] ?? '', 'base64url').toString())
    const receipt = await own.fetchReceipt(jti)
    t.equal(await refusedAs(show('audit', no.token, receipt)), 'refused', 'the receipt of another token')
    t.match(await show('audit', yes.token, receipt), { missing: [] })
  })

  await t.test('admission, terms, and the certificate', async (t) => {
    t.equal((await post('/v1/applications/plum-parcel/admission', {}, wei)).status, 403, 'an admin')
    const terms = { quota: 5, conditions: 'in uniform only', reviewAt: '2027-11-28T00:00:00Z' }
    t.match(await post('/v1/applications/plum-parcel/admission', terms), { status: 200 })
    t.match(await post('/v1/applications/plum-parcel/admission', terms), { status: 422 })
    const listed = await operator({ method: 'GET', path: '/v1/carriers' }, auditor)
    const row = (listed.body['carriers'] as Record<string, unknown>[]).find(({ id }) => id === 'plum-parcel')
    t.match(row, { status: 'active', quota: 5, conditions: 'in uniform only', reviewAt: /^2027-11-28/ })
    t.equal((await operator({ method: 'GET', path: '/v1/carriers' }, metrics)).status, 403)
    const same = await post('/v1/carriers/plum-parcel/certificates', { request })
    t.match(same, { status: 422, body: { detail: /plum-parcel/ } }, 'a request that names another')
    const put = { method: 'PUT', path: '/v1/carriers/plum-parcel/terms' }
    t.equal((await operator({ ...put, body: { quota: 6 } })).status, 200)
    t.equal((await operator({ ...put, body: {} })).status, 422)
    t.equal((await operator({ ...put, body: { reviewAt: 'soon' } })).status, 400)
  })

  await t.test(
    'suspended, reinstated, a certificate revoked, expelled: each bites within a second',
    async (t) => {
      const bites = async (what: string, code = 'not refused') => {
        const began = performance.now()
        await until(async () => {
          const now = await refusedAs(own.standing())
          return code === 'not refused' ? now === code : now !== 'not refused'
        }, what)
        t.ok(performance.now() - began < 1000, `${what}: ${Math.round(performance.now() - began)} ms`)
      }
      const move = (name: string) => post(`/v1/carriers/plum-parcel/${name}`, { reason: 'as agreed' })
      t.equal((await move('suspension')).status, 200)
      await bites('its sandbox goes with it', 'refused')
      t.match(await post(`/v1/carriers/${sandbox}/reinstatement`, { reason: 'as agreed' }), {
        status: 422,
        body: { code: 'refused', detail: /"plum-parcel", whose sandbox .* is suspended/ },
      })
      t.match(await move('suspension'), { status: 422, body: { detail: /suspended already/ } })
      t.equal((await move('reinstatement')).status, 200)
      await bites('reinstated')
      const serial = String(certified.body['serial'])
      const revoke = () => post(`/v1/certificates/${serial}/revocation`, { reason: 'key lost' })
      t.match(await revoke(), { status: 200, body: { carrier: sandbox, listed: true } })
      await bites('its certificate is revoked', 'refused')
      t.match(await revoke(), { status: 422 })
      t.match(await post(`/v1/carriers/${sandbox}/certificates`, { request }), {
        status: 422,
        body: { detail: /revoked/ },
      })
      const crl = execFileSync('openssl', [
        'crl',
        '-in',
        join(g.certsDir, 'carrier-ca.crl'),
        '-noout',
        '-text',
      ])
      t.match(crl.toString(), serial)
      t.equal((await move('expulsion')).status, 200)
      t.match(await move('reinstatement'), { status: 422, body: { detail: /expelled, which is for good/ } })
      t.match(await post('/v1/carriers/nobody/suspension', { reason: 'x' }), { status: 404 })
    },
  )

  await t.test('every step is an entry that names who took it', async (t) => {
    const changes = await changesAfter(g.db, 0, 1000)
    const acts = changes.map(({ operator, act }) => `${operator} ${(JSON.parse(act) as { act: string }).act}`)
    const founder = g.first.operator?.name
    for (const step of [
      'lin.qiao application.file',
      'wei.han application.review',
      `${founder} application.review`,
      `${founder} carrier.admit`,
      `${founder} certificate.issue`,
      `carrier:${sandbox} device.register`,
      `carrier:${sandbox} carrier.conform`,
      `${founder} carrier.terms`,
      `${founder} carrier.suspend`,
      `${founder} carrier.reinstate`,
      `${founder} certificate.revoke`,
      `${founder} carrier.expel`,
    ]) {
      t.ok(acts.includes(step), step)
    }
    const last = changes.at(-1)?.seq ?? 0
    await until(async () => (await lastRecorded(g)) >= last, 'the ledger has them all')
  })
})

async function lastRecorded(g: TestGateway): Promise<number> {
  const { DatabaseSync } = await import('node:sqlite')
  const ledger = new DatabaseSync(join(g.dataDir, 'ledger.db'), { readOnly: true })
  try {
    return Number(ledger.prepare('select max(seq) as seq from acts').get()?.['seq'])
  } finally {
    ledger.close()
  }
}

t.test('a carrier whose review is overdue is suspended by itself, with an alert', async (t) => {
  const clock = manualClock(systemClock.now())
  const g = await startTestGateway(t)
  const operator = openOperator(g)
  const soon = new Date(clock.now() + 500).toISOString()
  const set = { method: 'PUT', path: '/v1/carriers/river-post/terms', body: { reviewAt: soon } }
  t.equal((await operator(set)).status, 200)
  const own = openCarrier(t, g, 'river-post')
  t.equal(await refusedAs(own.standing()), 'not refused')
  await until(async () => (await refusedAs(own.standing())) !== 'not refused', 'suspended', 12_000)
  await until(() => g.lines.join('').includes('"alert":"review_overdue"'), 'the alert')
  const [change] = (await changesAfter(g.db, 0, 1000)).filter(({ act }) => act.includes('carrier.suspend'))
  t.match(change, { operator: 'system:review', subject: 'river-post', act: /review overdue/ })
  const later = { ...set, body: { reviewAt: new Date(clock.now() + 90 * dayMs).toISOString() } }
  t.equal((await operator(later)).status, 200)
  const back = { method: 'POST', path: '/v1/carriers/river-post/reinstatement', body: { reason: 'reviewed' } }
  t.equal((await operator(back)).status, 200)
  await until(async () => (await refusedAs(own.standing())) === 'not refused', 'back')
})

t.test('an application of a wrong form is refused; one that was rejected may be filed again', async (t) => {
  const g = await startTestGateway(t)
  const { lin, wei } = await addOperators(g)
  const operator = openOperator(g)
  const post = (path: string, body: unknown, as?: typeof lin) => operator({ method: 'POST', path, body }, as)
  for (const [what, body, status] of [
    ['an id too long for a sandbox', { ...application, id: 'a'.repeat(25) }, 422],
    ['an id that is a sandbox’s', { ...application, id: 'x-sandbox' }, 422],
    ['an id of a wrong form', { ...application, id: 'Plum' }, 422],
    ['of a carrier that is admitted', { ...application, id: 'river-post' }, 422],
    ['no outlet', { ...application, outlets: [] }, 400],
    ['an outlet twice', { ...application, outlets: [...application.outlets, ...application.outlets] }, 422],
    ['no evidence', { ...application, evidence: [] }, 400],
    ['evidence that is no hash', { ...application, evidence: [{ name: 'a', sha256: 'xyz' }] }, 400],
    [
      'a document itself',
      { ...application, evidence: [{ name: 'a', sha256: 'ab'.repeat(32), text: 'b' }] },
      400,
    ],
    ['a line break in the contact', { ...application, contact: 'a\nb' }, 422],
  ] as const) {
    t.equal((await post('/v1/applications', body)).status, status, what)
  }
  const reviews = '/v1/applications/plum-parcel/reviews'
  t.equal((await post('/v1/applications', application, lin)).status, 200)
  t.match(await post(reviews, { verdict: 'reject', note: 'no plan' }, wei), { body: { status: 'rejected' } })
  t.equal((await post('/v1/applications', application)).status, 200, 'again, by another')
  t.match(await post(reviews, { verdict: 'approve', note: 'plan read' }, lin), {
    status: 422,
    body: { detail: /"lin.qiao" has filed/ },
  })
  t.match(await post(reviews, { verdict: 'approve', note: 'plan read' }, wei), { body: { status: 'filed' } })
  const { body } = await operator({ method: 'GET', path: '/v1/applications' })
  t.match(body, {
    applications: [
      { round: 2, filedBy: g.first.operator?.name, reviews: [{ operator: 'wei.han' }], proved: [] },
    ],
  })
})

t.test('a quota of answers a month is told, used up, and ends nothing but new answers', async (t) => {
  const g = await startTestGateway(t)
  const operator = openOperator(g)
  const own = openCarrier(t, g)
  const device = await g.openDevice()
  const card = g.cardNamed('valid')
  const ask = async () => {
    const { body } = await device.prepare(parcelOf(), (context) => card.readChip(context))
    return { body, reply: await device.post('/v1/verify', body) }
  }
  t.match(await own.standing(), { carrier: 'swift-crane', quota: undefined, reviewAt: undefined })
  const soon = new Date(g.clock.now() + 5 * dayMs).toISOString()
  const terms = { quota: 2, reviewAt: soon, conditions: 'in uniform only' }
  t.equal(
    (await operator({ method: 'PUT', path: '/v1/carriers/swift-crane/terms', body: terms })).status,
    200,
  )
  await until(async () => (await own.standing())['quota'] !== undefined, 'the terms are known')
  t.match(await own.standing(), {
    ...{ quota: { limit: 2, used: 0 }, conditions: 'in uniform only' },
    ...{ reviewAt: soon, reviewWarning: '7_days' },
  })
  const listed = await operator({ method: 'GET', path: '/v1/carriers' })
  const row = (listed.body['carriers'] as Record<string, unknown>[]).find(({ id }) => id === 'swift-crane')
  t.match(row, { reviewWarning: '7_days', certificates: [{ status: 'active', warning: null }] })
  const { name, secret } = g.first.operator ?? { name: '', secret: '' }
  const authorization = `Basic ${btoa(`${name}:${secret}`)}`
  const told = await fetch(`http://127.0.0.1:${g.ports.operator}/metrics`, { headers: { authorization } })
  const metrics = await told.text()
  t.match(metrics, 'vouchsafe_carriers_ending{what="review",within="7_days"} 1')
  t.match(metrics, 'vouchsafe_carriers_ending{what="review",within="1_day"} 0')
  t.match(metrics, 'vouchsafe_carriers_ending{what="certificate",within="30_days"} 0')
  const first = await ask()
  t.match(first.reply, { status: 200 })
  t.match((await ask()).reply, { status: 200 })
  await new Promise((resolve) => setTimeout(resolve, 1100))
  const third = await ask()
  t.match(third.reply, { status: 403, body: { code: 'quota_used_up', retry: 'never' } })
  t.match(await own.standing(), { quota: { limit: 2, used: 2 } })
  const again = await device.post('/v1/verify', first.body)
  t.match(again, { status: 200, headers: { 'idempotent-replayed': 'true' } }, 'the same bytes again')
  t.match(await own.introspect(String(first.reply.body['token'])), { active: true })
  t.equal(
    (await operator({ method: 'PUT', path: '/v1/carriers/swift-crane/terms', body: { quota: 3 } })).status,
    200,
  )
  await until(
    async () => (await device.post('/v1/verify', third.body)).status === 200,
    'the same reading, unburnt',
  )
})

t.test(
  'a gateway in production keeps that it was, and from then on nobody is admitted without review',
  async (t) => {
    const g = await startTestGateway(t)
    const admit = (id: string) =>
      admitCarrier(g.db, { id, name: 'X', outlets: [], operator: 'founder', nowMs: g.clock.now() })
    await admit('night-heron')
    const closers: (() => unknown)[] = []
    t.teardown(async () => {
      for (const close of closers.reverse()) await close()
    })
    const config = { ...g.config, VOUCHSAFE_MODE: 'production' as const }
    // It has no signed directory, which a gateway in production needs, and so ends here: after it has kept this.
    const opening = openResources({ config, clock: g.clock, log: pino({ level: 'silent' }) }, closers)
    await t.rejects(opening, /directory/)
    await t.rejects(admit('sea-crow'), { name: 'RegistryError', reason: 'direct admission refused' })
  },
)
