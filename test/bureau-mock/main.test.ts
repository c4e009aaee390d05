// The mock as a process: it says where it listens, lets in only clients of its CA, and ends with its parent.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { ensureDevPki } from '../../certs/generate.ts'
import { systemClock } from '../../src/base/clock.ts'

const certs = mkdtempSync(join(tmpdir(), 'vouchsafe-bureau-'))
await ensureDevPki({ directory: certs, nowMs: systemClock.now() })
t.teardown(() => rmSync(certs, { recursive: true, force: true }))
const file = (name: string) => readFileSync(join(certs, name))
const main = fileURLToPath(new URL('../../src/bureau-mock/main.ts', import.meta.url))

type Started = { child: ChildProcess; ended: Promise<number | null>; url: string; errors(): string }

async function start(t: Test, args: string[], stdin: 'pipe' | 'ignore' | 'ipc' = 'pipe'): Promise<Started> {
  const stdio =
    stdin === 'ipc' ? (['ignore', 'pipe', 'pipe', 'ipc'] as const) : ([stdin, 'pipe', 'pipe'] as const)
  const child = spawn(process.execPath, [main, ...args], { stdio: [...stdio] })
  const ended = once(child, 'exit').then(([code]) => code as number | null)
  t.teardown(async () => {
    if (child.exitCode === null) child.kill('SIGTERM')
    await ended
  })
  let errors = ''
  child.stderr?.on('data', (chunk) => (errors += chunk))
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
  const line = await Promise.race([once(lines, 'line').then(([text]) => String(text)), ended.then(() => '')])
  const url = /^bureau listening on (https:\/\/127\.0\.0\.1:\d+)$/.exec(line)?.[1] ?? ''
  return { child, ended, url, errors: () => errors }
}

function get(url: string, tls: object): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { ca: file('bureau-ca.crt'), agent: false, ...tls }, (response) => {
      response.resume()
      resolve(response.statusCode as number)
    })
    sent.on('error', reject).end()
  })
}
const client = { cert: file('bureau-client.crt'), key: file('bureau-client.key') }

t.test('it prints one line when it is ready, and only our certificate opens it', async (t) => {
  const { child, ended, url } = await start(t, ['--certs', certs, '--seed', 'x', '--port', '0'])
  t.match(url, /^https:/)
  t.equal(await get(`${url}/v1/changes`, client), 200)
  await t.rejects(get(`${url}/v1/changes`, {}), 'without a certificate')
  child.kill('SIGTERM')
  t.equal(await ended, 0)
})

t.test('it ends when the pipe from its parent closes', async (t) => {
  const { child, ended, url } = await start(t, ['--certs', certs])
  t.match(url, /^https:/)
  child.stdin?.end()
  t.equal(await ended, 0)
})

t.test('it ends when the channel to its parent closes, and hung connections do not keep it', async (t) => {
  const { child, ended, url } = await start(t, ['--certs', certs], 'ipc')
  const body = JSON.stringify({ silent: true })
  const headers = { 'content-type': 'application/json' }
  await new Promise<void>((resolve, reject) => {
    const tls = { ca: file('bureau-ca.crt'), agent: false, ...client } as const
    request(`${url}/faults`, { method: 'POST', headers, ...tls }, (response) =>
      response.resume().on('end', resolve),
    )
      .on('error', reject)
      .end(body)
  })
  const hung = t.rejects(get(`${url}/v1/changes`, client))
  await new Promise((resolve) => setTimeout(resolve, 100))
  child.disconnect()
  t.equal(await ended, 0)
  await hung
})

t.test('without a parent’s pipe, as a service has none, it stays', async (t) => {
  const { child, ended, url } = await start(t, ['--certs', certs], 'ignore')
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.equal(await get(`${url}/v1/changes`, client), 200)
  child.kill('SIGINT')
  t.equal(await ended, 0)
})

t.test('what a person can mend is told in words, without a stack', async (t) => {
  const cases: [string, string[], RegExp][] = [
    [
      'no certificates',
      ['--certs', '/nowhere'],
      /\/nowhere\/bureau-server\.key cannot be read \(ENOENT\)\. Fix: /,
    ],
    ['a port that is none', ['--certs', certs, '--port', '99999'], /--port 99999 is none/],
    ['an unknown option', ['--people', '5'], /--people/],
    ['a foreign host', ['--certs', certs, '--host', '192.0.2.1'], /192\.0\.2\.1:0 cannot be listened on/],
  ]
  await Promise.all(
    cases.map(async ([what, args, told]) => {
      const { ended, errors, url } = await start(t, args)
      t.equal(await ended, 1, what)
      t.equal(url, '')
      t.match(errors(), told)
      t.notMatch(errors(), /\n\s+at /)
    }),
  )
})
