// A gateway of the load run's own on free ports, with handhelds and two piles of cards; all of it ends with it.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../src/base/clock.ts'
import { startGateway } from '../src/gateway-process.ts'
import { openRegistry } from '../src/registry/schema.ts'
import { dealCards, makeHandhelds } from './handhelds.ts'
import { startRedis } from './redis.ts'

/** Limits that protect people from couriers in a hurry would only slow a load run. */
export const rates = {
  DEVICE_RATE: '100000',
  OUTLET_RATE: '100000',
  CARRIER_RATE: '100000',
  ADDRESS_RATE: '1000000',
  DEVICE_REFUSALS: '0',
  DEVICE_PEOPLE_PER_DAY: '100000', // Counted all the same: it is part of what an answer costs.
  CARRIER_API_RATE: '1000000',
}

/** @param options.workers processes that serve, with a Redis of their own; without, one process with the embedded store */
export async function openStage(options: { devices: number; hands: number; workers?: number }) {
  const root = mkdtempSync(join(tmpdir(), 'vouchsafe-load-'))
  const [dataDir, certsDir] = [join(root, 'data'), join(root, 'certs')]
  const redis = options.workers ? await startRedis() : undefined
  const shared: Record<string, string> = redis ? { REDIS_URL: redis.url, WORKERS: `${options.workers}` } : {}
  const gateway = await startGateway({ dataDir, certsDir, env: { ...rates, ...shared } })
  const db = await openRegistry(join(dataDir, 'registry.db'))
  const place = { url: gateway.device, certsDir, clock: systemClock }
  const devices = await makeHandhelds(place, db, options.devices)
  const cards = dealCards(place, options.hands)
  return {
    gateway,
    certsDir,
    devices,
    place,
    good: cards.filter((card) => card.answer === 'yes'),
    bad: cards.filter((card) => card.answer === 'no'),
    async close(): Promise<void> {
      for (const device of devices) await device.close()
      await db.destroy()
      await gateway.close()
      await redis?.stop()
      rmSync(root, { recursive: true, force: true })
    },
  }
}

/** Element `i` of a pile that is dealt round and round. */
export function dealt<T>(pile: readonly T[], i: number): T {
  const card = pile[i % pile.length]
  if (card === undefined) throw new RangeError('an empty pile')
  return card
}
