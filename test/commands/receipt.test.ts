// `vouchsafe receipt verify`, as a person types it, in a folder with nothing but the receipt; `get` against a
// gateway is tested in test/receipts.test.ts.
import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { runReceipt } from '../../src/commands/receipt.ts'
import {
  keyOf,
  ledgerVkey,
  origin,
  receiptOf,
  tokenOf,
  verifyEntry,
  who,
  witnessVkeys,
} from '../helpers/receipts.ts'

const launch = fileURLToPath(new URL('../../src/launch.js', import.meta.url))

function startTest(t: Test, files: Record<string, string> = {}) {
  const dir = t.testdir({ 'a.receipt': receiptOf({ witnesses: 1 }), ...files })
  const file = (name: string) => join(dir, name)
  async function type(...args: string[]) {
    const [out, err]: [string[], string[]] = [[], []]
    const code = await runReceipt(args, { out: (line) => out.push(line), err: (line) => err.push(line) })
    return { code, out: out.join('\n'), err: err.join('\n') }
  }
  return { dir, file, type }
}

t.test('it runs in an empty folder with only the receipt, with no settings and no database', (t) => {
  const dir = t.testdir({ 'a.receipt': receiptOf() })
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [launch, 'receipt', ...args], {
      cwd: dir,
      // Settings that no other command would accept: this one reads none.
      env: { PATH: process.env['PATH'], VOUCHSAFE_MODE: 'nonsense', DEVICE_PORT: '-1' },
      encoding: 'utf8',
    })
  const right = run('verify', 'a.receipt', '--key', ledgerVkey, '--token', tokenOf())
  t.match(right, { status: 0, stderr: '' })
  t.match(right.stdout, 'Carrier swift-parcel asked')
  writeFileSync(join(dir, 'a.receipt'), receiptOf({ log: { key: keyOf('other') } }))
  t.match(run('verify', 'a.receipt', '--key', ledgerVkey), { status: 1, stdout: /^False: /, stderr: '' })
  t.match(run('verify', 'b.receipt', '--key', ledgerVkey), { status: 2, stdout: '', stderr: /^Unreadable: / })
  t.same(readdirSync(dir), ['a.receipt'], 'nothing is left behind')
  t.end()
})

t.test('a true receipt is said in plain words', async (t) => {
  const { file, type } = startTest(t)
  const { code, out, err } = await type(
    'verify',
    file('a.receipt'),
    '--key',
    ledgerVkey,
    '--token',
    tokenOf(),
  )
  t.equal(code, 0)
  t.equal(err, '')
  const lines = [
    'This receipt is true. It proves:',
    '  Carrier swift-parcel asked, at its outlet SH-0042, with the device 0dHR0dHR0dHR0dHR0dHR0Q,',
    `  about the parcel ${who.parcel.toString('base64url')} (a commitment to its waybill).`,
    '  The answer was yes, on 2026-11-23 12:00:00.007 UTC.',
    '  It was given as the token with the id MTExMTExMTExMTExMTExMQ.',
    `  This is entry 5, counted from 0, in the ledger named ${origin}, signed when it had 11 entries`,
    'The token says the same. Its own signature was not looked at.',
  ]
  for (const line of lines) t.ok(out.split('\n').includes(line), line)
  t.match(out, 'No witness was asked for')
  const [first = '', second = ''] = witnessVkeys
  const witnessed = [
    'verify',
    file('a.receipt'),
    '--key',
    ledgerVkey,
    '--witness',
    first,
    '--witness',
    second,
  ]
  t.match(
    await type(...witnessed),
    { code: 1, out: /^False: fewer of the named witnesses/ },
    'all are asked for',
  )
  t.match(await type(...witnessed, '--quorum', '1'), { code: 0, out: / 1 of 2 witnesses signed/ })
})

t.test('the key is a vkey, a file with one, or PEM beside the name', async (t) => {
  const pem = execFileSync('openssl', ['pkey', '-pubout'], {
    input: keyOf('ledger').export({ format: 'pem', type: 'pkcs8' }) as string,
    encoding: 'utf8',
  })
  const { file, type } = startTest(t, { 'l.vkey': `${ledgerVkey}\n`, 'l.pub': pem, 'junk.pub': 'junk' })
  const verify = (...args: string[]) => type('verify', file('a.receipt'), ...args)
  t.match(await verify('--key', ledgerVkey), { code: 0 })
  t.match(await verify('--key', file('l.vkey')), { code: 0 })
  t.match(await verify('--key', file('l.pub'), '--name', origin), { code: 0 })
  t.match(await verify('--key', file('l.pub'), '--name', 'other.example'), { code: 1, out: /another name/ })
  t.match(await verify('--key', file('l.pub')), { code: 64, err: /PEM file: add --name/ })
  t.match(await verify('--key', file('l.pub'), '--name', 'a b'), { code: 64, err: /is not a name/ })
  t.match(await verify('--key', file('junk.pub')), { code: 64, err: /neither a vkey nor an Ed25519 key/ })
  t.match(await verify('--key', file('none')), { code: 64, err: /neither a vkey nor a file that is there/ })
  t.match(await verify('--key', witnessVkeys[0] ?? ''), { code: 64, err: /not a vkey of type 1/ })
  t.match(await verify(), { code: 64, err: /--key is missing/ })
})

t.test('what is false has its sentence, what cannot be read another code', async (t) => {
  const { file, type } = startTest(t)
  const verify = (text: string, ...args: string[]) => {
    writeFileSync(file('b.receipt'), text)
    return type('verify', file('b.receipt'), '--key', ledgerVkey, ...args)
  }
  const untrue: [text: string, said: RegExp][] = [
    [receiptOf({ opening: { ...who, outlet: 'SH-0043' } }), /was not made for the carrier/],
    [receiptOf({ data: verifyEntry(who, { jtiHash: Buffer.alloc(32) }) }), /not made for the token id/],
    [receiptOf({ log: { origin: 'other.example' } }), /another name/],
    [receiptOf({ log: { key: keyOf('other') } }), /did not sign it/],
    [receiptOf().replace('index 5', 'index 4'), /not in the ledger that its checkpoint describes/],
  ]
  for (const [text, said] of untrue) t.match(await verify(text), { code: 1, out: said, err: '' })
  const other = await verify(receiptOf(), '--token', tokenOf({ parcel: 'x' }))
  t.match(other, { code: 1, out: /not that of this token: "parcel" differs/ })
  for (const text of [
    '',
    'x',
    receiptOf().slice(0, -1),
    receiptOf().replaceAll('\n', '\r\n'),
    `\ufeff${receiptOf()}`,
  ])
    t.match(await verify(text), { code: 2, out: '', err: /^Unreadable: / })
  t.match(await verify(receiptOf(), '--token', file('none')), { code: 2, err: /the token .* cannot be read/ })
  writeFileSync(file('a.jwt'), `${tokenOf()}\n`)
  t.match(await verify(receiptOf(), '--token', file('a.jwt')), { code: 0 })
  writeFileSync(file('a.jwt'), 'no token')
  t.match(await verify(receiptOf(), '--token', file('a.jwt')), { code: 2, err: /the token is no JWT/ })
})

t.test('what cannot be understood exits with 64 and names what was wrong', async (t) => {
  const { file, type } = startTest(t)
  const key = ['--key', ledgerVkey]
  const gateway = [
    '--gateway',
    'https://localhost:1',
    '--ca',
    file('a'),
    '--cert',
    file('a'),
    '--key',
    file('a'),
  ]
  const id = '-AAAAAAAAAAAAAAAAAAAAA'
  const table: [args: string[], said: RegExp][] = [
    [[], /vouchsafe receipt get JTI/],
    [['verify'], /vouchsafe receipt get JTI/],
    [['prove', 'x'], /vouchsafe receipt get JTI/],
    [['verify', 'a', 'b', ...key], /vouchsafe receipt get JTI/],
    [['verify', 'a', '--kee', 'x'], /Unknown option '--kee'/],
    [['verify', file('a.receipt'), ...key, '--quorum', '1'], /--quorum "1" is not a number from 0 to 0/],
    [['verify', file('a.receipt'), ...key, '--witness', ledgerVkey], /not a vkey of type 4/],
    [['get', 'short', ...gateway], /JTI is neither/],
    [['get', id], /Missing: --gateway, --ca, --cert, --key/],
    [['get', id, '--gateway', 'https://localhost:1/x', ...gateway.slice(2)], /is not an origin/],
    [['get', tokenOf(), ...gateway], /--ca .* cannot be read/],
  ]
  for (const [args, said] of table)
    t.match(await type(...args), { code: 64, out: '', err: said }, args.join(' '))
  t.match(await type('--help'), { code: 0, out: /vouchsafe receipt verify answer.receipt --key/ })
})
