// The house rules as code: import ranks, confined modules, sizes, forbidden words, dead files (docs/STYLE.md).
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = fileURLToPath(new URL('..', import.meta.url))
const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
const files = listed.split('\n').filter((file) => file !== '' && existsSync(join(root, file)))
const code = files.filter((file) => /\.(ts|js)$/.test(file))
const read = (file: string) => readFileSync(join(root, file), 'utf8')
const textOf = new Map(code.map((file) => [file, read(file)]))

/** Folders from low to high; neighbours on one line never import each other. */
const ranks = [
  ['src/base'],
  ['src/pki', 'src/keys', 'src/ledger', 'src/sam'],
  ['src/channel', 'src/card', 'src/bureau', 'src/cache', 'src/store', 'src/registry', 'src/token'],
  ['src/verify', 'src/sdk'],
  ['plugins'],
  ['src/routes'],
  ['src/app'],
  ['src/bureau-mock', 'src/sam-mock', 'src/simulator', 'src/console', 'certs'],
  ['src/serve'],
  ['src/cli'],
  ['load'],
  ['test'],
]
/** Files at the top of src/ beside app, serve and cli, and the commands: which rank they share. */
const placed: Record<string, string> = {
  'src/gateway.ts': 'src/app',
  'src/card-trust.ts': 'src/app',
  'src/carrier-listener.ts': 'src/app',
  'src/followed-files.ts': 'src/app',
  'src/gathering.ts': 'src/serve',
  'src/engine.ts': 'src/app',
  'src/issuing.ts': 'src/app',
  'src/issuer-list.ts': 'src/app',
  'src/list-fetcher.ts': 'src/app',
  'src/list-places.ts': 'src/app',
  'src/trust-file.ts': 'src/app',
  'src/listener-tls.ts': 'src/app',
  'src/nodes.ts': 'src/app',
  'src/own-certificates.ts': 'src/app',
  'src/passport-trust.ts': 'src/app',
  'src/recorder.ts': 'src/app',
  'src/resources.ts': 'src/app',
  'src/revocation-list.ts': 'src/app',
  'src/sam-service.ts': 'src/app',
  'src/siblings.ts': 'src/app',
  'src/ticket-keys.ts': 'src/app',
  'src/token-revocations.ts': 'src/app',
  'src/upkeep.ts': 'src/app',
  'src/witnesses.ts': 'src/app',
  'src/app.ts': 'src/app',
  'src/development.ts': 'src/serve',
  'src/pki-stamp.ts': 'src/serve',
  'src/primary.ts': 'src/serve',
  'src/required-files.ts': 'src/serve',
  'src/serve.ts': 'src/serve',
  'src/worker.ts': 'src/serve',
  'src/demo.ts': 'src/cli',
  'src/gateway-process.ts': 'src/cli',
  'src/cli.ts': 'src/cli',
  'src/launch.js': 'src/cli',
}

function roomOf(file: string): string {
  if (placed[file]) return placed[file]
  if (file.startsWith('src/commands/')) return 'src/cli'
  return ranks.flat().find((room) => file.startsWith(`${room}/`)) ?? file
}
const rankOf = (room: string) => ranks.findIndex((rooms) => rooms.includes(room))

function importsOf(file: string): string[] {
  const text = textOf.get(file) ?? ''
  const found = [
    ...text.matchAll(
      /(?:from|import\(|import|new URL\()\s*'(\.{1,2}\/[^']+|[a-z]+(?:-[a-z]+)*\/[^']*\.ts)'/g,
    ),
  ]
  return found.map((match) => {
    const spec = match[1] as string
    return relative(
      root,
      spec.startsWith('.') ? resolve(root, dirname(file), spec) : resolve(root, dirname(file), spec),
    )
  })
}

t.test('every import goes down the ranks or stays in its room', (t) => {
  for (const file of code) {
    const room = roomOf(file)
    if (rankOf(room) < 0) {
      if (file.includes('/')) t.fail(`${file} is in no room that the ranks name`)
      continue
    }
    for (const target of importsOf(file)) {
      const other = roomOf(target)
      if (other === room) continue
      if (rankOf(other) >= rankOf(room)) t.fail(`${file} imports ${target}, which is not below it`)
    }
  }
  t.pass(`${code.length} files`)
  t.end()
})

t.test('what is confined is used only where it belongs', (t) => {
  const confined: [pattern: RegExp, rooms: RegExp][] = [
    [
      /from '(fastify|fastify-plugin|@fastify\/[^']+)'/,
      /^(plugins\/|src\/(routes\/|app\.ts|gateway\.ts|serve\.ts|bureau-mock\/|sam-mock\/)|load\/peers\/servers\/|test\/)/,
    ],
    [/from 'ioredis'/, /^(src\/store\/redis(-call)?\.ts|load\/peers\/servers\/|test\/)/],
    [/from 'undici'/, /^(src\/(base\/http\.ts|bureau\/|sam\/|sdk\/)|load\/peers\/servers\/|test\/)/],
    [/from 'node-forge'/, /^(certs|src\/simulator|load\/peers\/servers|test)\//],
    [/process\.env/, /^(src\/base\/config\.ts|src\/cli\.ts|src\/launch\.js|test\/)/],
    [/Date\.now/, /^(src\/base\/clock\.ts|test\/)/],
    [/Math\.random/, /^$/],
  ]
  for (const [file, text] of textOf) {
    if (file === 'test/tidy.test.ts') continue
    for (const [pattern, rooms] of confined) {
      if (pattern.test(text) && !rooms.test(file)) t.fail(`${file} uses ${pattern}`)
    }
  }
  t.pass('confined')
  t.end()
})

t.test('files and lines keep their size, and every file says what it is', (t) => {
  for (const [file, text] of textOf) {
    const lines = text.split('\n')
    if (lines.length > 401) t.fail(`${file} has ${lines.length} lines`)
    const first = lines[0]?.startsWith('#!') ? lines[1] : lines[0]
    if (!file.startsWith('test/') && !first?.startsWith('//')) t.fail(`${file} does not begin with a comment`)
  }
  t.pass('sizes')
  t.end()
})

t.test('functions are at most 70 lines', (t) => {
  for (const [file, text] of textOf) {
    if (file.startsWith('test/')) continue
    const lines = text.split('\n')
    let start = -1
    let indent = ''
    for (const [i, line] of lines.entries()) {
      const opening =
        /^(\s*)(?:export )?(?:default )?(?:async )?(?:static async |static )?(?:function\b.*|#?[a-z]\w*\(.*\).*)\{$/.exec(
          line,
        )
      if (opening && start < 0) {
        start = i
        indent = opening[1] ?? ''
      } else if (start >= 0 && line.startsWith(`${indent}}`)) {
        if (i - start + 1 > 70) t.fail(`${file}:${start + 1} is a function of ${i - start + 1} lines`)
        start = -1
      }
    }
  }
  t.pass('functions')
  t.end()
})

t.test('no left-overs and no forbidden names', (t) => {
  const words = new RegExp(`\\b(${['TO', 'DO'].join('')}|${['FIX', 'ME'].join('')}|X{3})\\b`)
  for (const [file, text] of textOf) {
    if (words.test(text)) t.fail(`${file} has a left-over`)
    if (/\/(utils?|helpers?|common|manager|service)\.ts$/.test(`/${file}`))
      t.fail(`${file} has a name that says nothing`)
    if (/:\s*any\b|as any\b|<any>/.test(text) && file !== 'test/tidy.test.ts') t.fail(`${file} uses any`)
  }
  t.pass('words')
  t.end()
})

t.test('no file is dead: each is imported, run or a test', (t) => {
  const entries = /^(src\/(cli|launch)\.(ts|js)|src\/bureau-mock\/main\.ts|src\/sdk\/.*|load\/.*|test\/.*)$/
  const used = new Set(code.flatMap(importsOf))
  for (const file of code) {
    if (!entries.test(file) && !used.has(file)) t.fail(`${file} is imported by nothing`)
  }
  t.pass('alive')
  t.end()
})
