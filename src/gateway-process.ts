// Runs a gateway as a process of its own on free ports, as a user would, and ends it again.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { childEnvironment } from './base/config.ts'
import { smallEngine } from './engine.ts'

export type GatewayProcess = {
  pid: number
  device: string
  carrier: string
  operator: string
  bureau: string
  /** Everything it printed so far. */
  output(): string
  close(): Promise<void>
  /** SIGKILL: nothing in it is finished. */
  kill(): Promise<void>
}

const anyPort = { DEVICE_PORT: '0', CARRIER_PORT: '0', OPERATOR_PORT: '0' }
/** A first start parses every module, here beside others on a small machine. */
const startMsMax = 60_000

/** Resolves when it listens. Throws with what it printed if it ends before. */
export async function startGateway(options: {
  dataDir: string
  certsDir: string
  env?: Record<string, string>
}): Promise<GatewayProcess> {
  const launch = fileURLToPath(new URL('./launch.js', import.meta.url))
  const env = childEnvironment({
    VOUCHSAFE_DATA: options.dataDir,
    VOUCHSAFE_CERTS: options.certsDir,
    ...anyPort,
    LOG_LEVEL: 'warn',
    ...smallEngine.environment,
    ...options.env,
  })
  const child = spawn(process.execPath, [...smallEngine.flags, launch, 'serve'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env,
  })
  const printed: string[] = []
  const found: Record<string, string> = {}
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  createInterface({ input: child.stderr }).on('line', (line) => printed.push(line))
  await new Promise<void>((resolve, reject) => {
    const late = setTimeout(
      () => reject(new Error(`The gateway did not start:\n${printed.join('\n')}`)),
      startMsMax,
    )
    child.once('exit', () => reject(new Error(`The gateway ended:\n${printed.join('\n')}`)))
    createInterface({ input: child.stdout }).on('line', (line) => {
      printed.push(line)
      const [, name, url] =
        /^\s+(device|carrier|operator|bureau)(?: listener)?\s+(https?:\/\/\S+)/.exec(line) ?? []
      if (name && url) found[name] = url.replace('127.0.0.1', 'localhost')
      if (/^\s+ledger key\s/.test(line)) {
        clearTimeout(late)
        resolve()
      }
    })
  })
  const { device = '', carrier = '', operator = '', bureau = '' } = found
  return {
    pid: child.pid ?? 0,
    device,
    carrier,
    operator,
    bureau,
    output: () => printed.join('\n'),
    async close() {
      if (child.exitCode === null) child.kill('SIGTERM')
      await ended
    },
    async kill() {
      child.kill('SIGKILL')
      await ended
    },
  }
}
