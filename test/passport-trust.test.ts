// The folder of CSCAs: what it takes, what it refuses with a fix, and that changes are followed.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { dayMs } from '../src/base/clock.ts'
import { printPem } from '../src/base/pem.ts'
import { followPassportTrust } from '../src/passport-trust.ts'
import { makeStateList } from '../src/simulator/csca.ts'
import { nowMs } from './helpers/cards.ts'
import { makeFolder } from './helpers/folder.ts'
import { life, signerOf, stateOf } from './helpers/passports.ts'

const state = stateOf()
const second = stateOf()
const other = stateOf({ state: 'QAA', country: 'QA' })
const listLife = { fromMs: nowMs - dayMs, toMs: nowMs + dayMs }

function open(t: Test, files: Record<string, Buffer | string>) {
  const folder = makeFolder()
  t.teardown(() => folder.remove())
  const write = (name: string, bytes: Buffer | string) => writeFileSync(join(folder.path, name), bytes)
  for (const [name, bytes] of Object.entries(files)) write(name, bytes)
  const told: unknown[] = []
  const log = { error: (...line: unknown[]) => told.push(line) }
  const follow = () => {
    const trust = followPassportTrust({ folder: folder.path, log, lookMs: 20 })
    t.teardown(() => trust.close())
    return trust
  }
  return { follow, write, told, remove: (name: string) => rmSync(join(folder.path, name)) }
}

t.test('states, each with its keys and lists, in DER or PEM', async (t) => {
  const { follow } = open(t, {
    'UTO.crt': state.certificateDer,
    'UTO-2.crt': printPem('CERTIFICATE', second.certificateDer),
    'UTO.crl': makeStateList(state, listLife),
    'QAA.crt': other.certificateDer,
    'README.txt': 'whatever',
  })
  const { anchors, listOf } = follow().current()
  t.same(anchors.map((anchor) => anchor.state).sort(), ['QAA', 'UTO', 'UTO'])
  for (const anchor of anchors) t.equal(listOf(anchor) !== undefined, anchor.state === 'UTO', anchor.state)
})

t.test('what is not good to begin with is told with a fix', async (t) => {
  const signer = signerOf(state)
  const cases: [Record<string, Buffer | string>, RegExp][] = [
    [{}, /holds no CSCA/],
    [{ 'uto.crt': state.certificateDer }, /a name that says no state/],
    [{ 'UTOPIA.crt': state.certificateDer }, /a name that says no state/],
    [{ 'UTO.crt': signer.certificateDer }, /not a CA/],
    [{ 'UTO.crt': 'rubbish' }, /no PEM block/],
    [{ 'UTO.crt': stateOf({ country: 'U1' }).certificateDer }, /no country/],
    [{ 'UTO.crt': state.certificateDer, 'UTO.crl': makeStateList(other, listLife) }, /signed by none/],
    [{ 'UTO.crt': state.certificateDer, 'QAA.crl': makeStateList(state, listLife) }, /signed by none/],
  ]
  for (const [files, message] of cases) t.throws(() => open(t, files).follow(), { message })
  const log = { error: () => {} }
  t.throws(() => followPassportTrust({ folder: '/nowhere', log }), { message: /is not there. Fix/ })
})

t.test('changes are followed, and what is no good changes nothing', async (t) => {
  const { follow, write, told, remove } = open(t, {
    'UTO.crt': state.certificateDer,
    'UTO.crl': makeStateList(state, listLife),
  })
  const trust = follow()
  const first = trust.current()
  const listed = () => trust.current().listOf(trust.current().anchors[0] as never)
  await sleep(60)
  t.equal(trust.current(), first, 'the same object while nothing changes')
  const until = async (isSo: () => boolean) => {
    for (let tries = 0; tries < 200 && !isSo(); tries++) await sleep(20)
    t.ok(isSo())
  }
  const signer = signerOf(state)
  write('UTO.crl', makeStateList(state, { ...listLife, fromMs: nowMs - dayMs / 2, revoked: [signer] }))
  await until(() => trust.current() !== first)
  const newer = listed()
  write('UTO.crl', makeStateList(state, { ...listLife, fromMs: life.fromMs }))
  await until(() => told.length === 1)
  t.equal(listed(), newer, 'an older list is not taken')
  write('UTO.crl', Buffer.of(0x30, 0))
  await until(() => told.length === 2)
  await sleep(60)
  t.equal(listed(), newer)
  t.equal(told.length, 2, 'each is told once')
  remove('UTO.crl')
  await until(() => listed() === undefined)
})
