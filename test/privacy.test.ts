// The tripwire: the whole deck runs with logs at trace, then everything that was written or sent is searched for
// every planted name, address and number, in UTF-8, UTF-16, hex and base64.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { prepareSlowly, readThroughSam } from '../src/simulator/sam.ts'
import { parcelOf, startTestGateway, type TestGateway } from './helpers/gateway.ts'
import { hasRedis, RedisServer } from './helpers/redis-server.ts'
import { samKnobs, samTls, startSam } from './helpers/sam.ts'

/** Every way a text may lie in bytes. Base64 depends on where in a group of three it begins. */
function formsOf(text: string): Buffer[] {
  const raws = [Buffer.from(text), Buffer.from(text, 'utf16le'), Buffer.from(text, 'utf16le').swap16()]
  const forms = [
    ...raws,
    Buffer.from(encodeURIComponent(text)),
    Buffer.from(JSON.stringify(text).slice(1, -1)),
  ]
  for (const raw of raws) {
    forms.push(Buffer.from(raw.toString('hex')), Buffer.from(raw.toString('hex').toUpperCase()))
    for (const shift of [0, 1, 2]) {
      const shifted = Buffer.concat([Buffer.alloc(shift), raw]).toString('base64')
      const inner = shifted.slice(shift === 0 ? 0 : 4, -4) // Only whole groups of the text itself.
      if (inner.length >= 8)
        forms.push(Buffer.from(inner), Buffer.from(inner.replaceAll('+', '-').replaceAll('/', '_')))
    }
  }
  return forms
}

t.test('the tripwire finds what is planted in each form', (t) => {
  const text = '780001194502030017'
  for (const form of formsOf(text))
    t.ok(finds(Buffer.concat([Buffer.from('..'), form, Buffer.from('..')]), [text]))
  t.ok(finds(Buffer.from(Buffer.from(`x${text}y`).toString('base64')), [text]), 'shifted base64')
  t.notOk(finds(Buffer.from('nothing of the kind'), [text]))
  t.end()
})

function finds(bytes: Buffer, planted: string[]): string | undefined {
  return planted.find((text) => formsOf(text).some((form) => bytes.includes(form)))
}

async function playDeck(g: TestGateway): Promise<{ planted: string[]; received: Buffer }> {
  const device = await g.openDevice()
  const planted = new Set<string>()
  const received: string[] = []
  for (const card of g.deck()) {
    const { number, name, address } = card.holder
    for (const text of [number, name, address, number.slice(6, 14)]) planted.add(text)
    if (card.status) await g.knobs.setStatus(number, card.status)
    const { body } = await device.prepare(parcelOf(), (context) => card.readChip(context))
    for (const sent of [
      body,
      body,
      { ...body, parcel: body.parcel.replace(/^./, 'A') },
      { ...body, sealed: 'x' },
    ]) {
      received.push(JSON.stringify(await device.post('/v1/verify', sent)))
    }
  }
  await g.knobs.setFaults({ errorRate: 1 })
  const stranger = g.cardNamed('valid')
  for (const text of [stranger.holder.number, stranger.holder.name]) planted.add(text)
  const { body } = await device.prepare(parcelOf(), (context) => stranger.readChip(context))
  received.push(JSON.stringify(await device.post('/v1/verify', body)))
  return { planted: [...planted], received: Buffer.from(received.join('\n')) }
}

async function searchAll(t: Test, g: TestGateway): Promise<string[]> {
  const { planted, received } = await playDeck(g)
  t.ok(planted.length > 30, `${planted.length} texts are planted`)
  const tokens = [...received.toString().matchAll(/eyJ[\w-]+\.([\w-]+)\./g)].map(([, part]) =>
    Buffer.from(part as string, 'base64url'),
  )
  const log = Buffer.from(g.lines.join(''))
  t.ok(g.lines.length > 20, `${g.lines.length} log lines`)
  const credentials = Buffer.from(`${g.first.operator?.name}:${g.first.operator?.secret}`).toString('base64')
  const metrics = await fetch(`http://127.0.0.1:${g.ports.operator}/metrics`, {
    headers: { authorization: `Basic ${credentials}` },
  })
  t.equal(metrics.status, 200)
  const places: Record<string, Buffer> = {
    'response bytes': received,
    'token claims': Buffer.concat(tokens),
    'log lines': log,
    metrics: Buffer.from(await metrics.text()),
  }
  for (const file of readdirSync(g.dataDir)) {
    if (/\.db(-wal)?$/.test(file)) places[file] = readFileSync(join(g.dataDir, file))
  }
  t.ok(places['ledger.db'] && places['keyring.db'] && places['registry.db'])
  for (const [place, bytes] of Object.entries(places)) t.equal(finds(bytes, planted), undefined, place)
  for (const file of readdirSync(g.certsDir)) {
    if (!file.endsWith('.key')) continue
    const line =
      readFileSync(join(g.certsDir, file), 'utf8').split('\n')[1] ??
      readFileSync(join(g.certsDir, file), 'utf8').trim()
    if (line.length > 20) t.notOk(log.includes(line), `${file} is not logged`)
  }
  return planted
}

t.test('no name, address, birthday or number anywhere, embedded store', async (t) => {
  await searchAll(t, await startTestGateway(t))
})

t.test('no name, address, birthday or number anywhere, Redis dump included', async (t) => {
  if (!hasRedis(t)) return
  const redis = await RedisServer.start()
  t.teardown(() => redis.close())
  const g = await startTestGateway(t, { REDIS_URL: redis.url })
  const planted = await searchAll(t, g)
  const dump = await redis.dump()
  t.ok(dump.includes('v1:g:') && dump.includes('v1:c:'), 'the dump holds guards and answers')
  t.equal(finds(dump, planted), undefined, 'Redis dump')
})

t.test(
  'no name, address, birthday or number where the SAM service says them, whatever goes wrong',
  async (t) => {
    // A gateway that makes the certificates, for the service to start with; those of a test file are the same.
    const certs = await startTestGateway(t)
    const sam = await startSam(t, certs.certsDir)
    const g = await startTestGateway(t, { SAM_URL: sam.url })
    const device = await g.openDevice()
    const knobs = samKnobs(sam.url, certs.certsDir)
    const place = { url: sam.url, tls: samTls(certs.certsDir, 'sam-reader') }
    const planted = new Set<string>()
    const received: string[] = []
    const faults = [
      {},
      ...[{ forged: true }, { clockMs: 60_000 }, { error: true }, { down: true }, { oversized: true }],
      ...[{ garbage: 'json' }, { garbage: 'http' }, { delayMs: 1500 }],
    ]
    for (const fault of faults) {
      for (const name of ['valid', 'expired', 'unknown']) {
        const { holder } = g.cardNamed(name)
        const { number, name: called, address } = holder
        for (const text of [number, called, address, number.slice(6, 14)]) planted.add(text)
        await knobs.setFaults(fault)
        const { body } = await prepareSlowly(device, parcelOf(), (context) =>
          readThroughSam(holder, context, place),
        )
        received.push(JSON.stringify(await device.post('/v1/verify', body)))
      }
    }
    const told = received.join('\n')
    t.match(told, /"answer":"yes"/)
    t.match(told, /"answer":"no"/)
    t.equal(told.match(/sam_unavailable/g)?.length, 36, 'code and type of 18 errors')
    const log = g.lines.join('')
    t.match(log, 'sam record refused')
    t.equal(finds(Buffer.from(log), [...planted]), undefined, 'log lines')
    t.equal(finds(Buffer.from(told), [...planted]), undefined, 'response bytes')
    for (const file of readdirSync(g.dataDir)) {
      if (/\.db(-wal)?$/.test(file)) {
        t.equal(finds(readFileSync(join(g.dataDir, file)), [...planted]), undefined, file)
      }
    }
  },
)
