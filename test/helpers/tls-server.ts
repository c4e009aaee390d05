// An HTTPS server of a few lines, as a process of its own.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'

const server = `
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
const [, , key, cert, greetingMs] = process.argv
const app = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (request, response) => {
  request.resume().on('end', () => response.writeHead(200, { 'content-length': 2 }).end('{}'))
})
app.on('secureConnection', () => {
  const used = () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1000
  }
  for (const before = used(); used() - before < Number(greetingMs); );
})
app.listen(0, '127.0.0.1', () => console.log(app.address().port))
process.stdin.resume().on('end', () => process.exit())
`

/**
 * Answers each POST with {} and ends with the test. `certsDir` has the certificate to be trusted, gateway-ca.crt.
 * @param options.greetingMs of its processor, that each new connection takes
 */
export async function startTlsServer(t: Test, { greetingMs = 0 } = {}) {
  const certsDir = t.testdir({ 'server.mjs': server })
  const at = (name: string) => join(certsDir, name)
  const [script, key, cert] = [at('server.mjs'), at('server.key'), at('gateway-ca.crt')]
  const pair = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-keyout', key]
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-days', '2']
  execFileSync('openssl', ['req', '-x509', ...pair, ...names, '-out', cert], { stdio: 'ignore' })
  const child = spawn(process.execPath, [script, key, cert, String(greetingMs)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const [port] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  return { child, url: `https://localhost:${port}`, certsDir, ca: readFileSync(cert) }
}
