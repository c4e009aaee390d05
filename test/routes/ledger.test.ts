// The public ledger over HTTP: exactly the paths of c2sp.org/tlog-tiles, and never a 500 for any other.
import { request } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import errors, { clientErrorHandler, frameworkErrors } from '../../plugins/errors.ts'
import operatorAuth from '../../plugins/operator-auth.ts'
import requests, { requestOptions } from '../../plugins/requests.ts'
import { systemClock } from '../../src/base/clock.ts'
import { openCheckpoint } from '../../src/ledger/checkpoint.ts'
import { leafHash } from '../../src/ledger/hash.ts'
import { parseVkey } from '../../src/ledger/note.ts'
import { readRoot } from '../../src/ledger/range.ts'
import { parseBundle, printTilePath, readFromTiles, tilesOf } from '../../src/ledger/tile.ts'
import { bundleRoutes, ledgerRoutes } from '../../src/routes/ledger.ts'
import { ledgerVkey } from '../helpers/receipts.ts'
import { ShownLedger } from '../helpers/shown-ledger.ts'

type Reply = { status: number; headers: Record<string, unknown>; bytes: Buffer }

/** One GET of a path as it stands: nothing is put into normal form. */
async function open(t: Test, ledger: ShownLedger, routes = ledgerRoutes) {
  const app = Fastify({ ...requestOptions, frameworkErrors, clientErrorHandler })
  await app.register(errors)
  await app.register(requests, { clock: systemClock })
  const roles: Record<string, string> = { ann: 'auditor', adam: 'admin', rita: 'reviewer', max: 'metrics' }
  if (routes === bundleRoutes)
    await app.register(operatorAuth, {
      checkOperator: async (name, secret) =>
        secret === 'right' && roles[name] ? { name, role: roles[name] } : undefined,
    })
  await app.register(routes, { ledger })
  await app.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => app.close())
  const { port } = app.server.address() as AddressInfo
  return (path: string, name?: string) =>
    new Promise<Reply>((resolve, reject) => {
      const headers = name ? { authorization: `Basic ${btoa(`${name}:right`)}` } : {}
      const sent = request({ host: '127.0.0.1', port, path, headers, agent: false }, (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk) => chunks.push(chunk))
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            bytes: Buffer.concat(chunks),
          }),
        )
      })
      sent.on('error', reject).end()
    })
}
const codeOf = ({ bytes }: Reply) => (JSON.parse(bytes.toString()) as { code: string }).code

t.test('a stranger reads the checkpoint and tiles, and comes to the same root', async (t) => {
  const ledger = new ShownLedger().fill(1136).show()
  const get = await open(t, ledger)
  const shown = await get('/ledger/checkpoint')
  t.match(shown, {
    status: 200,
    headers: { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'public, max-age=1' },
  })
  const log = parseVkey(ledgerVkey)
  const checkpoint = log && openCheckpoint(shown.bytes.toString(), log)
  if (!checkpoint) return t.fail('no checkpoint')
  const tiles = new Map<string, Buffer>()
  for (const tile of tilesOf(checkpoint.size)) {
    const path = printTilePath(tile)
    const reply = await get(`/ledger/tile/${path}`)
    t.match(reply, {
      status: 200,
      headers: {
        'content-type': 'application/octet-stream',
        'cache-control': 'public, max-age=31536000, immutable',
      },
    })
    tiles.set(path, reply.bytes)
  }
  t.ok(tiles.size > 2)
  const read = readFromTiles(checkpoint.size, (level, n, width) => {
    const tile = tiles.get(printTilePath({ level, n, width }))
    return tile ?? Buffer.alloc(0)
  })
  t.same(readRoot(checkpoint.size, read), checkpoint.root)
})

t.test('before the first checkpoint there is nothing, and signed is not published', async (t) => {
  const ledger = new ShownLedger().fill(300)
  ledger.sign()
  const get = await open(t, ledger)
  for (const path of ['checkpoint', 'tile/0/000', 'tile/0/000.p/1']) {
    const reply = await get(`/ledger/${path}`)
    t.match(reply, { status: 404, headers: { 'content-type': /^application\/problem\+json/ } }, path)
    t.equal(codeOf(reply), 'not_found')
  }
})

t.test(
  'partial tiles of earlier trees stay, and what is beyond the published one is not there',
  async (t) => {
    const ledger = new ShownLedger().fill(520).show().fill(500)
    ledger.sign()
    const get = await open(t, ledger)
    const table: [path: string, status: number, hashes: number][] = [
      ['0/000', 200, 256],
      ['0/000.p/1', 200, 1],
      ['0/000.p/255', 200, 255],
      ['0/002.p/8', 200, 8],
      ['0/002.p/7', 200, 7],
      ['1/000.p/2', 200, 2],
      ['0/002.p/9', 404, 0],
      ['0/002', 404, 0],
      ['0/003.p/1', 404, 0],
      ['1/000.p/3', 404, 0],
      ['1/000', 404, 0],
      ['2/000.p/1', 404, 0],
      ['63/000', 404, 0],
      ['0/x001/000', 404, 0],
      ['0/x009/x007/x199/x254/x740/991', 404, 0],
      ['entries/000', 404, 0],
      ['entries/000.p/1', 404, 0],
    ]
    for (const [path, status, hashes] of table) {
      const reply = await get(`/ledger/tile/${path}`)
      t.equal(reply.status, status, path)
      if (status === 200) t.equal(reply.bytes.length, hashes * 32)
      else t.equal(codeOf(reply), 'not_found')
    }
    t.equal((await get('/ledger/tile/0/000?x=%zz')).status, 200, 'a query is nobody’s name of a tile')
  },
)

const malformed = [
  '',
  '0',
  '0/',
  '/',
  '/0/000',
  '0//000',
  '0/000/',
  '0/0',
  '0/00',
  '0/0000',
  '0/x000/000',
  '0/x000',
  '0/x001',
  '0/000.p/0',
  '0/000.p/01',
  '0/000.p/256',
  '0/000.p/-1',
  '0/000.p/',
  '0/000.p',
  '0/000.p/1/',
  '0/000.q/1',
  '00/000',
  '64/000',
  '-1/000',
  '0/-01',
  '0/+00',
  '0x0/000',
  '1e1/000',
  '99999999999999999999/000',
  `0/${'x999/'.repeat(5)}x999/999`,
  `0/${'x999/'.repeat(900)}999`,
  '0/%30%30%30',
  '%30/000',
  '0%2F000',
  '0%2f000',
  '0/000%00',
  '0/000%20',
  '../checkpoint',
  '0/../0/000',
  '0/./000',
  '..%2f..%2fetc/passwd',
  '0/000;x=1',
  '0/000%3f',
  '0/٠٠٠'.replace(/[^ -~]/g, encodeURIComponent),
  '__proto__/000',
  'entries',
  'entries/',
  'entries/0',
  'entries/000.p/0',
  'entries/-01',
]

t.test('a path that is not canonical is malformed', async (t) => {
  const get = await open(t, new ShownLedger().fill(300).show())
  for (const path of malformed) {
    const reply = await get(`/ledger/tile/${path}`)
    t.equal(reply.status, 400, path.slice(0, 60))
    t.equal(codeOf(reply), 'malformed')
    t.notMatch(reply.bytes.toString(), /passwd|proto/, 'nothing of it is said again')
  }
  for (const path of [
    '/ledger/tile',
    '/ledger//tile/0/000',
    '/ledger/checkpoint/',
    '/ledger/',
    '//ledger/checkpoint',
  ]) {
    t.equal((await get(path)).status, 404, path)
  }
  for (const path of ['/ledger/%74ile/0/000', '/ledger/tile/%zz', '/ledger/tile/%', '/ledger/tile/0/%ff']) {
    t.equal((await get(path)).status, 400, path)
  }
})

t.test('entries are for auditors and admins', async (t) => {
  const ledger = new ShownLedger().fill(300).show().fill(5)
  ledger.sign()
  const app = await open(t, ledger, bundleRoutes)
  for (const [name, status] of [
    ['ann', 200],
    ['adam', 200],
    ['rita', 403],
    ['max', 403],
    ['eve', 401],
    [undefined, 401],
  ] as const) {
    t.equal((await app('/ledger/tile/entries/000', name)).status, status, `${name}`)
  }
  const reply = await app('/ledger/tile/entries/001.p/44', 'ann')
  t.match(reply, {
    status: 200,
    headers: {
      'content-type': 'application/octet-stream',
      'cache-control': 'private, max-age=31536000, immutable',
    },
  })
  const entries = parseBundle(reply.bytes, 44) ?? []
  t.same(
    Buffer.concat(entries.map((entry) => leafHash(entry))),
    ledger.readTile(0, 1, 44),
    'they are the leaves of the tile',
  )
  for (const path of ['001', '001.p/45', '002.p/1', 'x001/000'])
    t.equal((await app(`/ledger/tile/entries/${path}`, 'ann')).status, 404, path)
  for (const path of ['', '0', '000.p/0', '%30%30%30', '../000', 'x000/000'])
    t.equal((await app(`/ledger/tile/entries/${path}`, 'ann')).status, 400, path)
  t.equal((await app('/ledger/tile/entries/%zz', 'ann')).status, 400)
  t.equal((await app('/ledger/tile/entries/zz')).status, 401, 'who asks comes before what is asked')
})
