// What all peers stand on: a gateway with a Redis, its handhelds, and the twin beside it, on the same keys, Redis
// server and bureau. All of it ends with it.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { readConfig } from '../../src/base/config.ts'
import { startGateway } from '../../src/gateway-process.ts'
import { openRegistry } from '../../src/registry/schema.ts'
import { servingOf } from '../cpu.ts'
import { makeHandhelds } from '../handhelds.ts'
import { startRedis } from '../redis.ts'
import { rates } from '../stage.ts'
import { startPeer } from './processes.ts'

export type PeerStage = Awaited<ReturnType<typeof openPeerStage>>

/** One worker, with the engine that workers have. */
const bounds = { ...rates, WORKERS: '1' }
const handhelds = 8

export async function openPeerStage() {
  const closers: (() => unknown)[] = []
  const close = async () => {
    for (const end of closers.toReversed()) await end()
  }
  try {
    const root = mkdtempSync(join(tmpdir(), 'vouchsafe-peers-'))
    closers.push(() => rmSync(root, { recursive: true, force: true }))
    const [dataDir, certsDir] = [join(root, 'data'), join(root, 'certs')]
    const redis = await startRedis()
    closers.push(() => redis.stop())
    const gateway = await startGateway({ dataDir, certsDir, env: { ...bounds, REDIS_URL: redis.url } })
    closers.push(() => gateway.close())
    const db = await openRegistry(join(dataDir, 'registry.db'))
    closers.push(() => db.destroy())
    const devices = await makeHandhelds({ url: gateway.device, certsDir, clock: systemClock }, db, handhelds)
    closers.push(() => Promise.all(devices.map((device) => device.close())))
    const origin = readConfig({}).VOUCHSAFE_ORIGIN
    const twin = await startPeer('twin', {
      ...{ certsDir, dataDir, origin, bureau: gateway.bureau.replace('127.0.0.1', 'localhost') },
      redis: `${redis.url}/1`,
    })
    closers.push(() => twin.close())
    const file = (name: string) => readFileSync(join(certsDir, name))
    const fetchText = (path: string) => getText(gateway.device + path, file('gateway-ca.crt'))
    const [worker = gateway.pid] = servingOf(gateway.pid)
    return { fetchText, redis, gateway, worker, db, devices, twin, origin, dataDir, certsDir, file, close }
  } catch (error) {
    await close()
    throw error
  }
}

function getText(url: string, ca: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { ca, agent: false }, async (response) => {
      const chunks: Buffer[] = []
      for await (const chunk of response) chunks.push(chunk as Buffer)
      resolve(Buffer.concat(chunks).toString())
    })
    sent.once('error', reject).end()
  })
}
