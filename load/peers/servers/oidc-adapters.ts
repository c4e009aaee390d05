// Where oidc-provider keeps what it issued. Its own memory is for development only, as it says when it starts: another
// process does not know of it, nor does the next one after a restart. It is meant to be given a store.
import { Redis } from 'ioredis'
import type { AdapterFactory, AdapterPayload } from 'oidc-provider'

type Kept = { adapter: AdapterFactory; close(): Promise<unknown> }

/** What client credentials and introspection never ask of a store. */
const unasked = {
  findByUserCode: async () => undefined,
  findByUid: async () => undefined,
  consume: async () => {},
  revokeByGrantId: async () => {},
}

/** The commands of the example among its sources (ioredis): a transaction to keep one, a command to find it. */
export function keepInRedis(url: string): Kept {
  const redis = new Redis(url, { keyPrefix: 'oidc:' })
  const adapter: AdapterFactory = (model) => ({
    ...unasked,
    upsert: async (id, payload, expiresIn: number) => {
      const key = `${model}:${id}`
      await redis.multi().set(key, JSON.stringify(payload)).expire(key, expiresIn).exec()
    },
    find: async (id) => {
      const text = await redis.get(`${model}:${id}`)
      return text === null ? undefined : (JSON.parse(text) as AdapterPayload)
    },
    destroy: async (id) => {
      await redis.del(`${model}:${id}`)
    },
  })
  return { adapter, close: () => redis.quit() }
}

/** Without an end, which costs the least. */
export function keepInMap(): Kept {
  const kept = new Map<string, AdapterPayload>()
  const adapter: AdapterFactory = (model) => ({
    ...unasked,
    upsert: async (id, payload) => {
      kept.set(`${model}:${id}`, payload)
    },
    find: async (id) => kept.get(`${model}:${id}`),
    destroy: async (id) => {
      kept.delete(`${model}:${id}`)
    },
  })
  return { adapter, close: async () => {} }
}
