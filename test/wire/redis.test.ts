// The store over a real redis-server: the contract, then what happens when the server hangs, dies, fills up
// or is set up wrongly, and what somebody sees who steals its memory.
import { createSecretKey, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { systemClock } from '../../src/base/clock.ts'
import { createAnswerCache } from '../../src/cache/answers.ts'
import type { StoreUnavailable } from '../../src/store/store.ts'
import { hasRedis } from '../helpers/redis-server.ts'
import {
  allText,
  failure,
  openRedisStore as open,
  startRedis as started,
  until,
} from '../helpers/redis-store.ts'
import { patiently, testStoreContract } from '../store/contract.ts'

const challenge = () => randomBytes(42)
const value = () => randomBytes(41)
const lifeMs = 60_000

if (hasRedis(t)) {
  t.test('the contract of a store', async (t) => {
    const server = await started(t)
    testStoreContract(t, async (t) => {
      const { store } = await open(t, { server })
      return { store, pass: (ms) => sleep(ms), settle: async () => {} }
    })
  })

  t.test('the contract of a store, with the two roles on two servers', async (t) => {
    const [server, cache] = [await started(t), await started(t, '--maxmemory-policy', 'volatile-ttl')]
    testStoreContract(t, async (t) => {
      const { store, warnings } = await open(t, { server, cacheUrl: cache.url })
      t.same(warnings, [])
      return { store, pass: (ms) => sleep(ms), settle: async () => {} }
    })
    t.test('guards lie on one and answers on the other', async (t) => {
      const { store } = await open(t, { server, cacheUrl: cache.url })
      await Promise.all([server.command('FLUSHALL'), cache.command('FLUSHALL')])
      await store.claimGuard(challenge(), value(), lifeMs)
      store.putAnswer('v1:c:20000:a', value(), lifeMs)
      await store.readAnswers(['v1:c:20000:a'])
      t.match(await server.command('KEYS', '*'), /^v1:g:[\w-]{56}$/)
      t.equal(await cache.command('KEYS', '*'), 'v1:c:20000:a')
    })
  })

  t.test('of 100 claims by two gateways at once one wins', async (t) => {
    const server = await started(t)
    const [a, b] = [await open(t, { server }), await open(t, { server })]
    const name = challenge()
    const claims = Array.from({ length: 100 }, (_, i) =>
      (i % 2 ? a : b).store.claimGuard(name, value(), lifeMs),
    )
    const outcomes = await Promise.all(claims)
    t.equal(outcomes.filter((each) => each === undefined).length, 1)
    t.equal(new Set(outcomes.map((each) => each?.toString('hex'))).size, 2, 'all others saw one value')
  })

  t.test('a life is the life Redis is given', async (t) => {
    const server = await started(t)
    const { store } = await open(t, { server })
    await store.claimGuard(challenge(), value(), 310_000)
    const left = Number(await server.command('PTTL', await server.command('KEYS', '*')))
    t.ok(left > 305_000 && left <= 310_000, `${left} ms left`)
  })

  t.test(
    'a hung server costs at most 300 ms a call, then nothing, and is used again when it goes on',
    async (t) => {
      const server = await started(t)
      const { store, lines } = await open(t, { server })
      server.pause()
      const calls: Promise<{ error: StoreUnavailable; ms: number }>[] = []
      for (let i = 0; i < 20; i += 1) {
        calls.push(failure(store.claimGuard(challenge(), value(), lifeMs)))
        calls.push(failure(store.readAnswers(['v1:c:1:a', 'v1:c:2:a'])))
        calls.push(failure(store.readGuard(challenge())))
        await sleep(20)
      }
      const failures = await Promise.all(calls)
      const slowest = Math.max(...failures.map(({ ms }) => ms))
      t.ok(slowest <= 300, `slowest of ${failures.length}: ${slowest.toFixed(0)} ms`)
      t.ok(failures.every(({ error }) => error.reason === 'timeout'))
      t.ok(await until(() => !store.isUp()), 'its connection is cut')
      const { error, ms } = await failure(store.claimGuard(challenge(), value(), lifeMs))
      t.equal(error.reason, 'down')
      t.ok(ms < 50, `${ms.toFixed(1)} ms once it is known to hang`)
      server.resume()
      t.ok(await until(() => store.isUp()))
      t.equal(await store.claimGuard(challenge(), value(), lifeMs), undefined)
      t.same(
        lines.map(({ message }) => message),
        ['store connection lost', 'store connection restored'],
      )
    },
  )

  t.test('a server killed under calls fails them fast and is used again after its restart', async (t) => {
    const server = await started(t)
    const { store, lines } = await open(t, { server })
    const name = challenge()
    await store.claimGuard(name, value(), lifeMs)
    await server.kill()
    t.ok(await until(() => !store.isUp()))
    for (let i = 0; i < 20; i += 1) {
      const { error, ms } = await failure(store.claimGuard(name, value(), lifeMs))
      t.ok(ms < 100 && error.reason === 'down', `${error.reason} after ${ms.toFixed(1)} ms`)
    }
    const lostBefore = store.writesLost
    store.putGuard(name, value(), lifeMs)
    store.putAnswer('v1:c:1:a', value(), lifeMs)
    t.ok(await until(() => store.writesLost === lostBefore + 2), 'writes that nobody awaits are counted')
    await server.start()
    t.ok(await until(() => store.isUp()))
    t.equal(
      await store.claimGuard(name, value(), lifeMs),
      undefined,
      'its memory is gone: the ledger decides',
    )
    t.same(
      lines.map(({ message }) => message),
      ['store connection lost', 'store connection restored'],
    )
  })

  t.test('calls in flight when the server dies fail within 300 ms', async (t) => {
    const server = await started(t)
    const { store } = await open(t, { server })
    server.pause()
    const calls = Array.from({ length: 10 }, () => failure(store.claimGuard(challenge(), value(), lifeMs)))
    await sleep(20)
    await server.kill()
    for (const { ms } of await Promise.all(calls)) t.ok(ms <= 300, `${ms.toFixed(0)} ms`)
  })

  t.test('a server that is not there at the start is told as a warning and found later', async (t) => {
    const server = await started(t)
    await server.kill()
    const { store, warnings } = await open(t, { server })
    t.match(warnings, [/guard role cannot be reached/])
    t.equal(store.isUp(), false)
    await server.start()
    t.ok(await until(() => store.isUp()))
    t.same(await store.check(), [])
  })

  t.test('a guard role that evicts is told as a warning', async (t) => {
    const server = await started(t, '--maxmemory-policy', 'volatile-ttl')
    const { warnings } = await open(t, { server })
    t.match(warnings, [/guard role has maxmemory-policy volatile-ttl.*noeviction/])
    t.equal(warnings.length, 1)
  })

  t.test('a server that does not tell how it is set up is told as a warning', async (t) => {
    const server = await started(t)
    const { store } = await open(t, { server })
    server.pause()
    t.match(await store.check(), [/does not tell how it is set up \(timeout\)/])
    server.resume()
  })

  t.test('answers stop at 70 % of memory, guards go on, and answers come back with room', async (t) => {
    const server = await started(t, '--maxmemory', '8mb')
    const { store } = await open(t, { server })
    const big = Buffer.alloc(100_000, 1)
    store.putAnswer('v1:c:1:first', big, lifeMs)
    t.same(await store.readAnswers(['v1:c:1:first']), [big])
    const fill = "for i=1,60 do redis.call('SET', 'filler'..i, string.rep('x', 100000)) end"
    await server.command('EVAL', fill, '0')
    const used = /used_memory:(\d+)/.exec(await server.command('INFO', 'memory'))?.[1]
    t.ok(Number(used) >= 0.7 * 8 * 2 ** 20, `${used} bytes used`)
    t.ok(
      await until(async () => {
        store.putAnswer('v1:c:1:small', value(), lifeMs)
        return store.answersHeldBack > 0
      }),
    )
    store.putAnswer('v1:c:1:late', value(), lifeMs)
    t.same(await store.readAnswers(['v1:c:1:late']), [undefined])
    t.equal(await store.claimGuard(challenge(), value(), lifeMs), undefined)
    await server.command('FLUSHALL')
    t.ok(
      await until(async () => {
        store.putAnswer('v1:c:1:again', value(), lifeMs)
        return (await store.readAnswers(['v1:c:1:again']))[0] !== undefined
      }),
    )
  })

  t.test('a refusal by Redis carries its first word and neither key nor value, in no property', async (t) => {
    const server = await started(t, '--maxmemory', '3mb')
    const { store } = await open(t, { server })
    const name = challenge()
    const secret = Buffer.from('Zhang Weiming 780001199001010017')
    await server.command('CONFIG', 'SET', 'maxmemory', '1')
    const { error } = await failure(store.claimGuard(name, secret, lifeMs))
    t.equal(error.reason, 'refused')
    t.match(error.cause, { message: 'ReplyError: OOM' })
    await server.command('CONFIG', 'SET', 'maxmemory', '0')
    await server.command('LPUSH', `v1:g:${name.toString('base64url')}`, 'x')
    const { error: wrongType } = await failure(store.readGuard(name))
    t.match(wrongType.cause, { message: 'ReplyError: WRONGTYPE' })
    for (const each of [error, wrongType]) {
      const all = allText(each)
      t.notMatch(all, name.toString('base64url'))
      t.notMatch(all, 'Zhang')
      t.notMatch(all, '780001')
    }
  })

  t.test('a wrong password is told without the password, and every call fails at once', async (t) => {
    const server = await started(t, '--requirepass', 'right-secret')
    const url = `redis://:wrong-secret@127.0.0.1:${server.port}`
    const { store, lines, warnings } = await open(t, { server, url })
    t.match(warnings, [/cannot be reached/])
    const { error, ms } = await failure(store.claimGuard(challenge(), value(), lifeMs))
    t.equal(error.reason, 'down')
    t.ok(ms < 100)
    t.same(lines, [
      {
        fields: { role: 'guard', fault: 'refused', code: 'WRONGPASS' },
        message: 'store connection lost',
      },
    ])
    t.notMatch(JSON.stringify([lines, warnings]) + allText(error), /secret/)
    const right = await open(t, { server, url: `redis://:right-secret@127.0.0.1:${server.port}` })
    t.same(right.warnings, [])
    t.equal(await right.store.claimGuard(challenge(), value(), lifeMs), undefined)
  })

  t.test('commands of one tick leave in one write', async (t) => {
    const server = await started(t)
    const { store } = await open(t, { server })
    const before = Number(/total_reads_processed:(\d+)/.exec(await server.command('INFO', 'stats'))?.[1])
    await Promise.all([
      ...Array.from({ length: 50 }, () => store.claimGuard(challenge(), value(), lifeMs)),
      store.readAnswers(['v1:c:1:a', 'v1:c:2:a']),
    ])
    const after = Number(/total_reads_processed:(\d+)/.exec(await server.command('INFO', 'stats'))?.[1])
    t.ok(after - before <= 6, `${after - before} reads by the server, redis-cli's own included`)
  })

  t.test('a dump shows random keys and sealed values of one size, and nobody', async (t) => {
    const server = await started(t)
    const { store } = await open(t, { server })
    const secret = createSecretKey(randomBytes(32))
    const feed = { isFresh: () => true, covers: () => true, changedSince: () => false }
    const cache = createAnswerCache({ store, secretOf: () => secret, feed, clock: systemClock })
    const people = Array.from({ length: 50 }, (_, i) => ({
      docType: 'ID' as const,
      state: 'CHN',
      number: `7800011990010100${10 + i}`,
      name: i % 2 ? `欧阳春晓${'一二三四'[i % 4]}` : 'Zhang Weiming',
      serial: Buffer.from(`serialserial00${10 + i}`),
      validTo: '20360101',
    }))
    for (const [i, who] of people.entries()) {
      const slots = cache.prepare('carrier-one', who)
      const answer = i % 3 ? 1 : 2
      const transaction = Buffer.from(`transaction00000`)
      cache.write(slots, { answer, refusal: answer === 1 ? 0 : 33, position: i, transaction })
      t.match(await patiently(() => cache.read(slots)), { answer, position: i })
    }
    const keys = (await server.command('KEYS', '*')).split('\n')
    t.equal(keys.length, people.length)
    for (const key of keys) {
      t.match(key, /^v1:c:\d{5}:[\w-]{22}$/)
      t.equal(await server.command('STRLEN', key), '76')
    }
    const dump = await server.dump()
    // Not the state: its three letters come up in random keys by chance.
    const planted = ['carrier-one', 'transaction', 'serial', '20360101', '780001', '欧阳春晓', 'Zhang']
    for (const word of planted) {
      t.notOk(dump.includes(Buffer.from(word)), `${word} in UTF-8`)
      t.notOk(dump.includes(Buffer.from(word, 'utf16le')), `${word} in UTF-16`)
    }
    t.ok(dump.includes(keys[0] ?? '-'), 'the dump is what we looked for it in')
  })
}
