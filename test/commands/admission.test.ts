// `vouchsafe carrier`: from application to certificate as an operator types it, and `vouchsafe canary`.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ensureDevPki } from '../../certs/generate.ts'
import { sha256 } from '../../src/base/bytes.ts'
import { personAt } from '../../src/bureau-mock/people.ts'
import { runCanary } from '../../src/commands/canary.ts'
import { runCarrier } from '../../src/commands/carrier.ts'
import { outcomes, proveOutcome } from '../../src/registry/applications.ts'
import { changes } from '../../src/registry/changes.ts'
import { addOperator } from '../../src/registry/operators.ts'
import { canaryOf } from '../../src/verify/canary.ts'
import { makeFolder } from '../helpers/folder.ts'
import { makePlace } from '../helpers/place.ts'

const startMs = Date.UTC(2026, 10, 24)

t.test('apply, review by two others, sandbox, admit, certify, revoke', async (t) => {
  const p = await makePlace(t, startMs)
  p.startWriter()
  await ensureDevPki({ directory: p.certsDir, nowMs: startMs })
  const made = makeFolder()
  t.teardown(() => made.remove())
  const folder = made.path
  writeFileSync(join(folder, 'plan.pdf'), 'the plan')
  writeFileSync(join(folder, 'not.csr'), 'nothing')
  const plan = join(folder, 'plan.pdf')
  const type = (name: string, ...args: string[]) => p.type(runCarrier, name, ...args)
  const apply = ['apply', 'plum-parcel', '--name', 'Plum Parcel', '--contact', 'Operations desk']
  for (const [what, args, err] of [
    ['no outlet', [...apply, '--evidence', plan], /--outlet is missing/],
    ['no evidence', [...apply, '--outlet', 'harbour'], /--evidence is missing/],
    ['no contact', ['apply', 'plum-parcel', '--name', 'X', '--outlet', 'a'], /--contact is missing/],
    ['a verdict that is none', ['review', 'plum-parcel', '--verdict', 'maybe'], /approve or reject/],
    ['no note', ['review', 'plum-parcel', '--verdict', 'approve'], /--note is missing/],
    ['a quota that is none', ['terms', 'plum-parcel', '--quota', '-1'], /quota/],
    ['a day that is none', ['terms', 'plum-parcel', '--review', '2027-02-30'], /no day/],
    ['expelled without a reason', ['expel', 'plum-parcel'], /why a carrier was expelled/],
    ['no request', ['certify', 'plum-parcel'], /--request is missing/],
  ] as const) {
    const typed = await type('the-admin', ...args)
    t.equal(typed.code, 64, what)
    t.match(typed.err.join('\n'), err, what)
  }
  const filing = [...apply, '--outlet', 'harbour=Harbour', '--evidence', plan]
  t.match(await type('the-auditor', ...filing), { code: 1, err: [/needs admin or reviewer/] })
  t.match(await type('the-admin', ...filing.slice(0, -1), join(folder, 'absent')), {
    code: 1,
    err: [/cannot be read/],
  })
  t.match(await type('the-reviewer', ...filing), {
    code: 0,
    out: [/is filed. Two operators other than the-reviewer/],
  })
  const [row] = await p.db.selectFrom('applications').selectAll().execute()
  t.same(JSON.parse(row?.evidence ?? ''), [
    { name: 'plan.pdf', sha256: sha256(Buffer.from('the plan')).toString('hex') },
  ])
  const review = ['review', 'plum-parcel', '--verdict', 'approve', '--note', 'plan read']
  t.match(await type('the-reviewer', ...review), { code: 1, err: [/has filed/] })
  t.match(await type('the-admin', ...review), { code: 0, out: [/One more must approve/] })
  t.match(await type('the-admin', 'applications'), {
    out: [/^plum-parcel\tfiled\tfiled by the-reviewer\treviews: the-admin approve/],
  })
  t.match(await type('the-admin', 'admit', 'plum-parcel'), { code: 1, err: [/is filed; 2 operators/] })
  await addSecondReviewer(p)
  t.match(await type('wei.han', ...review), {
    code: 0,
    out: [/is approved. Its sandbox plum-parcel-sandbox is open/],
  })
  t.match(await type('the-admin', 'admit', 'plum-parcel'), {
    code: 1,
    err: [/not proved: yes, no, undecided, audit/],
  })
  t.match(await type('the-admin', 'applications'), { out: [/still to prove: yes, no, undecided, audit/] })
  await changes(p.db, async (tx) => {
    const acts = []
    for (const outcome of outcomes)
      acts.push(
        ...(await proveOutcome(tx, {
          carrier: 'plum-parcel-sandbox',
          outcome,
          evidence: 'x',
          nowMs: startMs,
        })),
      )
    return { result: undefined, acts }
  })
  const terms = ['--quota', '500', '--review', '2027-11-28', '--conditions', 'in uniform only']
  t.match(await type('the-admin', 'admit', 'plum-parcel', ...terms), { code: 0, out: [/is admitted/] })
  t.match(
    (await type('the-admin', 'list')).out.join('\n'),
    /^plum-parcel\tactive\tPlum Parcel\toutlets harbour\tquota 500 a month\treview 2027-11-28$/m,
  )

  const csr = join(folder, 'plum.csr')
  const ec = [
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-sha256',
    '-subj',
    '/CN=plum-parcel',
  ]
  execFileSync('openssl', ['req', '-new', ...ec, '-keyout', join(folder, 'plum.key'), '-out', csr], {
    stdio: 'ignore',
  })
  const certify = ['certify', 'plum-parcel', '--request']
  t.match(await type('the-admin', ...certify, join(folder, 'not.csr')), { code: 1, err: [/Fix:/] })
  t.match(await type('the-admin', 'certify', 'nobody', '--request', csr), { code: 1 })
  const out = join(folder, 'plum.crt')
  t.match(await type('the-admin', ...certify, csr, '--out', out), {
    code: 0,
    out: [/good until 2027-02-22, is in .*plum\.crt/],
  })
  const ca = join(p.certsDir, 'carrier-ca.crt')
  const verified = execFileSync('openssl', ['verify', '-CAfile', ca, '-attime', String(startMs / 1000), out])
  t.match(verified.toString(), /: OK$/m)
  t.match(await type('the-admin', ...certify, csr), {
    code: 0,
    out: [/BEGIN CERTIFICATE/],
    err: [/^Certificate [0-9A-F]+ of/],
  })
  const listed = await type('the-admin', 'certificates', 'plum-parcel')
  t.equal(listed.out.length, 2)
  const serial = listed.out[0]?.split('\t')[0] ?? ''
  const revoke = ['revoke-certificate', serial.toLowerCase(), '--reason', 'key lost']
  t.match(await type('the-admin', ...revoke), {
    code: 0,
    out: [/is revoked. It is on the revocation list too/],
  })
  t.match(await type('the-admin', ...certify, csr), { code: 1, err: [/make a new key/] })
  writeFileSync(join(p.certsDir, 'carrier-ca.crl'), 'no list')
  const [, second = ''] = (await type('the-admin', 'certificates', 'plum-parcel')).out
  const other = ['revoke-certificate', second.split('\t')[0] ?? '', '--reason', 'key lost']
  const unlisted = await type('the-admin', ...other)
  t.equal(unlisted.code, 0, 'in the registry it is revoked, whatever is wrong with the list')
  t.ok(existsSync(out) && readFileSync(out, 'utf8').startsWith('-----BEGIN'))
})

/** The place has one reviewer, who filed. */
async function addSecondReviewer(p: Awaited<ReturnType<typeof makePlace>>): Promise<void> {
  const { secret } = await addOperator(p.db, {
    name: 'wei.han',
    role: 'reviewer',
    by: 'the-admin',
    nowMs: startMs,
  })
  p.secrets['wei.han'] = secret
}

t.test('a canary is printed as its hash, and nothing else of it', async (t) => {
  const p = await makePlace(t, startMs)
  const type = (...args: string[]) => p.type(runCanary, 'the-admin', ...args)
  const { number } = personAt('vouchsafe-test', 7)
  const hash = canaryOf('ID', 'CHN', number)
  t.equal(hash.length, 43)
  t.match(await type(number), { code: 0, out: [hash], err: [] })
  t.match(await type(number.toLowerCase()), { code: 0, out: [hash] })
  t.match(await type('UTO', 'u00000000'), { code: 0, out: [canaryOf('P', 'UTO', 'U00000000')] })
  const last = number.at(-1) === '0' ? '1' : '0'
  for (const args of [[], ['1', '2'], ['D', number], ['123'], [`${number.slice(0, -1)}${last}`]]) {
    const { code, err } = await type(...args)
    t.equal(code, 64, args.join(' '))
    t.notMatch(err.join(), number)
  }
})
