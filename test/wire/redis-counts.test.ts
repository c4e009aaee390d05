// Counts of what devices did, over a real redis-server: shared by gateways, with an end each, right within their
// error, and nobody to be found in what a thief of its memory sees.
import { createSecretKey, randomBytes } from 'node:crypto'
import t from 'tap'
import { nameForDevice } from '../../src/verify/misuse.ts'
import { hasRedis } from '../helpers/redis-server.ts'
import {
  allText,
  failure,
  openRedisStore as open,
  startRedis as started,
  until,
} from '../helpers/redis-store.ts'
import { numbered, patiently } from '../store/contract.ts'

if (hasRedis(t)) {
  t.test('refusals lie with the guards, where nothing is evicted, and people with the answers', async (t) => {
    const [server, cache] = [await started(t), await started(t, '--maxmemory-policy', 'volatile-ttl')]
    const { store } = await open(t, { server, cacheUrl: cache.url })
    await store.addRefusal(Buffer.alloc(16), 7)
    await store.addPerson(Buffer.alloc(16), 5, randomBytes(8))
    t.equal(await server.command('KEYS', '*'), `v1:r:${'A'.repeat(22)}:7`)
    t.equal(await cache.command('KEYS', '*'), `v1:p:5:${'A'.repeat(22)}`)
  })

  t.test('refusals and people counted by two gateways add up', async (t) => {
    const server = await started(t)
    const [a, b] = [await open(t, { server }), await open(t, { server })]
    const device = randomBytes(16)
    const people = Array.from({ length: 6 }, (_, i) => numbered(i))
    for (const [i, person] of people.entries()) {
      const { store } = i % 2 ? a : b
      t.equal(await store.addRefusal(device, 1000 + i), i + 1)
      t.equal(await store.addPerson(device, 5, person), i + 1)
    }
    t.equal(
      await b.store.addPerson(device, 5, people[1] ?? randomBytes(8)),
      6,
      'the other gateway had seen them',
    )
    await a.store.forgetRefusals(device, 1006)
    await a.store.forgetPeople(device, 5)
    t.equal(await b.store.addRefusal(device, 1006), 1)
    t.same(await b.store.readPeople(device, [5]), [0])
  })

  t.test('a server that forgot the scripts is told them again', async (t) => {
    const server = await started(t)
    const { store } = await open(t, { server })
    const device = randomBytes(16)
    for (let i = 1; i <= 3; i++) {
      t.equal(await store.addPerson(device, 5, numbered(i)), i)
      t.equal(await store.addRefusal(device, 1000), i)
      await server.command('SCRIPT', 'FLUSH')
    }
  })

  t.test('of 10,000 people the count is within 3 %', async (t) => {
    const server = await started(t)
    const { store } = await open(t, { server })
    const device = randomBytes(16)
    const worst = { at: 0, error: 0 }
    for (let counted = 500; counted <= 10_000; counted += 500) {
      const names = Array.from({ length: 500 }, (_, i) => numbered(counted - 500 + i))
      await Promise.all(names.map((name) => patiently(() => store.addPerson(device, 5, name))))
      const [told = 0] = await patiently(() => store.readPeople(device, [5]))
      const error = Math.abs(told - counted) / counted
      if (error > worst.error) Object.assign(worst, { at: counted, error })
      t.ok(error < 0.03, `${told} of ${counted}`)
    }
    t.comment(`worst: ${(worst.error * 100).toFixed(2)} % at ${worst.at}`)
    t.ok(Number(await server.command('STRLEN', `v1:p:5:${device.toString('base64url')}`)) <= 12_304)
  })

  t.test('a count lives as long as it counts, and is never left without an end', async (t) => {
    const server = await started(t)
    const { store } = await open(t, { server })
    const device = randomBytes(16)
    await store.addRefusal(device, 1000)
    await store.addPerson(device, 5, randomBytes(8))
    const name = device.toString('base64url')
    const lifeOf = async (key: string) => Number(await server.command('PTTL', key))
    const refusals = await lifeOf(`v1:r:${name}:1000`)
    t.ok(refusals > 715_000 && refusals <= 720_000, `${refusals} ms for refusals: twelve minutes`)
    const people = await lifeOf(`v1:p:5:${name}`)
    t.ok(people > 691_195_000 && people <= 691_200_000, `${people} ms for people: eight days`)
    for (const key of (await server.command('KEYS', '*')).split('\n')) t.ok((await lifeOf(key)) > 0, key)
  })

  t.test('a server that forgot its scripts is told them again', async (t) => {
    const server = await started(t)
    const { store } = await open(t, { server })
    const device = randomBytes(16)
    for (let i = 1; i <= 3; i += 1) {
      t.same(await Promise.all([store.addRefusal(device, 1000), store.addPerson(device, 5, numbered(i))]), [
        i,
        i,
      ])
      await server.command('SCRIPT', 'FLUSH')
    }
    t.equal(store.writesLost, 0)
  })

  t.test('a hung, a dead and a full server fail the counts within their time', async (t) => {
    const server = await started(t)
    const { store } = await open(t, { server })
    const device = randomBytes(16)
    const counts = () => [
      failure(store.addRefusal(device, 1000)),
      failure(store.addPerson(device, 5, randomBytes(8))),
      failure(store.readPeople(device, [4, 5])),
      failure(store.forgetRefusals(device, 1000)),
      failure(store.forgetPeople(device, 5)),
    ]
    const reasons = async (msMax: number) => {
      const failures = await Promise.all(counts())
      for (const { ms } of failures) t.ok(ms <= msMax, `${ms.toFixed(0)} ms`)
      return failures.map(({ error }) => error.reason)
    }
    await server.command('CONFIG', 'SET', 'maxmemory', '1')
    const { error } = await failure(store.addPerson(device, 5, randomBytes(8)))
    t.match([error.reason, error.cause], ['refused', { message: 'ReplyError: OOM' }])
    t.notMatch(allText(error), device.toString('base64url'))
    await server.command('CONFIG', 'SET', 'maxmemory', '0')
    server.pause()
    t.same(await reasons(300), ['timeout', 'timeout', 'timeout', 'timeout', 'timeout'])
    await server.kill()
    t.ok(await until(() => !store.isUp()))
    t.same(await reasons(100), ['down', 'down', 'down', 'down', 'down'])
    await server.start()
    t.ok(await until(() => store.isUp()))
    t.equal(await store.addRefusal(device, 1000), 1, 'and are taken again')
  })

  t.test('a dump of counts shows devices, and neither people nor who was at two devices', async (t) => {
    const server = await started(t)
    const { store } = await open(t, { server })
    // The same secret in each run: Redis estimates, and a chance name may share a register with another.
    const secret = createSecretKey(numbered(0))
    const people = Array.from({ length: 40 }, (_, i) => ({
      docType: 'ID' as const,
      state: 'CHN',
      number: `7800011990010100${10 + i}`,
      name: `欧阳春晓${'一二三四'[i % 4]}`,
      serial: Buffer.from(`serialserial00${10 + i}`),
      validTo: '20360101',
    }))
    const devices = [Buffer.from('device-number-01'), Buffer.from('device-number-02')]
    const names = new Map(devices.map((device) => [device, new Set<string>()]))
    for (const device of devices) {
      for (const who of people) {
        const name = nameForDevice(secret, device, who)
        names.get(device)?.add(name.toString('hex'))
        await store.addPerson(device, 20_000, name)
      }
      t.same(await store.readPeople(device, [20_000]), [people.length])
    }
    const [one = new Set(), two = new Set()] = names.values()
    t.equal(
      [...one].filter((name) => two.has(name)).length,
      0,
      'the same people have other names at the other device',
    )
    const dump = await server.dump()
    for (const word of ['CHN', 'serial', '20360101', '780001', '欧阳春晓']) {
      t.notOk(dump.includes(Buffer.from(word)), `${word} in UTF-8`)
      t.notOk(dump.includes(Buffer.from(word, 'utf16le')), `${word} in UTF-16`)
    }
    for (const name of [...one, ...two])
      t.notOk(dump.includes(Buffer.from(name, 'hex')), 'not even the 8 bytes')
    t.ok(
      dump.includes(`v1:p:20000:${devices[0]?.toString('base64url')}`),
      'the dump is the one with the counts',
    )
    const [first, second] = devices.map((device) => `v1:p:20000:${device.toString('base64url')}`)
    const both = Number(await server.command('PFCOUNT', first ?? '', second ?? ''))
    t.ok(both >= 78, `together they look like ${both} people, not 40`)
  })
}
