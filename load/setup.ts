// What a load run runs against: a gateway, its bureau and Redis as processes of its own on free ports, or a gateway
// that runs already on this machine.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseBase64url } from '../src/base/bytes.ts'
import { systemClock } from '../src/base/clock.ts'
import { type DemoDevice, prepareDevelopment, startBureauMock } from '../src/development.ts'
import { startGateway } from '../src/gateway-process.ts'
import { suspendDevice } from '../src/registry/devices.ts'
import { openRegistry } from '../src/registry/schema.ts'
import { createKnobs } from '../src/simulator/knobs.ts'
import { registerHandhelds } from './handhelds.ts'
import { startRedis } from './redis.ts'
import { rates } from './stage.ts'

/** A gateway that runs already, in development mode, with its folders on this machine. */
export type Running = {
  device: string
  carrier: string
  dataDir: string
  certsDir: string
  vkey: string
  pid?: number
}

export type Setup = {
  device: string
  carrier: string
  dataDir: string
  certsDir: string
  /** The ledger's, for receipts. */
  vkey: string
  /** Processes whose CPU is counted, by name. */
  pids: Record<string, number>
  /** A folder for what the run makes. */
  folder: string
  register(count: number): Promise<DemoDevice[]>
  /** Ends the admission of handhelds, and waits until every worker knows. */
  revoke(devices: readonly DemoDevice[]): Promise<void>
  redisUrl?: string
  bureauUrl?: string
  /** How many questions the bureau was asked so far; undefined where it is not ours. */
  questions?: () => Promise<number>
  /** Undefined where the bureau is not ours. */
  setFaults: ((faults: object) => Promise<unknown>) | undefined
  close(): Promise<void>
}

/** Longer than a poll of the registry. */
const heardMs = 800

/** @param options.workers processes of the gateway; more than one needs `redis` */
export async function openSetup(options: {
  workers: number
  redis: boolean
  env?: Record<string, string>
}): Promise<Setup> {
  const root = mkdtempSync(join(tmpdir(), 'vouchsafe-load-'))
  const [dataDir, certsDir] = [join(root, 'data'), join(root, 'certs')]
  await prepareDevelopment({ dataDir, certsDir, clock: systemClock })
  const redis = options.redis ? await startRedis() : undefined
  const bureau = await startBureauMock(certsDir)
  const store: Record<string, string> = redis ? { REDIS_URL: redis.url } : {}
  const env = { ...rates, ...store, BUREAU_URL: bureau.url, WORKERS: String(options.workers), ...options.env }
  const gateway = await startGateway({ dataDir, certsDir, env })
  const file = (name: string) => readFileSync(join(certsDir, name))
  const tls = { ca: file('bureau-ca.crt'), cert: file('bureau-client.crt'), key: file('bureau-client.key') }
  const { setFaults, seen } = createKnobs({ url: bureau.url, tls })
  const admission = await openAdmission(dataDir)
  const { device, carrier, pid } = gateway
  return {
    ...{ device, carrier, dataDir, certsDir, folder: root, setFaults, ...admission },
    ...{ bureauUrl: bureau.url, ...(redis ? { redisUrl: redis.url } : {}) },
    questions: async () => Number((await seen())['questions']),
    vkey: /^ {2}ledger key +(\S+)/m.exec(gateway.output())?.[1] ?? '',
    pids: { gateway: pid, bureau: bureau.process.pid ?? 0, ...(redis ? { redis: redis.pid } : {}) },
    async close() {
      await admission.close()
      await gateway.close()
      bureau.process.kill('SIGTERM')
      await redis?.stop()
      rmSync(root, { recursive: true, force: true })
    },
  }
}

/** Aims at a gateway that runs already. */
export async function aimAt(running: Running): Promise<Setup> {
  const { pid, ...given } = running
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-load-'))
  const admission = await openAdmission(running.dataDir)
  return {
    ...{ ...given, folder, setFaults: undefined, ...admission },
    pids: pid === undefined ? {} : { gateway: pid },
    async close() {
      await admission.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

async function openAdmission(dataDir: string) {
  const db = await openRegistry(join(dataDir, 'registry.db'))
  return {
    register: (count: number) => registerHandhelds({ clock: systemClock }, db, count),
    async revoke(devices: readonly DemoDevice[]) {
      for (const { id } of devices) {
        const nowMs = systemClock.now()
        const device = parseBase64url(id) as Buffer
        await suspendDevice(db, { id: device, operator: 'founder', nowMs, reason: 'load run' })
      }
      if (devices.length > 0) await sleep(heardMs)
    },
    close: () => db.destroy(),
  }
}
