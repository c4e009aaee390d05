// Key-encryption keys as files: every version that is there, and a fault that names its file but never its bytes.
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ensureDevPki } from '../../certs/generate.ts'
import { systemClock } from '../../src/base/clock.ts'
import {
  assertKekFolder,
  eraseRetiredKeks,
  listKeks,
  loadKeks,
  makeKek,
  retireKeks,
} from '../../src/keys/kek.ts'

type Test = { testdir(content: Record<string, string>): string }
const line = (bytes = randomBytes(32)) => bytes.toString('base64url')
const load = (t: Test, files: Record<string, string>) => loadKeks(t.testdir(files))
const faultOf = (run: () => unknown): string => {
  try {
    run()
  } catch (error) {
    return error instanceof Error ? error.message : 'not an Error'
  }
  return 'no fault'
}

t.test('every version is loaded under its number', (t) => {
  const keys = [randomBytes(32), randomBytes(32), randomBytes(32)] as const
  const [one, two, twelve] = keys
  const keks = load(t, {
    'kek-1.key': line(one),
    'kek-2.key': `${line(two)}\n`,
    'kek-12.key': `${line(twelve)}\r\n`,
  })
  t.same(
    [...keks.keys()].sort((a, b) => a - b),
    [1, 2, 12],
  )
  for (const [version, bytes] of [
    [1, one],
    [2, two],
    [12, twelve],
  ] as const) {
    t.equal(keks.get(version)?.type, 'secret')
    t.same(keks.get(version)?.export(), bytes, `version ${version}`)
  }
  t.end()
})

t.test('version 1 need not be there once a later one is', (t) => {
  t.same([...load(t, { 'kek-7.key': line() }).keys()], [7])
  t.end()
})

t.test('the one of the development PKI is loaded', async (t) => {
  const directory = join(t.testdir(), 'certs')
  await ensureDevPki({ directory, nowMs: systemClock.now() })
  t.same([...loadKeks(directory).keys()], [1])
})

t.test('files of other names are not read', (t) => {
  const others = [
    'kek-0.key',
    'kek-01.key',
    'kek-.key',
    'kek--1.key',
    'kek-1.5.key',
    'kek-x.key',
    'kek-2.key.bak',
    'kek-2.key~',
    '.kek-2.key.0123456789ab.tmp',
    'KEK-2.key',
    'akek-2.key',
    'kek-2.pem',
    'token.key',
  ]
  const files = Object.fromEntries(others.map((name) => [name, 'not a key']))
  t.same([...load(t, { ...files, 'kek-3.key': line() }).keys()], [3])
  t.match(
    faultOf(() => load(t, files)),
    /holds no kek-<version>\.key; make one of 32 random bytes/,
  )
  t.end()
})

t.test('a file that is not one line of 32 bytes is a fault that names it and shows nothing of it', (t) => {
  const right = line(Buffer.alloc(32, 0xfb))
  const table: [what: string, text: string][] = [
    ['empty', ''],
    ['blank', '\n'],
    ['31 bytes', line(randomBytes(31))],
    ['33 bytes', line(randomBytes(33))],
    ['16 bytes', line(randomBytes(16))],
    ['hex', randomBytes(32).toString('hex')],
    ['raw bytes', randomBytes(32).toString('latin1')],
    ['base64 with padding', randomBytes(32).toString('base64')],
    ['the other alphabet', right.replaceAll('-', '+')],
    ['spare bits set', `${right.slice(0, -1)}${right.endsWith('_') ? '-' : '_'}`],
    ['two lines', `${right}\n${right}`],
    ['broken in two', `${right.slice(0, 20)}\n${right.slice(20)}`],
    ['a comment beside it', `${right} # first`],
    ['quoted', JSON.stringify(right)],
    ['PEM', '-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n'],
    ['NUL after it', `${right}\0`],
  ]
  for (const [what, text] of table) {
    const fault = faultOf(() => load(t, { 'kek-1.key': line(), 'kek-2.key': text }))
    t.match(fault, /kek-2\.key must hold 32 bytes as one base64url line/, what)
    const shown = text.split('\n').some((part) => part.length > 8 && fault.includes(part))
    t.notOk(shown, 'nothing of the file')
  }
  t.end()
})

t.test('a folder that is absent, or a folder where a key should be, is a fault', (t) => {
  const directory = t.testdir()
  t.match(
    faultOf(() => loadKeks(join(directory, 'none'))),
    /ENOENT.*none/,
  )
  mkdirSync(join(directory, 'kek-1.key'))
  t.match(
    faultOf(() => loadKeks(directory)),
    /EISDIR/,
  )
  t.end()
})

t.test('a version that does not fit in the u32 of PROTOCOL section 3 is a fault that names its file', (t) => {
  t.same([...load(t, { 'kek-4294967295.key': line() }).keys()], [2 ** 32 - 1], 'the last that does')
  for (const version of ['4294967296', '202611241200', '9007199254740993']) {
    const directory = t.testdir({})
    writeFileSync(join(directory, `kek-${version}.key`), line())
    t.match(
      faultOf(() => loadKeks(directory)),
      new RegExp(`kek-${version}\\.key`),
    )
  }
  t.end()
})

t.test('a version is made whole, for its owner only, and never over one that is there', (t) => {
  const directory = t.testdir({ 'kek-1.key': line(), '.kek-2.key.new': 'what a death left' })
  t.equal(makeKek(directory, 2), false)
  t.same(readdirSync(directory), ['kek-1.key', 'kek-2.key'])
  t.equal(statSync(join(directory, 'kek-2.key')).mode & 0o777, 0o600)
  const made = readFileSync(join(directory, 'kek-2.key'), 'utf8')
  t.match(made, /^[\w-]{43}\n$/)
  t.equal(makeKek(directory, 2), true)
  t.equal(readFileSync(join(directory, 'kek-2.key'), 'utf8'), made)
  t.same(listKeks(directory), [1, 2])
  t.end()
})

t.test('lower versions are retired at once, and their bytes overwritten before they go', (t) => {
  const files = { 'kek-1.key': line(), 'kek-2.key': line(), 'kek-3.key': line(), 'a.key': 'a' }
  const root = t.testdir({ certs: files, kept: {} })
  const [directory, kept] = [join(root, 'certs'), join(root, 'kept')]
  t.same(retireKeks(directory, 3), [1, 2])
  t.same([...loadKeks(directory).keys()], [3], 'no reader sees them any more')
  const retired = ['.kek-1.key.retired', '.kek-2.key.retired']
  t.same(readdirSync(directory), [...retired, 'a.key', 'kek-3.key'])
  const before = readFileSync(join(directory, '.kek-1.key.retired'))
  writeFileSync(join(kept, 'block'), before)
  symlinkSync(join(kept, 'block'), join(directory, '.kek-9.key.retired'))
  chmodSync(join(directory, '.kek-2.key.retired'), 0o400)
  eraseRetiredKeks(directory)
  t.same(readdirSync(directory), ['a.key', 'kek-3.key'])
  const after = readFileSync(join(kept, 'block'))
  t.equal(after.length, before.length)
  t.notSame(after, before, 'overwritten')
  eraseRetiredKeks(directory)
  t.same(retireKeks(directory, 3), [], 'and again, with nothing left')
  t.end()
})

t.test('a folder that cannot be written is told before anything begins', (t) => {
  const directory = t.testdir({})
  assertKekFolder(directory)
  t.throws(() => assertKekFolder(join(directory, 'none')), /cannot be written; a new KEK is made there/)
  t.end()
})
