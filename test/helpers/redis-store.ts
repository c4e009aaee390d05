// A store over a real redis-server that ends with its test, and how its failures are looked at.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { systemClock } from '../../src/base/clock.ts'
import { createRedisStore } from '../../src/store/redis.ts'
import { StoreUnavailable } from '../../src/store/store.ts'
import { RedisServer } from './redis-server.ts'

type Line = { fields: Record<string, unknown>; message: string }

export async function openRedisStore(
  t: Test,
  options: { server: RedisServer; cacheUrl?: string; url?: string },
) {
  const lines: Line[] = []
  const { server, cacheUrl, url = server.url } = options
  const store = await createRedisStore({
    guardUrl: url,
    ...(cacheUrl === undefined ? {} : { cacheUrl }),
    clock: systemClock,
    log: { warn: (fields, message) => lines.push({ fields, message }) },
  })
  t.teardown(() => store.close())
  return { store, lines, warnings: store.warnings }
}

export async function startRedis(t: Test, ...settings: string[]) {
  const server = await RedisServer.start(...settings)
  t.teardown(() => server.close())
  return server
}

/** The error of a call and how long it took. */
export async function failure(call: Promise<unknown>): Promise<{ error: StoreUnavailable; ms: number }> {
  const begun = performance.now()
  const error = await call.then(
    () => undefined,
    (cause: unknown) => cause,
  )
  if (!(error instanceof StoreUnavailable)) throw new Error('the call did not fail as a store fails')
  return { error, ms: performance.now() - begun }
}

export async function until(what: () => boolean | Promise<boolean>, msMax = 3000): Promise<boolean> {
  const end = performance.now() + msMax
  while (performance.now() < end) {
    if (await what()) return true
    await sleep(10)
  }
  return false
}

/** Everything an error could show to a log: all properties, causes and stacks, at any depth. */
export function allText(value: unknown, depth = 0): string {
  if (value === null || typeof value !== 'object' || depth > 6) return String(value)
  const names = Reflect.ownKeys(value)
  return names.map((name) => `${String(name)}=${allText(Reflect.get(value, name), depth + 1)}`).join('\n')
}
