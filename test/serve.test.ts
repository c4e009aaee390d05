// `vouchsafe serve` as a person runs it: what the first start says, what a second one does not, how it ends.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createPublicKey, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { cpSync, existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { Agent, get } from 'node:https'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { printVkey } from '../src/base/vkey.ts'

import { makeFolder } from './helpers/folder.ts'

const launch = fileURLToPath(new URL('../src/launch.js', import.meta.url))
const readyMsMax = 10_000
const closeMsMax = 3000
const linesOf = (text: string) => text.split('\n').filter((line) => line !== '')

type Folders = { dataDir: string; certsDir: string }
type Changes = Record<string, string | undefined>

const fresh = (t: Test): Folders => {
  const root = t.testdir()
  return { dataDir: join(root, 'data'), certsDir: join(root, 'certs') }
}

const pki = makeFolder()
t.teardown(() => pki.remove())

/** As `fresh`, with the keys of the first test: making them takes most of a start. */
const withPki = (t: Test): Folders => {
  const folders = fresh(t)
  cpSync(pki.path, folders.certsDir, { recursive: true, preserveTimestamps: true })
  return folders
}

/** Only what is set here: a developer's own settings are not part of the test. */
function environment({ dataDir, certsDir }: Folders, changes: Changes): NodeJS.ProcessEnv {
  const ports = { DEVICE_PORT: '0', CARRIER_PORT: '0', OPERATOR_PORT: '0' }
  const { PATH, HOME } = process.env
  return {
    PATH,
    HOME,
    VOUCHSAFE_DATA: dataDir,
    VOUCHSAFE_CERTS: certsDir,
    ...ports,
    LOG_LEVEL: 'warn',
    ...changes,
  }
}

function serve(t: Test, folders: Folders, changes: Changes = {}) {
  const begun = performance.now()
  const env = environment(folders, changes)
  const child: ChildProcess = spawn(process.execPath, [launch, 'serve'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env,
  })
  const closed = once(child, 'close').then(([code, signal]) => ({ code, signal }) as Ended)
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await closed
  })
  const printed = { out: '', err: '' }
  const { promise: ready, resolve, reject } = Promise.withResolvers<number>()
  child.stdout?.on('data', (chunk) => {
    printed.out += String(chunk)
    // The last line of the block: what is before it is all there.
    if (/--gateway https:\S+\n/.test(printed.out)) resolve(performance.now() - begun)
  })
  child.stderr?.on('data', (chunk) => {
    printed.err += String(chunk)
  })
  closed.then(() => reject(new Error(`It ended:\n${printed.out}${printed.err}`)))
  ready.catch(() => {}) // A test that waits for the end and not for this is not disturbed.
  const find = (pattern: RegExp) => pattern.exec(printed.out)?.[1] ?? ''
  return { child, closed, ready, printed, find }
}
type Ended = { code: number | null; signal: string | null }
type Served = ReturnType<typeof serve>

const secretPattern = /operator\s+founder, secret (\S+)/
const listenerOf = ({ find }: Served, name: string) => find(new RegExp(`${name} listener\\s+(https?://\\S+)`))

async function end({ child, closed }: Served, signal: NodeJS.Signals = 'SIGTERM') {
  const begun = performance.now()
  child.kill(signal)
  return { ...(await closed), ms: performance.now() - begun }
}

async function metricsAs(served: Served, secret: string): Promise<number> {
  const authorization = `Basic ${Buffer.from(`founder:${secret}`).toString('base64')}`
  const reply = await fetch(`${listenerOf(served, 'operator')}/metrics`, { headers: { authorization } })
  await reply.text()
  return reply.status
}

t.test('the first start says all that is needed, and each word of it is true', async (t) => {
  const folders = fresh(t)
  const served = serve(t, folders)
  await served.ready
  const { printed, find } = served
  t.match(printed.out, /^vouchsafe is ready$/m)
  t.equal(printed.err, '', 'and nothing on the other stream')

  const caFile = join(folders.certsDir, 'gateway-ca.crt')
  t.equal(find(/gateway CA\s+(\S+)/), caFile)
  const ca = readFileSync(caFile)
  t.equal(find(/SHA-256 (\S+)/), new X509Certificate(ca).fingerprint256)
  const [device, carrier, operator] = ['device', 'carrier', 'operator'].map((name) =>
    listenerOf(served, name),
  )
  const over = { ca, servername: 'localhost', agent: false } as const
  const statusOf = (url: string, tls: object) =>
    new Promise<number>((resolve, reject) => {
      get(url, { ...over, ...tls }, (reply) => resolve(reply.resume().statusCode ?? 0)).on('error', reject)
    })
  t.equal(await statusOf(`${device}/v1/directory`, {}), 200, 'the device listener, by that CA')
  const file = (name: string) => readFileSync(join(folders.certsDir, name))
  const own = { cert: file('carrier-swift-crane.crt'), key: file('carrier-swift-crane.key') }
  t.equal(await statusOf(`${carrier}/v1/carrier`, own), 200, 'the carrier listener')
  t.equal((await fetch(`${operator}/health/ready`)).status, 200, 'the operator listener')

  t.match(printed.out, /^\s+bureau\s+https:\S+ \(mocked, started beside the gateway\)$/m)
  t.match(printed.out, /^\s+store\s+embedded, in memory$/m)
  t.match(find(/databases\s+(\S+)/), folders.dataDir)
  const databases = ['registry.db', 'ledger.db', 'keyring.db']
  for (const name of databases) {
    t.ok(printed.out.includes(name.split('.')[0] as string), `${name} is named`)
    t.ok(existsSync(join(folders.dataDir, name)), 'and there')
  }
  t.equal(find(/^\s+keys\s+(\S+)/m), folders.certsDir)
  t.ok(existsSync(join(folders.certsDir, 'kek-1.key')))
  cpSync(folders.certsDir, pki.path, { recursive: true, preserveTimestamps: true })
  const ledgerKey = createPublicKey(readFileSync(join(folders.certsDir, 'ledger.pub')))
  t.equal(
    find(/^\s+ledger key\s+(\S+)$/m),
    printVkey('localhost', ledgerKey),
    'what receipts are checked with',
  )
  t.equal((await end(served)).code, 0)
})

t.test('the first operator’s secret is shown once, works, and is kept nowhere', async (t) => {
  const folders = withPki(t)
  const first = serve(t, folders)
  await first.ready
  const secret = first.find(secretPattern)
  t.match(secret, /^[\w-]{43}$/)
  t.equal((first.printed.out + first.printed.err).split(secret).length - 1, 1)
  t.match(first.printed.out, /shown this once; only its hash is kept/i)
  t.equal(await metricsAs(first, secret), 200)
  t.equal(await metricsAs(first, secret.slice(0, -1)), 401)
  t.equal((await end(first)).code, 0)

  for (const directory of [folders.dataDir, folders.certsDir]) {
    for (const name of readdirSync(directory)) {
      t.notOk(readFileSync(join(directory, name)).includes(secret), name)
    }
  }
  t.equal(statSync(folders.dataDir).mode & 0o777, 0o700)

  const second = serve(t, folders)
  const ms = await second.ready
  t.ok(ms < readyMsMax, `ready after ${Math.round(ms)} ms`)
  t.match(second.printed.out, /^vouchsafe is ready$/m)
  t.notMatch(second.printed.out + second.printed.err, /operator founder|, secret /i)
  t.notMatch(second.printed.out, /private key|kek-1\.key/, 'and nothing is made again')
  t.equal(await metricsAs(second, secret), 200, 'the first one still works')
  t.equal((await end(second)).code, 0)
})

t.test('the command that it says to copy asks it, and the card answers yes', async (t) => {
  const folders = withPki(t)
  const served = serve(t, folders)
  await served.ready
  const command = served.find(/^\s+(npm run -s demo -- .*)$/m)
  t.match(command, new RegExp(`--gateway https://localhost:${new URL(listenerOf(served, 'device')).port}$`))
  const args = command.slice(command.indexOf('-- ') + 3).split(' ')
  const run = promisify(execFile)(process.execPath, [launch, 'demo', ...args], {
    env: environment(folders, {}),
  })
  t.match((await run).stdout, /\byes\b/)
  t.equal((await end(served)).code, 0)
})

t.test('wrong settings are told all at once, with what to set, and nothing is made', async (t) => {
  const folders = fresh(t)
  const { closed, printed } = serve(t, folders, {
    VOUCHSAFE_MODE: 'testing',
    DEVICE_PORT: '99999',
    CARRIER_PORT: '-1',
    LOG_LEVEL: 'loud',
    REDIS_URL: 'http://me:hunter2@localhost',
    BUREAU_URL: 'http://localhost',
    BUREAU_DEADLINE_MS: '9999',
    MIN_FIRMWARE: 'new',
  })
  t.same(await closed, { code: 78, signal: null })
  t.equal(printed.out, '')
  const [head, ...faults] = linesOf(printed.err)
  t.match(head, /8 faults/)
  const names = faults.map((line) => /^ {2}([A-Z_]+) = /.exec(line)?.[1])
  t.same(names.sort(), [
    'BUREAU_DEADLINE_MS',
    'BUREAU_URL',
    'CARRIER_PORT',
    'DEVICE_PORT',
    'LOG_LEVEL',
    'MIN_FIRMWARE',
    'REDIS_URL',
    'VOUCHSAFE_MODE',
  ])
  for (const line of faults) t.match(line, /is not accepted\. Fix: set it to /)
  t.match(printed.err, /DEVICE_PORT = "99999" \(from the environment\)/)
  t.notMatch(printed.err, /hunter2|\n\s+at /, 'neither a password nor a stack')
  t.notOk(existsSync(folders.dataDir))
  t.notOk(existsSync(folders.certsDir))
})

t.test('in production nothing is made, and what is missing is told at once', async (t) => {
  const folders = fresh(t)
  const bare = serve(t, folders, { VOUCHSAFE_MODE: 'production' })
  t.same(await bare.closed, { code: 78, signal: null })
  t.match(bare.printed.err, /2 faults/)
  t.match(bare.printed.err, /REDIS_URL is empty/)
  t.match(bare.printed.err, /BUREAU_URL is empty/)
  const set = { REDIS_URL: 'redis://localhost:1', BUREAU_URL: 'https://localhost:1' }
  const lacking = serve(t, folders, { VOUCHSAFE_MODE: 'production', ...set })
  t.same(await lacking.closed, { code: 78, signal: null })
  for (const name of ['gateway.key', 'carrier-ca.crl', 'kek-1.key', 'directory.jwt']) {
    t.match(lacking.printed.err, new RegExp(`${name.replace('.', '\\.')}.*Fix: `), name)
  }
  t.equal(bare.printed.out + lacking.printed.out, '')
  t.notOk(existsSync(folders.dataDir))
})

t.test('a data folder that cannot be made is a fault of the configuration', async (t) => {
  const { certsDir } = fresh(t)
  // A file where the folder should be: it holds for root too.
  const dataDir = join(launch, 'data')
  const refused = serve(t, { dataDir, certsDir })
  t.same(await refused.closed, { code: 78, signal: null })
  t.match(
    refused.printed.err,
    /VOUCHSAFE_DATA: \S+launch\.js\/data cannot be made or written \(ENOTDIR\)\. Fix: /,
  )
})

t.test('if the port is in use the first start fails, but the secret was shown all the same', async (t) => {
  const folders = withPki(t)
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as AddressInfo
  const failed = serve(t, folders, { CARRIER_PORT: String(port) })
  t.same(await failed.closed, { code: 1, signal: null })
  t.match(failed.printed.err, new RegExp(`\\b${port}\\b`), 'it says which port')
  t.notMatch(failed.printed.err, /\n\s+at /)
  t.notMatch(failed.printed.out, /is ready/)
  const secret = failed.find(secretPattern)
  t.match(secret, /^[\w-]{43}$/)
  taken.close()
  await once(taken, 'close')
  const next = serve(t, folders, { CARRIER_PORT: String(port) })
  await next.ready
  t.equal(new URL(listenerOf(next, 'carrier')).port, String(port))
  t.notMatch(next.printed.out, /operator founder|, secret /i)
  t.equal(await metricsAs(next, secret), 200)
  t.equal((await end(next)).code, 0)
})

const isOpen = (url: string) =>
  new Promise<boolean>((resolve) => {
    const { hostname, port } = new URL(url)
    const socket = connect({ host: hostname, port: Number(port) })
    socket.on('connect', () => resolve(socket.destroy().destroyed))
    socket.on('error', () => resolve(false))
  })

t.test('a signal ends it with code 0 in time, with its listeners and the bureau beside it', async (t) => {
  const folders = withPki(t)
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const served = serve(t, folders)
    await served.ready
    const bureau = served.find(/bureau\s+(https:\S+)/)
    const urls = [bureau, ...['device', 'carrier', 'operator'].map((name) => listenerOf(served, name))]
    for (const url of urls) t.equal(await isOpen(url), true, url)
    const { code, signal: killedBy, ms } = await end(served, signal)
    t.same([code, killedBy], [0, null], signal)
    t.ok(ms < closeMsMax, `after ${Math.round(ms)} ms`)
    for (const url of urls) t.equal(await isOpen(url), false, `${url} is closed`)
    t.notMatch(served.printed.err, /\S/)
  }
})

t.test('connections that are idle, silent or half way through a request do not hold it up', async (t) => {
  const folders = withPki(t)
  const kinds: [what: string, open: (t: Test, url: URL, ca: Buffer) => Promise<unknown>][] = [
    ['kept alive after a request', keepAlive],
    ['TCP and nothing more', async (t, url) => once(toPort(t, url), 'connect')],
    ['TLS and nothing more', async (t, url, ca) => once(toTls(t, url, ca), 'secureConnect')],
    ['half a request', sendHalf],
  ]
  const served = serve(t, folders)
  await served.ready
  const ca = readFileSync(join(folders.certsDir, 'gateway-ca.crt'))
  for (const [what, open] of kinds) {
    await open(t, new URL(listenerOf(served, 'device')), ca)
    t.comment(`open: ${what}`)
  }
  await new Promise((resolve) => setTimeout(resolve, 100)) // For what was sent to arrive.
  const { code, ms } = await end(served)
  t.equal(code, 0)
  t.ok(ms < closeMsMax, `after ${Math.round(ms)} ms`)
})

function keepAlive(t: Test, { port }: URL, ca: Buffer): Promise<void> {
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => agent.destroy())
  return new Promise((resolve, reject) => {
    const asked = { ca, agent, host: 'localhost', port, path: '/v1/directory' }
    get(asked, (reply) => reply.resume().on('end', resolve)).on('error', reject)
  })
}

function toPort(t: Test, { port }: URL) {
  const socket = connect({ host: 'localhost', port: Number(port) }).on('error', () => {})
  t.teardown(() => socket.destroy())
  return socket
}

function toTls(t: Test, { port }: URL, ca: Buffer) {
  const socket = connectTls({ host: 'localhost', servername: 'localhost', port: Number(port), ca })
  t.teardown(() => socket.destroy())
  return socket.on('error', () => {}) // The gateway may cut it off.
}

async function sendHalf(t: Test, url: URL, ca: Buffer): Promise<void> {
  const socket = toTls(t, url, ca)
  await once(socket, 'secureConnect')
  const head = 'POST /v1/verify HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n'
  socket.write(`${head}content-length: 100\r\n\r\n{`)
}
