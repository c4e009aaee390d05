// A followed list: newer ones are taken and told of, older and foreign ones are not, and its PEM is one that TLS reads.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import t, { type Test } from 'tap'
import { readPem } from '../src/base/pem.ts'
import { loadAnchors } from '../src/pki/anchors.ts'
import { followRevocations } from '../src/revocation-list.ts'
import { sleep, until } from './helpers/carrier-calls.ts'
import { TestCa } from './helpers/certificates.ts'
import { makeFolder } from './helpers/folder.ts'

function follow(t: Test) {
  const folder = makeFolder()
  const ca = TestCa.make(folder.path, { subject: '/CN=Test carriers' })
  const [caFile, file] = [join(folder.path, 'ca.crt'), join(folder.path, 'ca.crl')]
  writeFileSync(caFile, ca.cert)
  const put = (pem: string) => writeFileSync(file, pem)
  const nowMs = Date.now()
  put(ca.list([], { fromMs: nowMs - 60_000 }))
  const said: string[] = []
  const log = { error: (fields: unknown, message?: string) => said.push(message ?? String(fields)) }
  const list = followRevocations({ file, anchors: loadAnchors([readPem(caFile)]), log })
  let told = 0
  list.onChange(() => told++)
  t.teardown(() => {
    list.close()
    folder.remove()
  })
  return { ca, file, put, list, said, told: () => told, nowMs, root: folder.path }
}

t.test('a newer list is taken and told of once', async (t) => {
  const { put, ca, list, told, file, said, nowMs } = follow(t)
  put(ca.list([ca.issue()], { fromMs: nowMs - 30_000 }))
  await until(t, () => told() === 1, 'told')
  t.equal(list.current().thisUpdateMs, Math.floor((nowMs - 30_000) / 1000) * 1000)
  put(list.pem())
  await sleep(1200)
  t.equal(told(), 1, 'the same again is no news')
  t.same(readPem(file), Buffer.from(list.pem().split('\n').slice(1, -2).join(''), 'base64'))
  t.same(said, [])
})

t.test('what is older, foreign or no list is told of, and the one in use stays', async (t) => {
  const { put, ca, list, told, said, nowMs, root } = follow(t)
  const { thisUpdateMs } = list.current()
  const bad = [
    ca.list([], { fromMs: nowMs - 120_000 }),
    TestCa.make(root, { subject: '/CN=Test carriers' }).list([]),
    'nothing',
    '',
  ]
  for (const [i, pem] of bad.entries()) {
    put(pem)
    await until(t, () => said.length === i + 1, `bad list ${i}`)
  }
  t.equal(told(), 0)
  t.equal(list.current().thisUpdateMs, thisUpdateMs)
  put(ca.list([]))
  await until(t, () => told() === 1, 'a good one is taken after them')
})

t.test('a listener that fails keeps the news from nobody else', async (t) => {
  const { put, ca, list, said } = follow(t)
  const heard: string[] = []
  list.onChange(() => {
    throw new Error('not now')
  })
  list.onChange(() => heard.push('second'))
  const stop = list.onChange(() => heard.push('third'))
  stop()
  put(ca.list([]))
  await until(t, () => heard.length > 0, 'told')
  t.same(heard, ['second'])
  t.same(said, ['revocation list not followed'])
})

t.test('its PEM is read by TLS, whatever its length', async (t) => {
  const { put, ca, list, told, nowMs } = follow(t)
  const revoked = [ca.issue(), ca.issue(), ca.issue()]
  const root = makeFolder()
  t.teardown(root.remove)
  t.ok(createSecureContext({ crl: list.pem() }))
  put(ca.list(revoked, { fromMs: nowMs }))
  await until(t, () => told() === 1, 'taken')
  t.ok(createSecureContext({ crl: list.pem() }))
  // A common name that makes the DER a multiple of 48, one line of PEM, but for its signature, which has 70 to 72 bytes.
  let [chars, missing] = [1, 48]
  for (let i = 0; missing > 0 && i < 60; i++) {
    const other = TestCa.make(root.path, { subject: `/CN=${'x'.repeat(chars)}` })
    const file = join(root.path, `${i}.crl`)
    writeFileSync(file, other.list([]))
    writeFileSync(`${file}.ca`, other.cert)
    const one = followRevocations({
      file,
      anchors: loadAnchors([readPem(`${file}.ca`)]),
      log: { error() {} },
    })
    if (!createSecureContext({ crl: one.pem() })) t.fail('not read')
    one.close()
    missing = (48 - (readPem(file).length % 48)) % 48
    chars = chars + missing > 60 ? chars + missing - 48 : chars + missing
  }
  t.equal(missing, 0, 'one that fills its last line among them')
})
