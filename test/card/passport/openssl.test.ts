// OpenSSL as somebody else: it accepts the simulator's security objects, and the gateway accepts what it signs.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readDer } from '../../../src/base/der.ts'
import { printPem } from '../../../src/base/pem.ts'
import { parseEfSod } from '../../../src/card/passport/ef-sod.ts'
import type { KeyKind, Signature } from '../../../src/simulator/csca.ts'
import { element } from '../../../src/simulator/der.ts'
import { issuePassport, type PassportOptions, readPassport } from '../../../src/simulator/passports.ts'
import { context, signedMs } from '../../helpers/cards.ts'
import { checkPassportOnce, holder, signerOf, stateOf, trustIn } from '../../helpers/passports.ts'

type Case = { key: KeyKind; signature: Signature; keyopts: string[]; options?: PassportOptions }

/** OpenSSL signs by the clock of the machine. */
const ages = { fromMs: Date.UTC(2020, 0), toMs: Date.UTC(2045, 0) }
const pss = ['rsa_padding_mode:pss', 'rsa_pss_saltlen:digest']
const cases: Case[] = [
  { key: { bits: 2048 }, signature: { padding: 'pkcs1', hash: 'sha256' }, keyopts: [] },
  { key: { bits: 2048 }, signature: { padding: 'pss', hash: 'sha256' }, keyopts: pss },
  {
    key: { bits: 3072 },
    signature: { padding: 'pss', hash: 'sha512' },
    keyopts: pss,
    options: { names: 'key' },
  },
  { key: { curve: 'P-256' }, signature: { padding: 'ecdsa', hash: 'sha256' }, keyopts: [] },
  {
    key: { curve: 'brainpoolP384r1' },
    signature: { padding: 'ecdsa', hash: 'sha384' },
    keyopts: [],
    options: { ldsVersion: 1, names: 'key' },
  },
]

const openssl = (cwd: string, ...args: string[]) => execFileSync('openssl', args, { cwd, stdio: 'pipe' })

/** Everything in files of a folder that ends with the test. */
function lay(t: Test, { key, signature, options }: Case) {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-openssl-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const state = stateOf({ key, signature, ...ages })
  const signer = signerOf(state, { key, signature, ...ages })
  const passport = issuePassport(holder, signer, { signedMs, ...options })
  const content = parseEfSod(readDer(passport.sod)).content
  const write = (name: string, bytes: Buffer | string) => writeFileSync(join(folder, name), bytes)
  write('csca.pem', printPem('CERTIFICATE', state.certificateDer))
  write('ds.pem', printPem('CERTIFICATE', signer.certificateDer))
  write('ds.key', signer.key.export({ format: 'pem', type: 'pkcs8' }))
  write('content', content)
  write('sod.cms', passport.sod.subarray(4)) // Without 77 and its length.
  return { folder, state, passport, content, read: (name: string) => readFileSync(join(folder, name)) }
}

for (const one of cases) {
  const { signature, keyopts, options } = one
  const told = `${Object.values(one.key).join(' ')} ${Object.values(signature).join(' ')}`
  t.test(`${told}: OpenSSL verifies ours, and we verify OpenSSL's`, async (t) => {
    const { folder, state, passport, content, read } = lay(t, one)
    const verify = ['cms', '-verify', '-inform', 'DER', '-in', 'sod.cms', '-binary', '-out', 'out']
    openssl(folder, ...verify, '-CAfile', 'csca.pem', '-purpose', 'any', '-no_check_time')
    t.same(read('out'), content)
    const names = options?.names === 'key' ? ['-keyid'] : []
    const sign = [
      'cms',
      '-sign',
      '-in',
      'content',
      '-binary',
      '-nodetach',
      '-outform',
      'DER',
      '-out',
      'theirs',
    ]
    const by = ['-signer', 'ds.pem', '-inkey', 'ds.key', '-md', signature.hash, ...names]
    const how = keyopts.flatMap((keyopt) => ['-keyopt', keyopt])
    openssl(folder, ...sign, ...by, ...how, '-econtent_type', '2.23.136.1.1.1', '-nosmimecap')
    const reading = readPassport({ ...passport, sod: element(0x77, read('theirs')) }, context)
    t.equal(checkPassportOnce(reading, trustIn([state, ages]), Date.now() + 1000).refusal, 0)
  })
}
