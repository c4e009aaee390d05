// Starts the gateway that answers with a constant (constant-gateway.ts).
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { childEnvironment } from '../src/base/config.ts'
import { workerEngine } from '../src/engine.ts'

export type ConstantGateway = {
  pid: number
  device: string
  carrier: string
  certsDir: string
  close(): Promise<void>
}

/** @param flags of the engine, beside the usual ones */
export async function startConstant(flags: readonly string[] = []): Promise<ConstantGateway> {
  const root = mkdtempSync(join(tmpdir(), 'vouchsafe-constant-'))
  const main = fileURLToPath(new URL('./constant-gateway.ts', import.meta.url))
  const child = spawn(process.execPath, [...workerEngine.flags, ...flags, main, root], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: childEnvironment(workerEngine.environment),
  })
  const lines = createInterface({ input: child.stdout })
  const [line] = (await Promise.race([once(lines, 'line'), once(child, 'exit').then(() => [''])])) as [string]
  if (line === '') throw new Error('The gateway with a constant answer did not start.')
  const urls = JSON.parse(line) as { device: string; carrier: string }
  return {
    ...urls,
    pid: child.pid ?? 0,
    certsDir: join(root, 'certs'),
    async close() {
      child.stdin.end()
      if (child.exitCode === null) await once(child, 'exit')
      rmSync(root, { recursive: true, force: true })
    },
  }
}
