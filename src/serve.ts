// Main of the gateway: configuration, development set-up, three listeners, a graceful end.
import type { ChildProcess } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import closeWithGrace from 'close-with-grace'
import { systemClock } from './base/clock.ts'
import { type Config, ConfigError, childEnvironment, readConfig } from './base/config.ts'
import { createLog } from './base/log.ts'
import { demoDeviceFile, type FirstStart, prepareDevelopment, startBureauMock } from './development.ts'
import type { Gateway } from './gateway.ts'
import { assertFiles, makeDataFolder } from './required-files.ts'
import type { Ports } from './siblings.ts'
import { memoryStoreWarning } from './store/memory.ts'

type Print = (line: string) => void

export const serveHelp = `vouchsafe serve: runs the gateway

  npm start                             one process, with an embedded store
  REDIS_URL=redis://127.0.0.1:6379 npm start -- --workers 4

--workers N is the same as WORKERS=N: so many processes on the same ports, over one ledger; more than one need a Redis.
One that dies is replaced. All other settings are variables: docs/API.md lists them.`

/** The arguments as settings. @throws ConfigError for any that is not known */
function settingsOf(args: readonly string[]): Record<string, string> {
  try {
    const { workers } = parseArgs({ args: [...args], options: { workers: { type: 'string' } } }).values
    return workers === undefined ? {} : { WORKERS: workers }
  } catch (error) {
    throw new ConfigError([`${(error as Error).message} Fix: see "vouchsafe serve --help".`])
  }
}

/** Runs the gateway until a signal. Throws ConfigError; anything else that fails at start is thrown too. */
export async function serve(args: readonly string[], print: Print): Promise<void> {
  const read = readConfig(childEnvironment(settingsOf(args)))
  assertFiles(read)
  makeDataFolder(read)
  const development = read.VOUCHSAFE_MODE === 'development'
  const first = development
    ? await prepareDevelopment({
        dataDir: read.VOUCHSAFE_DATA,
        certsDir: read.VOUCHSAFE_CERTS,
        clock: systemClock,
      })
    : undefined
  if (first?.operator) printOperator(print, first.operator)
  const starting = read.BUREAU_URL === '' ? startBureauMock(read.VOUCHSAFE_CERTS) : undefined
  // While the mock starts: each takes a core.
  const loading = read.WORKERS > 0 ? import('./primary.ts') : import('./gateway.ts')
  const mock = await starting
  const config: Config = mock ? { ...read, BUREAU_URL: mock.url } : read
  const log = createLog(config.LOG_LEVEL)
  let gateway: Pick<Gateway, 'close'> | undefined
  closeWithGrace({ delay: 10_000, logger: false }, async ({ err }) => {
    if (err) log.fatal({ err }, 'gateway failed')
    await gateway?.close()
    await endChild(mock?.process)
  })
  try {
    const opened = await open(await loading, { config, log })
    gateway = opened
    const { ports, warnings, ledgerVkey } = opened
    printStart(print, { config, ports, first, mocked: mock !== undefined, warnings, ledgerVkey })
  } catch (error) {
    await gateway?.close()
    await endChild(mock?.process)
    throw error
  }
}

type Opened = Pick<Gateway, 'close' | 'warnings' | 'ledgerVkey'> & { ports: Ports }

/** In this process, or in several that share its ports. Resolves when they listen. */
async function open(
  module: typeof import('./gateway.ts') | typeof import('./primary.ts'),
  { config, log }: { config: Config; log: ReturnType<typeof createLog> },
): Promise<Opened> {
  if ('openWorkers' in module) return module.openWorkers({ config, log })
  const gateway = await module.openGateway({ config, clock: systemClock, log })
  try {
    const { close, warnings, ledgerVkey } = gateway
    return { ports: await gateway.listen(), close, warnings, ledgerVkey }
  } catch (error) {
    await gateway.close()
    throw error
  }
}

async function endChild(child: ChildProcess | undefined): Promise<void> {
  if (!child || child.exitCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await ended
}

/** At once: if what comes next fails, nobody could ever act without this secret. */
function printOperator(print: Print, { name, secret }: { name: string; secret: string }): void {
  print(`First operator ${name}, secret ${secret}`)
  print('Shown this once; only its hash is kept.')
  print('')
}

type Started = {
  config: Config
  ports: Ports
  first: FirstStart | undefined
  mocked: boolean
  warnings: readonly string[]
  ledgerVkey: string
}

function printStart(print: Print, started: Started): void {
  const { config, ports, first, mocked, warnings, ledgerVkey } = started
  const ca = join(config.VOUCHSAFE_CERTS, 'gateway-ca.crt')
  const fingerprint = existsSync(ca) ? new X509Certificate(readFileSync(ca)).fingerprint256 : 'not here'
  if (first && first.made !== '') print(first.made)
  print('')
  print('vouchsafe is ready')
  print(`  device listener    https://${config.DEVICE_HOST}:${ports.device}   TLS, for handhelds`)
  print(`  carrier listener   https://${config.CARRIER_HOST}:${ports.carrier}   mTLS, for carriers`)
  print(`  operator listener  http://${config.OPERATOR_HOST}:${ports.operator}   /health/ready, /metrics`)
  print(`  gateway CA         ${ca}`)
  print(`                     SHA-256 ${fingerprint}`)
  if (config.WORKERS > 0) print(`  workers            ${config.WORKERS}, on the same ports`)
  print(`  bureau             ${config.BUREAU_URL}${mocked ? ' (mocked, started beside the gateway)' : ''}`)
  print(`  store              ${config.REDIS_URL === '' ? 'embedded, in memory' : 'Redis'}`)
  if (config.REDIS_URL === '') print(`                     ${memoryStoreWarning}`)
  print(`  databases          ${config.VOUCHSAFE_DATA}/{registry,ledger,keyring}.db (SQLite)`)
  print(`  keys               ${config.VOUCHSAFE_CERTS} (see certs/README.md)`)
  print(`  ledger key         ${ledgerVkey}`)
  print('                     what "vouchsafe receipt verify" checks with')
  for (const warning of [...(first?.warnings ?? []), ...warnings]) print(`  warning            ${warning}`)
  if (first && existsSync(demoDeviceFile(config.VOUCHSAFE_DATA))) {
    print('')
    print('Ask it, from another terminal; this card answers yes:')
    print(`  npm run -s demo -- --card valid --gateway https://localhost:${ports.device}`)
  }
}
