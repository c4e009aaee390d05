// The gateway's own pair: a good new one is taken, a bad one is told of once and the old one stays.
import { X509Certificate } from 'node:crypto'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { dayMs, hourMs, systemClock } from '../src/base/clock.ts'
import { followPair, type PairFault } from '../src/listener-tls.ts'
import { sleep, until } from './helpers/carrier-calls.ts'
import { keyOf, type Name, type Pem, TestCa, type Wish } from './helpers/certificates.ts'
import { makeFolder } from './helpers/folder.ts'

const local: Name[] = [
  ['dns', 'localhost'],
  ['ip', Buffer.of(127, 0, 0, 1)],
]

function start(t: Test, wish: Wish = {}) {
  const folder = makeFolder()
  const ca = TestCa.make(folder.path, { subject: '/CN=Gateway CA' })
  const server = (wish: Wish = {}) =>
    ca.issue({ names: local, ...wish, extensions: { extendedKeyUsage: 'serverAuth', ...wish.extensions } })
  const putCert = ({ cert }: Pem) => writeFileSync(join(folder.path, 'gateway.crt'), cert)
  const putKey = ({ key }: Pem) => writeFileSync(join(folder.path, 'gateway.key'), key)
  const put = (pem: Pem) => {
    putKey(pem)
    putCert(pem)
  }
  const first = server(wish)
  put(first)
  const said: { reason?: string; serial?: string }[] = []
  const tell = (fields: unknown) => said.push(fields as { reason?: string })
  const follow = () =>
    followPair({ directory: folder.path, clock: systemClock, log: { info: tell, error: tell } })
  t.teardown(folder.remove)
  return { folder: folder.path, ca, server, put, putCert, putKey, first, said, follow }
}
const serialOf = ({ cert }: Pick<Pem, 'cert'> | { cert: Buffer }) => new X509Certificate(cert).serialNumber

t.test('a new pair is taken, told of, and its end is known', async (t) => {
  const { server, put, first, said, follow } = start(t)
  const pair = follow()
  t.teardown(pair.close)
  let told = 0
  pair.onChange(() => told++)
  t.equal(serialOf(pair.current()), serialOf(first))
  for (const next of [
    server({ toMs: Date.now() + 90 * dayMs }),
    server({ key: 'P-384' }),
    server({ key: 'P-384', names: [...local, ['dns', 'verify.example']] }),
  ]) {
    const before = told
    put(next)
    await until(t, () => told === before + 1, 'taken')
    t.equal(serialOf(pair.current()), serialOf(next))
    t.equal(pair.notAfterMs(), new X509Certificate(next.cert).validToDate.getTime())
    t.equal(said.at(-1)?.serial, serialOf(next))
  }
  t.notMatch(JSON.stringify(said), /PRIVATE|localhost/)
})

t.test('a bad pair is told of once, with what to do, and the old one stays', async (t) => {
  const { ca, server, put, putKey, first, said, follow } = start(t)
  const pair = follow()
  t.teardown(pair.close)
  pair.onChange(() => t.fail('a bad pair was taken'))
  const now = Date.now()
  const table: [fault: PairFault, pem: Pem][] = [
    ['key_of_another', { ...server(), key: keyOf('P-384') }],
    ['not_yet_valid', server({ fromMs: now + hourMs })],
    ['ended', server({ fromMs: now - dayMs, toMs: now - hourMs })],
    ['not_for_servers', server({ extensions: { extendedKeyUsage: 'clientAuth' } })],
    ['weaker', server({ key: 'RSA-2048' })],
    ['not_accepted', server({ key: 'RSA-1024' })],
    ['weaker', server({ hash: 'sha1' })],
    ['names_lost', server({ names: [['dns', 'localhost']] })],
    ['names_lost', ca.issue({ names: 'none', extensions: { extendedKeyUsage: 'serverAuth' } })],
    ['unreadable', { ...server(), key: 'nothing' }],
    ['unreadable', { ...server(), cert: '' }],
  ]
  for (const [i, [fault, pem]] of table.entries()) {
    // In between the one in use comes back: the same fault twice is told twice.
    put(first)
    await sleep(600)
    put(pem)
    await until(t, () => said.length === i + 1, `${fault} is told`, 4000)
    t.equal(said.at(-1)?.reason, fault)
    t.same(Object.keys(said.at(-1) ?? {}), ['reason', 'says'])
    t.equal(serialOf(pair.current()), serialOf(first), 'the old one stays')
  }
  putKey(first)
  await sleep(1500)
  t.equal(said.length, table.length, 'and only once')
  t.notMatch(JSON.stringify(said), /PRIVATE KEY/)
})

t.test('two files are written one after the other: what lies between is no fault', async (t) => {
  const { server, putKey, putCert, said, follow, folder } = start(t)
  const pair = follow()
  t.teardown(pair.close)
  let told = 0
  pair.onChange(() => told++)
  const next = server({ key: 'P-384' })
  putKey(next)
  await sleep(700)
  putCert(next)
  await until(t, () => told === 1, 'taken')
  t.same(
    said.map(({ reason }) => reason),
    [undefined],
    'no fault was told',
  )
  rmSync(join(folder, 'gateway.crt'))
  await until(t, () => said.length === 2, 'a file that is taken away is told of', 4000)
  t.match(said.at(-1), { reason: 'unreadable' })
  t.equal(serialOf(pair.current()), serialOf(next))
})

t.test('a start without a pair says which fault and what to do', async (t) => {
  const { server, put, putKey, follow, folder } = start(t)
  putKey({ cert: '', key: keyOf('P-384') })
  t.throws(follow, { message: /gateway\.key is not the key of gateway\.crt\. Fix: / })
  rmSync(join(folder, 'gateway.key'))
  t.throws(follow, { message: /is no PEM certificate or key\. Fix: / })
  put(server({ key: 'RSA-1024' }))
  t.throws(follow, { message: /OpenSSL does not take gateway\.crt/ })
  put(server({ fromMs: Date.now() - dayMs, toMs: Date.now() - hourMs }))
  const pair = follow()
  t.ok(pair.notAfterMs() < Date.now(), 'one that has ended is taken: its warnings say so')
  pair.close()
})

t.test('a listener that fails keeps the new pair from nobody else', async (t) => {
  const { server, put, follow, said } = start(t)
  const pair = follow()
  t.teardown(pair.close)
  const heard: string[] = []
  pair.onChange(() => {
    throw new Error('not now')
  })
  pair.onChange(() => heard.push('second'))
  pair.onChange(() => heard.push('third'))()
  put(server())
  await until(t, () => heard.length > 0, 'told')
  t.same(heard, ['second'])
  t.equal(said.length, 2)
})
