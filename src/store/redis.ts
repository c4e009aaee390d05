// The store over Redis: two roles, guard and cache, on one connection or two. Every call has a deadline of its
// own and none waits for a connection. The only file that knows ioredis (PROTOCOL sections 4, 8).
import type { Writable } from 'node:stream'
import { Redis } from 'ioredis'
import type { Clock } from '../base/clock.ts'
import { within } from '../base/deadline.ts'
import { limits } from '../base/limits.ts'
import { call, callScript } from './redis-call.ts'
import { countPerson, countRefusal, peopleKeepMs, refusalsKeepMs } from './redis-scripts.ts'
import {
  type Counters,
  guardKey,
  minutesUntil,
  nodesKey,
  peopleKey,
  refusalsKey,
  type Store,
  type StoreFault,
  StoreUnavailable,
  wholeTtlMs,
} from './store.ts'

/** A hung server's connection is cut, so that what was sent to it does not pile up in this process. */
const silenceMsMax = 5 * limits.storeTimeoutMs
const connectMsMax = 1000
const reconnectMsMax = 500
const memoryPolledEveryMs = 1000
const cacheMemoryShareMax = 0.7
const startWaitMs = 1000
/** SET with both NX and GET. */
const redisMajorMin = 7

type Role = 'guard' | 'cache'
type Log = { warn(fields: Record<string, unknown>, message: string): void }

export type RedisStore = Store & {
  readonly kind: 'redis'
  /** Answers not written because the cache role was at 70 % of its memory, since the start. */
  readonly answersHeldBack: number
  /** What `check` found at the start. */
  readonly warnings: readonly string[]
  /** Looks at how the servers are set up: sentences for a person about what should be otherwise. Never rejects. */
  check(): Promise<string[]>
}

/**
 * Connects, waits at most a second a role, and looks at how the servers are set up. A server that is away is a
 * warning, not an error: it is tried again for as long as the store is open.
 * @param options.guardUrl redis:// or rediss://, `noeviction`
 * @param options.cacheUrl the same or another, `volatile-ttl`; by default the guard's
 * @param options.log told when a connection is lost and when it stands again; never keys, values or URLs
 */
export async function createRedisStore(options: {
  guardUrl: string
  cacheUrl?: string
  clock: Clock
  log?: Log
}): Promise<RedisStore> {
  const { guardUrl, clock, log } = options
  const cacheUrl = options.cacheUrl || guardUrl
  const guard = connect(guardUrl, 'guard', log)
  const cache = cacheUrl === guardUrl ? guard : connect(cacheUrl, 'cache', log)
  const room = watchMemory(cache, clock)
  const [toGuard, toCache] = [together(guard), together(cache)]
  let closed = false
  let writesLost = 0
  let answersHeldBack = 0
  const countLost = () => {
    writesLost += 1 // Why it was lost is told by the connection's own log lines and by the awaited calls.
  }

  const check = async () => {
    const roles = [checkRole(guard, 'guard')]
    if (cache !== guard) roles.push(checkRole(cache, 'cache'))
    return (await Promise.all(roles)).flat()
  }

  return {
    kind: 'redis',
    async claimGuard(challenge, value, ttlMs) {
      const life = String(wholeTtlMs(ttlMs))
      const claim = call(toGuard(), 'set', guardKey(challenge), value, 'PX', life, 'NX', 'GET')
      return ((await orUnavailable(claim)) as Buffer | null) ?? undefined
    },
    async readGuard(challenge) {
      return (await orUnavailable(toGuard().getBuffer(guardKey(challenge)))) ?? undefined
    },
    putGuard(challenge, value, ttlMs) {
      call(toGuard(), 'set', guardKey(challenge), value, 'PX', String(wholeTtlMs(ttlMs))).catch(countLost)
    },
    async readAnswers(keys) {
      if (keys.length === 0) return []
      const values = await orUnavailable(call(toCache(), 'mget', ...keys))
      return (values as (Buffer | null)[]).map((value) => value ?? undefined)
    },
    putAnswer(key, value, ttlMs) {
      if (!room.hasRoom()) {
        answersHeldBack += 1
        return
      }
      call(toCache(), 'set', key, value, 'PX', String(wholeTtlMs(ttlMs))).catch(countLost)
    },
    ...countersOf({ toGuard, toCache }),
    async beat(node, ttlMs) {
      const now = clock.now()
      const added = guard.zadd(nodesKey, now + ttlMs, node)
      const counted = Promise.all([
        added,
        guard.zremrangebyscore(nodesKey, '-inf', now),
        guard.zcard(nodesKey),
      ])
      return (await orUnavailable(counted))[2]
    },
    get writesLost() {
      return writesLost
    },
    get answersHeldBack() {
      return answersHeldBack
    },
    warnings: await check(),
    check,
    isUp: () => !closed && guard.status === 'ready' && cache.status === 'ready',
    async close() {
      closed = true
      await Promise.all([...new Set([guard, cache])].map(disconnect))
    },
  }
}

/**
 * Refusals lie with the guards, where nothing is evicted. People lie with the answers: they live longer than any of
 * them, so that `volatile-ttl` takes them last, and answers alone are held back as memory fills.
 */
function countersOf({ toGuard, toCache }: { toGuard: () => Redis; toCache: () => Redis }): Counters {
  const refusalKeys = (device: Buffer, minute: number) =>
    minutesUntil(minute).map((one) => refusalsKey(device, one))
  const count = (...script: Parameters<typeof callScript>) =>
    orUnavailable(callScript(...script)) as Promise<number>
  return {
    addRefusal: (device, minute) =>
      count(toGuard(), countRefusal, {
        keys: refusalKeys(device, minute),
        values: [String(refusalsKeepMs)],
      }),
    addPerson: (device, day, person) =>
      count(toCache(), countPerson, {
        keys: [peopleKey(device, day)],
        values: [person, String(peopleKeepMs)],
      }),
    readPeople: (device, days) =>
      orUnavailable(Promise.all(days.map((day) => toCache().pfcount(peopleKey(device, day))))),
    async forgetRefusals(device, minute) {
      await orUnavailable(toGuard().del(refusalKeys(device, minute)))
    },
    async forgetPeople(device, day) {
      await orUnavailable(toCache().del(peopleKey(device, day)))
    },
  }
}

function connect(url: string, role: Role, log: Log | undefined): Redis {
  const redis = new Redis(url, {
    socketTimeout: silenceMsMax,
    connectTimeout: connectMsMax,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false, // A claim sent again after its caller gave up helps nobody.
    enableOfflineQueue: false,
    disableClientInfo: true,
    retryStrategy: (attempt) => Math.min(attempt * 50, reconnectMsMax),
  })
  // Only changes are told: while a server is away, each attempt to reach it fails anew.
  let told: 'up' | 'down' | undefined
  redis.on('error', (error: Error) => {
    if (told === 'down') return
    told = 'down'
    log?.warn({ role, fault: faultOf(error), code: wordOf(error) }, 'store connection lost')
  })
  redis.on('close', () => {
    if (told === 'down') return
    told = 'down'
    log?.warn({ role, fault: 'down' }, 'store connection lost')
  })
  redis.on('ready', () => {
    if (told === 'down') log?.warn({ role }, 'store connection restored')
    told = 'up'
  })
  return redis
}

/**
 * The connection, for a command now: what is said to it in one turn of the event loop leaves in one write. ioredis' own
 * pipelining makes a pipeline, and three objects a command, of each turn, and lets the next wait for its reply.
 */
function together(redis: Redis): () => Redis {
  let corked: Writable | undefined
  const leave = () => {
    corked?.uncork()
    corked = undefined
  }
  return () => {
    if (!corked && redis.status === 'ready') {
      corked = redis.stream
      corked.cork()
      setImmediate(leave)
    }
    return redis
  }
}

/** Ends a connection: what was written before is sent if the server takes it within the deadline. */
async function disconnect(redis: Redis): Promise<void> {
  try {
    await orUnavailable(redis.quit())
  } catch {
    // Down or hung: nothing is left to be sent to it, and the next line ends it here.
  }
  redis.disconnect()
}

/**
 * A call with its fault, and its being late, as a StoreUnavailable. Not by ioredis' commandTimeout: that also times what
 * nobody waits for, and takes a property from each command, which makes a dictionary of it.
 */
const orUnavailable = <T>(call: Promise<T>): Promise<T> =>
  within(limits.storeTimeoutMs, call, { late, fault: unavailable })

const late = () => new StoreUnavailable('timeout')

function unavailable(error: unknown): StoreUnavailable {
  const cause = error instanceof Error ? error : new Error('not an error')
  // A new error: ioredis hangs the command with its key and value on its own, and a reply may quote them.
  return new StoreUnavailable(faultOf(cause), new Error(`${cause.name}: ${wordOf(cause)}`))
}

function faultOf(error: Error): StoreFault {
  return error.name === 'ReplyError' ? 'refused' : 'down'
}

/** ECONNREFUSED and the like, or the first word of what Redis replied (OOM, NOAUTH, READONLY), or ''. */
function wordOf(error: Error): string {
  if ('code' in error && typeof error.code === 'string') return error.code
  return error.name === 'ReplyError' ? (/^[A-Z]+/.exec(error.message)?.[0] ?? '') : ''
}

const infoNumber = (info: string, name: string) =>
  Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0)
const infoWord = (info: string, name: string) =>
  new RegExp(`^${name}:([^\\r\\n]*)`, 'm').exec(info)?.[1] ?? 'unknown'

/** Knows whether the cache role may grow; asks the server when somebody wants to write, at most every second. */
function watchMemory(redis: Redis, clock: Clock) {
  let polledAt = Number.NEGATIVE_INFINITY
  let full = false
  const poll = async () => {
    try {
      const info = await orUnavailable(redis.info('memory'))
      const most = infoNumber(info, 'maxmemory')
      full = most > 0 && infoNumber(info, 'used_memory') >= most * cacheMemoryShareMax
    } catch {
      // The server is away, so the write itself will fail and be counted; the last known state stands.
    }
  }
  return {
    hasRoom(): boolean {
      const now = clock.mono()
      if (now - polledAt >= memoryPolledEveryMs) {
        polledAt = now
        void poll()
      }
      return !full
    },
  }
}

async function checkRole(redis: Redis, role: Role): Promise<string[]> {
  if (!(await isReadyInTime(redis))) {
    return [
      `The Redis of the ${role} role cannot be reached; the gateway goes on without it and tries again.`,
    ]
  }
  let server: string
  let memory: string
  try {
    ;[server, memory] = await orUnavailable(Promise.all([redis.info('server'), redis.info('memory')]))
  } catch (error) {
    const reason = error instanceof StoreUnavailable ? error.reason : 'unknown'
    return [`The Redis of the ${role} role does not tell how it is set up (${reason}). Fix: allow it INFO.`]
  }
  const warnings: string[] = []
  const version = infoWord(server, 'redis_version')
  if (Number.parseInt(version, 10) < redisMajorMin) {
    warnings.push(
      `The Redis of the ${role} role is version ${version}. Fix: use ${redisMajorMin}.0 or later.`,
    )
  }
  const policy = infoWord(memory, 'maxmemory_policy')
  if (role === 'guard' && policy !== 'noeviction') {
    warnings.push(
      `The Redis of the guard role has maxmemory-policy ${policy}: it may forget guards that still hold. ` +
        'Fix: CONFIG SET maxmemory-policy noeviction, and give the cache a Redis of its own by CACHE_REDIS_URL.',
    )
  }
  return warnings
}

async function isReadyInTime(redis: Redis): Promise<boolean> {
  if (redis.status === 'ready') return true
  return new Promise((resolve) => {
    const settle = () => {
      clearTimeout(timer)
      redis.off('ready', settle)
      resolve(redis.status === 'ready')
    }
    const timer = setTimeout(settle, startWaitMs)
    redis.on('ready', settle)
  })
}
