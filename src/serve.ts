// Main of the gateway: configuration, development set-up, three listeners, a graceful end.
import type { ChildProcess } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import closeWithGrace from 'close-with-grace'
import { systemClock } from './base/clock.ts'
import { type Config, readConfig } from './base/config.ts'
import { createLog } from './base/log.ts'
import { demoDeviceFile, type FirstStart, prepareDevelopment, startBureauMock } from './development.ts'
import type { Gateway } from './gateway.ts'
import { assertFiles, makeDataFolder } from './required-files.ts'
import { memoryStoreWarning } from './store/memory.ts'

type Print = (line: string) => void

/** Runs the gateway until a signal. Throws ConfigError; anything else that fails at start is thrown too. */
export async function serve(print: Print): Promise<void> {
  const read = readConfig()
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
  const loading = import('./gateway.ts') // While the mock starts: each takes a core.
  const mock = await starting
  const config: Config = mock ? { ...read, BUREAU_URL: mock.url } : read
  const log = createLog(config.LOG_LEVEL)
  let gateway: Gateway | undefined
  closeWithGrace({ delay: 10_000, logger: false }, async ({ err }) => {
    if (err) log.fatal({ err }, 'gateway failed')
    await gateway?.close()
    await endChild(mock?.process)
  })
  try {
    const { openGateway } = await loading
    gateway = await openGateway({ config, clock: systemClock, log })
    const ports = await gateway.listen()
    const { warnings, ledgerVkey } = gateway
    printStart(print, { config, ports, first, mocked: mock !== undefined, warnings, ledgerVkey })
  } catch (error) {
    await gateway?.close()
    await endChild(mock?.process)
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
  ports: { device: number; carrier: number; operator: number }
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
