// The simulated SAM service as a process of its own, its knobs, and a handheld that reads cards through it.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { createKnobs } from '../../src/simulator/knobs.ts'

const main = fileURLToPath(new URL('../../src/sam-mock/main.ts', import.meta.url))

/** Client certificates of the SAM CA, of the development PKI in a folder. */
export const samTls = (certsDir: string, name: 'sam-client' | 'sam-reader') => {
  const file = (of: string) => readFileSync(join(certsDir, of))
  return { ca: file('sam-ca.crt'), cert: file(`${name}.crt`), key: file(`${name}.key`) }
}

export type SamProcess = { url: string; port: string; child: ChildProcess; ended: Promise<unknown> }

/** Starts the service; it ends with the test. */
export async function startSam(t: Test, certsDir: string, port = '0'): Promise<SamProcess> {
  const child = spawn(process.execPath, [main, '--certs', certsDir, '--port', port], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const ended = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const lines = createInterface({ input: child.stdout })
  const first = await Promise.race([once(lines, 'line').then(([text]) => String(text)), ended.then(() => '')])
  const found = /^sam listening on https:\/\/127\.0\.0\.1:(\d+)$/.exec(first)
  if (!found) throw new Error(`the SAM service did not start: ${first}`)
  return { url: `https://localhost:${found[1]}`, port: found[1] as string, child, ended }
}

export const samKnobs = (url: string, certsDir: string) =>
  createKnobs({ url, tls: samTls(certsDir, 'sam-reader') })
