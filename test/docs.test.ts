// What is written is true: README commands exist, docs/API.md has the error and settings tables of the code,
// docs/openapi.json is what the routes say, and the Dockerfile names only what is there.
import { execFile } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { sha256 } from '../src/base/bytes.ts'
import { settings } from '../src/base/config.ts'
import { errorTable } from '../src/base/errors.ts'
import { smallEngine } from '../src/engine.ts'
import { startGateway } from '../src/gateway-process.ts'
import { deriveJti, hashJti, hashWho, printEntry } from '../src/ledger/entry.ts'
import { leafHash } from '../src/ledger/hash.ts'
import { deckNames } from '../src/simulator/deck.ts'
import { describeApi } from './helpers/describe.ts'
import { makeFolder } from './helpers/folder.ts'

const path = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url))
const read = (name: string) => readFileSync(path(name), 'utf8')
const manifest = JSON.parse(read('package.json')) as { scripts: Record<string, string> }

t.test('docs/API.md lists exactly the errors of the code', (t) => {
  const rows = [...read('docs/API.md').matchAll(/^\| `(\w+)` \| (\d{3}) \| (\w+) \| (.+) \|$/gm)]
  const written = rows.map(([, code, status, retry, title]) => ({
    code,
    status: Number(status),
    retry,
    title,
  }))
  const real = Object.entries(errorTable).map(([code, row]) => ({ code, ...row }))
  const order = (list: { code?: string | undefined }[]) =>
    list.sort((a, b) => ((a.code ?? '') < (b.code ?? '') ? -1 : 1))
  t.same(order(written), order(real))
  t.end()
})

t.test('docs/API.md lists exactly the settings of the code, with their defaults', (t) => {
  const rows = [...read('docs/API.md').matchAll(/^\| `([A-Z_]+)` \| `?([^|`]*)`? \| (.+) \|$/gm)]
  const written = rows.map(([, name, value, about]) => [name, (value ?? '').trim(), about])
  const real = Object.entries(settings).map(([name, row]) => [name, row.default, row.about])
  t.same(written, real)
  t.end()
})

t.test('docs/API.md lists exactly the routes of the code', async (t) => {
  const rows = [...read('docs/API.md').matchAll(/^\| [a-z, ]+ \| `([A-Z]+ [^`]+)` \|/gm)].map(
    ([, route]) => route,
  )
  const { paths } = await describeApi()
  const real = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods as object).map((method) => `${method.toUpperCase()} ${path}`),
  )
  t.same(rows.sort(), real.sort())
})

t.test('docs/openapi.json is what the routes say', async (t) => {
  const made = `${JSON.stringify(await describeApi(), null, 2)}\n`
  if (process.env['WRITE_DOCS'] === '1') writeFileSync(path('docs/openapi.json'), made)
  t.equal(read('docs/openapi.json'), made, 'make it again with WRITE_DOCS=1 npx tap run test/docs.test.ts')
})

t.test('the README names each magic card and only scripts that exist', (t) => {
  const readme = read('README.md')
  for (const name of deckNames) t.match(readme, `\`${name.replace(/-sm2$/, '')}\``, name)
  t.match(readme, '`valid-sm2`')
  for (const [, script] of readme.matchAll(/npm run (?:-s )?([a-z:]+)/g))
    t.ok(manifest.scripts[script as string], String(script))
  const scenes = ['returning', 'replay', 'exact retry', 'revoked device', 'suspended carrier', 'bureau down']
  for (const scene of scenes) t.match(readme, new RegExp(`^${scene} `, 'm'), scene)
  t.match(readme, 'npm ci && npm run demo')
  t.match(readme, 'npm ci && npm test')
  t.end()
})

t.test('the Dockerfile copies what is there, runs as node, and leaves development out', (t) => {
  const text = read('Dockerfile')
  const copies = [...text.matchAll(/^COPY (?!--from)(.+) (\S+)$/gm)]
  t.ok(copies.length >= 5)
  for (const [, sources] of copies)
    for (const source of (sources as string).split(' ')) t.ok(existsSync(path(source)), source)
  t.match(text, /^USER node$/m)
  t.match(text, '--omit=dev')
  t.match(text, /^HEALTHCHECK /m)
  const command = JSON.parse(/^CMD (\[.+\])$/m.exec(text)?.[1] ?? '[]') as string[]
  t.ok(existsSync(path(command.find((word) => word.startsWith('src/')) ?? 'none')), 'the command is there')
  const engine = [...text.matchAll(/(?:MALLOC|UV)_\w+=\d+/g)].join(' ')
  t.equal(`${engine} ${command.join(' ')}`, manifest.scripts['start'], 'it starts as npm start does')
  const environment = Object.entries(smallEngine.environment).map(([name, value]) => `${name}=${value}`)
  t.match(
    manifest.scripts['start'],
    `${environment.join(' ')} node ${smallEngine.flags.join(' ')} src/`,
    'and so do the gateways of tests and loads',
  )
  const probed = new URL(/fetch\('([^']+)'\)/.exec(text)?.[1] ?? 'http://none/')
  t.equal(probed.port, settings.OPERATOR_PORT.default, 'the health check asks the operator listener')
  t.match(read('src/routes/health.ts'), `'${probed.pathname}'`)
  const exposed = /^EXPOSE (.+)$/m.exec(text)?.[1]
  t.equal(exposed, `${settings.DEVICE_PORT.default} ${settings.CARRIER_PORT.default}`)
  for (const [, name, value] of text.matchAll(/\b([A-Z_]+)=(\S+)/g)) {
    if (name === 'NODE_ENV' || !(name as string).match(/^(VOUCHSAFE|DEVICE|CARRIER|OPERATOR)_/)) continue
    const setting = settings[name as keyof typeof settings]
    t.ok(setting?.parse(value as string) !== undefined, `${name}=${value} is a setting`)
  }
  for (const [, kept] of text.matchAll(/VOLUME (.+)$/gm))
    t.same(JSON.parse(kept as string), ['/data', '/certs'])
  t.match(read('compose.yaml'), /read_only: true/)
  t.equal([...text.matchAll(/^FROM node:26-slim/gm)].length, 2)
  const ignored = read('.dockerignore').split('\n')
  for (const name of ['node_modules', '.git', 'certs/dev', 'data']) t.ok(ignored.includes(name), name)
  t.end()
})

t.test('the commands of docs/CARRIERS.md lead from a request to a redeemed token', async (t) => {
  const blocks = [...read('docs/CARRIERS.md').matchAll(/^```sh\n([\s\S]+?)^```$/gm)].map(([, block]) => block)
  t.ok(blocks.length >= 10, `${blocks.length} blocks`)
  for (const route of [
    'redemptions',
    'introspect',
    'coverage',
    'acceptances',
    'changes',
    'devices',
    'carrier',
  ])
    t.match(blocks.join('\n'), `/v1/${route}`)
  const folder = makeFolder()
  const [dataDir, certsDir] = [`${folder.path}/data`, `${folder.path}/certs`]
  const gateway = await startGateway({ dataDir, certsDir })
  t.teardown(async () => {
    await gateway.close()
    folder.remove()
  })
  const [, name, secret] = /First operator (\S+), secret (\S+)/.exec(gateway.output()) ?? []
  const env = {
    ...process.env,
    ...{ VOUCHSAFE_DATA: dataDir, VOUCHSAFE_CERTS: certsDir, CERTS: certsDir, WORK: folder.path },
    ...{ OPERATOR_NAME: name, OPERATOR_SECRET: secret },
    ...{ DEVICE: gateway.device, CARRIER: gateway.carrier, OPERATOR: gateway.operator },
    PATH: `${dirname(process.execPath)}:${process.env['PATH']}`,
  }
  const script = `set -euo pipefail\n${blocks.join('\necho ---\n')}`
  const ran = await promisify(execFile)('bash', ['-c', script], { cwd: path(''), env }).catch(
    (error) => error,
  )
  t.equal(ran.code, undefined, ran.stderr)
  const out = String(ran.stdout)
  for (const told of [
    /Verify return code: 0 \(ok\)/,
    /"carrier":"swift-crane","status":"active"/,
    /^200 \{/m,
    /"active":true/,
    /^yes [\w-]{43}$/m,
    /"redeemedAt":/,
    /Carrier swift-crane asked, at its outlet harbour/,
    /"accepted":3,"verified":1,"refused":0,"undecided":0,"redeemed":1,"uncovered":2/,
    /"change":"certificate.issue"/,
  ]) {
    t.match(out, told)
  }
})

t.test('the worked example of docs/LEDGER.md is what the code makes of it', (t) => {
  const example = /```text\n(digest[\s\S]+?)```/.exec(read('docs/LEDGER.md'))?.[1] ?? ''
  const line = (name: string) =>
    new RegExp(`^${name} +([0-9a-f ]+?)(?: {2,}.*)?$`, 'm').exec(example)?.[1] ?? ''
  const bytes = (name: string) => Buffer.from(line(name).replaceAll(' ', ''), 'hex')
  const jti = deriveJti(bytes('digest'))
  t.same(jti, bytes('jti'))
  const [device, courier, parcel] = [Buffer.alloc(16, 0x11), Buffer.alloc(16), Buffer.alloc(32, 0x22)]
  const place = { carrier: 'swift-crane', outlet: 'harbour' }
  const who = hashWho({ ...place, device, courier, parcel, jti, blind: Buffer.alloc(16, 0x33) })
  t.same(who, bytes('who'))
  const data = printEntry({
    ...{ type: 1, timeMs: 1_795_000_000_000, answer: 1, who, jtiHash: hashJti(jti) },
    ...{ sealedHash: Buffer.alloc(32, 0x55), privateHash: sha256(Buffer.alloc(40, 0x44)) },
  })
  const fields = ['prefix', '01', '02', '03', '04', '05', '06', '07', '08'].map(bytes)
  t.equal(Buffer.concat(fields).toString('hex'), data.toString('hex'))
  t.same(leafHash(data), bytes('leaf'))
  t.end()
})
