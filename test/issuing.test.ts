// The revocation list beside the registry: two processes that revoke at once lose nothing, what could not be listed is
// listed by the next, and gateways of another user can read the file.
import { execFileSync, spawn } from 'node:child_process'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { ensureDevPki } from '../certs/generate.ts'
import { dayMs } from '../src/base/clock.ts'
import { decertify } from '../src/issuing.ts'
import { admitCarrier } from '../src/registry/carriers.ts'
import { recordCertificate } from '../src/registry/certificates.ts'
import { openRegistry } from '../src/registry/schema.ts'
import { makeFolder } from './helpers/folder.ts'

const nowMs = Date.now()
const by = { operator: 'lin.qiao', nowMs }
const source = (name: string) => JSON.stringify(fileURLToPath(new URL(`../src/${name}`, import.meta.url)))

async function openTest(t: Test, serials: readonly string[]) {
  const folder = makeFolder()
  const certsDir = folder.path
  await ensureDevPki({ directory: certsDir, nowMs })
  const file = join(certsDir, 'registry.db')
  const db = await openRegistry(file)
  t.teardown(async () => {
    await db.destroy()
    folder.remove()
  })
  await admitCarrier(db, { id: 'swift-crane', name: 'X', outlets: [], ...by })
  for (const [i, serial] of serials.entries()) {
    const kept = { serial, carrier: 'swift-crane', keyHash: Buffer.alloc(32, i), notAfterMs: nowMs + dayMs }
    await recordCertificate(db, { ...kept, ...by })
  }
  const list = join(certsDir, 'carrier-ca.crl')
  const revoke = (serial: string) => decertify(db, { certsDir, serial, reason: 'key lost', ...by })
  return { certsDir, file, db, list, revoke }
}

/** Serials as openssl reads them from the list, which it checks against its CA. */
function listed(certsDir: string): string[] {
  const [list, ca] = [join(certsDir, 'carrier-ca.crl'), join(certsDir, 'carrier-ca.crt')]
  const text = execFileSync('openssl', ['crl', '-in', list, '-CAfile', ca, '-noout', '-text'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  return [...text.matchAll(/Serial Number: ([0-9A-F]+)/g)].map((match) => match[1] as string).sort()
}

const serials = Array.from({ length: 40 }, (_, i) => (0x10a0 + i).toString(16).toUpperCase())

t.test('two processes that revoke forty certificates at once put all forty on the list', async (t) => {
  const { certsDir, file } = await openTest(t, serials)
  const startMs = Date.now() + 1500
  const revokeIn = (some: readonly string[]) => {
    const lines = `
      import { decertify } from ${source('issuing.ts')}
      import { openRegistry } from ${source('registry/schema.ts')}
      process.umask(0o077)
      const db = await openRegistry(${JSON.stringify(file)})
      await new Promise((go) => setTimeout(go, Math.max(0, ${startMs} - Date.now())))
      const given = { certsDir: ${JSON.stringify(certsDir)}, reason: 'x', operator: 'lin.qiao', nowMs: ${nowMs} }
      const said = []
      for (const serial of ${JSON.stringify(some)}) {
        const { listed, unlisted } = await decertify(db, { ...given, serial })
        said.push(unlisted ?? listed)
      }
      console.log(JSON.stringify(said))
      await db.destroy()`
    const child = spawn(process.execPath, ['--input-type=module', '-e', lines], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let out = ''
    child.stdout.on('data', (chunk) => {
      out += chunk
    })
    return new Promise<unknown>((resolve) => child.once('close', () => resolve(JSON.parse(out || 'null'))))
  }
  const said = await Promise.all([revokeIn(serials.slice(0, 20)), revokeIn(serials.slice(20))])
  t.same(said, Array(2).fill(Array(20).fill(true)), 'each was told that its serial is listed')
  t.same(listed(certsDir), serials)
  t.equal(statSync(join(certsDir, 'carrier-ca.crl')).mode & 0o777, 0o644, 'whatever the umask')
  t.same(
    readdirSync(certsDir).filter((name) => name.includes('.tmp') || name.endsWith('.next')),
    [],
  )
})

t.test(
  'a serial that could not be listed is told of, and listed by the next revocation or by its own again',
  async (t) => {
    const { certsDir, list, revoke } = await openTest(t, ['10A0', '10A1'])
    const good = readFileSync(list)
    writeFileSync(list, 'no list')
    t.match(await revoke('10A0'), { listed: false, unlisted: /\S/ })
    await t.rejects(revoke('10A0'), {
      reason: 'certificate already revoked',
      message: /not on the revocation list/,
    })
    writeFileSync(list, good)
    t.match(await revoke('10A1'), { listed: true })
    t.same(listed(certsDir), ['10A0', '10A1'])
    writeFileSync(list, good)
    await t.rejects(revoke('10A0'), {
      name: 'RegistryError',
      reason: 'certificate already revoked',
      message: /on the revocation list/,
    })
    t.same(listed(certsDir), ['10A0', '10A1'])
  },
)

t.test('who renews the PKI holds the same lock: a revocation waits for its end', async (t) => {
  const { certsDir, revoke } = await openTest(t, ['10A0'])
  const lock = new DatabaseSync(join(certsDir, '.lock'))
  lock.exec('begin exclusive')
  let done = false
  const revoked = revoke('10A0').finally(() => {
    done = true
  })
  await sleep(600)
  t.notOk(done)
  t.same(listed(certsDir), [])
  lock.close()
  t.match(await revoked, { listed: true })
  t.same(listed(certsDir), ['10A0'])
})

t.test('without the key of the CA the registry alone is changed, and the answer says so', async (t) => {
  const { db, certsDir } = await openTest(t, ['10A0'])
  const elsewhere = makeFolder()
  t.teardown(() => elsewhere.remove())
  const given = { certsDir: elsewhere.path, serial: '10A0', reason: 'key lost', ...by }
  t.match(await decertify(db, given), { carrier: 'swift-crane', listed: false, unlisted: undefined })
  t.same(readdirSync(elsewhere.path), [])
  t.same(listed(certsDir), [])
  await t.rejects(decertify(db, given), { message: /^Certificate 10A0 is revoked already\.$/ })
})
