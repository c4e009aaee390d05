// The primary of a gateway of several workers: starts them on the same ports, replaces one that died, passes their
// reports on. It serves nothing and holds no key but the secret that their ticket keys are derived from.
import { type ChildProcess, fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { systemClock } from './base/clock.ts'
import { type Config, childEnvironment } from './base/config.ts'
import { limits } from './base/limits.ts'
import { workerEngine } from './engine.ts'
import { createGathering } from './gathering.ts'
import type { FromWorker, Ports, ToWorker } from './siblings.ts'

type Log = Record<'info' | 'error', (fields: unknown, message: string) => void>

export type Primary = {
  ports: Ports
  warnings: readonly string[]
  ledgerVkey: string
  close(): Promise<void>
}

type Started = Pick<Primary, 'ports' | 'warnings' | 'ledgerVkey'>
type Worker = { process: ChildProcess; ended: Promise<void>; ready: boolean }

/** What the primary itself may have been started with (`npm start`). */
const notOfWorkers = { MALLOC_TRIM_THRESHOLD_: undefined, MALLOC_MMAP_THRESHOLD_: undefined }

const main = fileURLToPath(new URL('./worker.ts', import.meta.url))

/**
 * Starts `config.WORKERS` workers and resolves when all listen.
 * @throws Error if one does not start: then none stays; a worker that dies later is replaced
 */
export async function openWorkers(options: { config: Config; log: Log }): Promise<Primary> {
  const { config, log } = options
  const secret = randomBytes(32)
  const workers = new Set<Worker>()
  let ports = portsOf(config)
  let closing = false
  const pauses = createPauses()

  const ready = () => [...workers].filter((worker) => worker.ready)
  const gathering = createGathering<Worker>({ ready, post, clock: systemClock })

  async function start(): Promise<Started> {
    const worker = forkWorker(config, ports)
    const child = worker.process
    workers.add(worker)
    child.once('exit', (code, signal) => {
      workers.delete(worker)
      gathering.end(worker)
      if (worker.ready && !closing) void replace({ pid: child.pid, code, signal })
    })
    const started = untilReady(worker, (message) => void gathering.take(worker, message))
    post(worker, { kind: 'start', secret })
    return started
  }

  /** Until one starts: what ended the last may end the next too, so the pause between tries grows. */
  async function replace(dead: Record<string, unknown>): Promise<void> {
    log.error(dead, 'worker died')
    while (!closing) {
      await sleep(pauses.next())
      if (closing) return
      try {
        await start()
        log.info({ workers: workers.size }, 'worker replaced')
        setTimeout(pauses.calm, limits.workerRestartMsMax).unref()
        return
      } catch (err) {
        log.error({ err }, 'worker not replaced')
      }
    }
  }

  async function close(): Promise<void> {
    closing = true
    for (const { process } of workers) process.kill('SIGTERM')
    await Promise.all([...workers].map(({ ended }) => ended))
  }

  try {
    await assertFree(config)
    const first = await start()
    ports = first.ports // Those that were any are known now.
    await Promise.all(Array.from({ length: config.WORKERS - 1 }, start))
    return { ...first, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** Between tries, ms: each twice the last, until all has been calm for a while. */
function createPauses() {
  let ms: number = limits.workerRestartMsMin
  return {
    next(): number {
      const now = ms
      ms = Math.min(ms * 2, limits.workerRestartMsMax)
      return now
    },
    calm(): void {
      ms = limits.workerRestartMsMin
    },
  }
}

const portsOf = (config: Config): Ports => ({
  device: config.DEVICE_PORT,
  carrier: config.CARRIER_PORT,
  operator: config.OPERATOR_PORT,
})

const post = ({ process: child }: Worker, message: ToWorker) => child.connected && child.send(message)

/**
 * @param take what a worker says beside that
 * @throws Error if it ends first, or was ended for taking too long
 */
function untilReady(
  worker: Worker,
  take: (message: Extract<FromWorker, { kind: 'report' | 'ask' }>) => void,
) {
  const child = worker.process
  return new Promise<Started>((resolve, reject) => {
    let fault = 'it ended before it listened'
    const late = setTimeout(() => {
      fault = `it did not listen within ${limits.workerStartMsMax / 1000} s`
      child.kill('SIGKILL')
    }, limits.workerStartMsMax)
    child.on('message', (message: FromWorker) => {
      if (message.kind === 'ready') {
        clearTimeout(late)
        worker.ready = true
        resolve(message)
      } else if (message.kind === 'failed') fault = message.message
      else take(message)
    })
    child.once('exit', () => {
      clearTimeout(late)
      reject(new Error(fault))
    })
  })
}

function forkWorker({ BUREAU_URL }: Config, { device, carrier, operator }: Ports): Worker {
  const env = childEnvironment({
    ...{ ...notOfWorkers, ...workerEngine.environment, BUREAU_URL },
    ...{ DEVICE_PORT: `${device}`, CARRIER_PORT: `${carrier}`, OPERATOR_PORT: `${operator}` },
  })
  const child = fork(main, { serialization: 'advanced', env, execArgv: [...workerEngine.flags] })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  return { process: child, ready: false, ended }
}

/** Workers share their ports with whoever asks for it alike, so a port in use would not be noticed by them. */
async function assertFree(config: Config): Promise<void> {
  for (const [host, port] of [
    [config.DEVICE_HOST, config.DEVICE_PORT],
    [config.CARRIER_HOST, config.CARRIER_PORT],
    [config.OPERATOR_HOST, config.OPERATOR_PORT],
  ] as const) {
    const probe = createServer()
    await new Promise<void>((resolve, reject) => {
      probe.once('error', reject)
      probe.listen(port, host, resolve)
    })
    await new Promise((resolve) => probe.close(resolve))
  }
}
