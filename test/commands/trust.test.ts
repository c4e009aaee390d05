// `vouchsafe trust`: what it signs is what gateways take, and what is wrong with a list is said before it is signed.
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { dayMs, manualClock } from '../../src/base/clock.ts'
import { printPem } from '../../src/base/pem.ts'
import { runTrust } from '../../src/commands/trust.ts'
import { keptNameOf } from '../../src/list-places.ts'
import { openTrustList } from '../../src/pki/trust-list.ts'
import { nowMs, worlds } from '../helpers/cards.ts'
import { makeFolder } from '../helpers/folder.ts'

const [world, world2] = worlds
const issuer = {
  ...{ certificate: 'issuer.crt', suite: 1, state: 'CHN', authorities: [], lists: ['card-issuer.crl'] },
}
const issuer2 = {
  ...{ certificate: 'issuer-sm2.der', suite: 2, state: 'CHN', authorities: ['第一虚构市'] },
  lists: ['https://lists.example/sm2.crl'],
}

function setUp(t: Test) {
  const folder = makeFolder()
  t.teardown(folder.remove)
  const at = (...names: string[]) => join(folder.path, ...names)
  for (const name of ['certs', 'data', 'offline']) mkdirSync(at(name))
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  writeFileSync(at('offline', 'card-trust.key'), privateKey.export({ format: 'pem', type: 'pkcs8' }))
  writeFileSync(at('certs', 'card-trust.pub'), publicKey.export({ format: 'pem', type: 'spki' }))
  writeFileSync(at('offline', 'issuer.crt'), printPem('CERTIFICATE', world.issuer.certificateDer))
  writeFileSync(at('offline', 'issuer-sm2.der'), world2.issuer.certificateDer)
  const clock = manualClock(nowMs)
  const list = at('certs', 'card-trust.jwt')
  async function run(...args: string[]) {
    const lines: string[] = []
    const out = (line: string) => lines.push(line)
    const io = { clock, dataDir: at('data'), certsDir: at('certs'), out, err: out }
    const code = await runTrust(args, io)
    return { code, said: lines.join('\n') }
  }
  const sign = (issuers: unknown, ...more: string[]) => {
    const text = typeof issuers === 'string' ? issuers : JSON.stringify(issuers)
    writeFileSync(at('offline', 'issuers.json'), text)
    return run(
      'sign',
      at('offline', 'issuers.json'),
      '--key',
      at('offline', 'card-trust.key'),
      '--out',
      list,
      ...more,
    )
  }
  const read = () => openTrustList(readFileSync(list, 'utf8').trim(), publicKey)
  return { at, run, sign, read, clock, list }
}

t.test('a list is signed, counted on, and its changes are told', async (t) => {
  const { sign, read } = setUp(t)
  const first = await sign([issuer, issuer2])
  t.equal(first.code, 0)
  t.equal(read().seq, Math.floor(nowMs / 1000), 'the first has the time for its number')
  t.equal(read().notAfterMs, nowMs + 90 * dayMs)
  t.same(
    read().issuers.map(({ lists }) => lists),
    [issuer.lists, issuer2.lists],
  )
  t.match(first.said, /1\. O=Vouchsafe development, CN=Test card issuer\n +certificate SHA-256 [0-9a-f]{64}/)
  t.match(first.said, /suite 2 \(SM2\), cards of CHN\n +authorities: 第一虚构市/)
  const second = await sign([issuer2], '--days', '400')
  t.equal(read().seq, Math.floor(nowMs / 1000) + 1)
  t.equal(read().notAfterMs, nowMs + 400 * dayMs)
  t.match(second.said, /Dropped: O=Vouchsafe development, CN=Test card issuer; its cards are refused/)
  t.match((await sign([issuer, issuer2])).said, /New: +O=Vouchsafe development, CN=Test card issuer/)
  t.equal((await sign([issuer], '--seq', '1800000000')).code, 0)
  t.equal(read().seq, 1_800_000_000)
})

t.test('what no gateway would take is not signed', async (t) => {
  const { sign, read, at, run, list } = setUp(t)
  const cases: [name: string, issuers: unknown, more: string[], code: number, says: RegExp][] = [
    ['no JSON', '[', [], 64, /issuers\.json is no JSON array/],
    ['a member twice', '[{"suite":1,"suite":1}]', [], 64, /no JSON array/],
    ['an object', { anchors: [] }, [], 64, /no JSON array/],
    ['nobody', [], [], 1, /anchors is empty/],
    ['no object', ['x'], [], 1, /anchor 1 is no object/],
    ['null', [null], [], 1, /anchor 1 is no object/],
    ['a member missing', [{ ...issuer, lists: undefined }], [], 1, /exactly certificate, suite/],
    ['an unknown member', [{ ...issuer, note: '' }], [], 1, /exactly certificate, suite/],
    ['the wrong suite', [{ ...issuer, suite: 2 }], [], 1, /its key is not SM2/],
    ['a state in lower case', [{ ...issuer, state: 'chn' }], [], 1, /three capital letters/],
    ['no place', [{ ...issuer, lists: [] }], [], 1, /lists of anchor 1/],
    ['the same twice', [issuer, { ...issuer, lists: ['b.crl'] }], [], 1, /once more/],
    ['401 days', [issuer], ['--days', '401'], 64, /--days "401".+1 to 400/],
    ['a number that is none', [issuer], ['--seq', '-1'], 64, /--seq|argument/],
    ['an unknown option', [issuer], ['--force'], 64, /--help/],
  ]
  for (const [name, issuers, more, code, says] of cases) {
    const got = await sign(issuers, ...more)
    t.equal(got.code, code, name)
    t.match(got.said, says, name)
  }
  t.notOk(existsSync(list), 'nothing was written')
  t.equal((await sign([issuer], '--seq', '12')).code, 0)
  const back = await sign([issuer], '--seq', '12')
  t.same([back.code, read().seq], [64, 12])
  t.match(back.said, /--seq 12 is not above 12/)
  const other = generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' })
  writeFileSync(at('offline', 'card-trust.key'), other)
  t.match(await sign([issuer]), { code: 1, said: /not signed by the key/ }, 'the last list is another key’s')
  writeFileSync(
    at('offline', 'card-trust.key'),
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'pem', type: 'pkcs8' }),
  )
  t.match(await sign([issuer]), { code: 64, said: /not an Ed25519 key/ })
  t.equal(read().seq, 12, 'the last one is untouched')
  t.match(await run('sign'), { code: 64, said: /vouchsafe trust sign issuers\.json/ })
  t.match(await run('sing', 'x'), { code: 64 })
  t.match(await run('--help'), { code: 0, said: /vouchsafe trust show/ })
})

t.test('show says what is in a list, until when, and how fresh revocations are', async (t) => {
  const { sign, run, at, clock } = setUp(t)
  await sign([issuer, issuer2])
  const bare = await run('show')
  t.match(bare.said, /ends 2027-02-22 03:00 UTC \(90 days left\)/)
  t.match(bare.said, /Revocations of 1, card-issuer\.crl: .+ is not there/)
  t.match(bare.said, /Revocations of 2, https:.+: not fetched yet/)
  writeFileSync(at('certs', 'card-issuer.crl'), printPem('X509 CRL', world.makeCrl()))
  writeFileSync(at('data', keptNameOf('https://lists.example/sm2.crl')), world.makeCrl())
  const known = await run('show', at('certs', 'card-trust.jwt'), '--pub', at('certs', 'card-trust.pub'))
  t.match(known.said, /card-issuer\.crl: fresh, from 2026-11-23 03:00 UTC until 2026-11-25 03:00 UTC/)
  t.match(known.said, /sm2\.crl: .+signed by none of the card issuers/)
  clock.advance(91 * dayMs)
  t.match(await run('show'), {
    code: 0,
    said: /it has ended: every card gets 503 trust_stale[\s\S]+not fresh/,
  })
  writeFileSync(at('certs', 'card-trust.jwt'), 'x.y.z')
  t.match(await run('show'), { code: 1, said: /Fix: / })
})

t.test('the commands of docs/TRUST.md do what it says', async (t) => {
  const { at } = setUp(t)
  writeFileSync(at('certs', 'card-issuer.crt'), printPem('CERTIFICATE', world.issuer.certificateDer))
  writeFileSync(at('certs', 'card-issuer-sm2.crt'), printPem('CERTIFICATE', world2.issuer.certificateDer))
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const text = readFileSync(join(root, 'docs/TRUST.md'), 'utf8')
  const blocks = [...text.matchAll(/^```sh\n([\s\S]+?)^```$/gm)].map(([, block]) => block)
  t.equal(blocks.length, 4)
  const path = `${dirname(process.execPath)}:${process.env['PATH']}`
  const env = {
    ...process.env,
    PATH: path,
    OFFLINE: at('offline'),
    CERTS: at('certs'),
    VOUCHSAFE_DATA: at('data'),
  }
  const script = `set -euo pipefail\n${blocks.join('\n')}`
  const out = execFileSync('bash', ['-c', script], { cwd: root, env, encoding: 'utf8' })
  t.match(out, /card-trust\.jwt is signed by/)
  t.match(out, /suite 2 \(SM2\), cards of CHN/)
  t.match(out, /Dropped: O=Vouchsafe development, CN=Test card issuer; its cards are refused/)
})
