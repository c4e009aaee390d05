// The folder of CSCAs: what it takes, what it refuses with a fix, and that changes are followed.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { dayMs } from '../src/base/clock.ts'
import { printPem } from '../src/base/pem.ts'
import {
  type PassportAnchor,
  type PassportTrust,
  parsePassportCertificate,
} from '../src/card/passport/trust.ts'
import { followPassportTrust } from '../src/passport-trust.ts'
import { makeStateList } from '../src/simulator/csca.ts'
import { nowMs } from './helpers/cards.ts'
import { makeFolder } from './helpers/folder.ts'
import { life, signerOf, stateOf } from './helpers/passports.ts'

const state = stateOf()
const second = stateOf()
const other = stateOf({ state: 'QAA', country: 'QA' })
const clock = { now: () => nowMs }
const listLife = { fromMs: nowMs - dayMs, toMs: nowMs + dayMs }

function open(t: Test, files: Record<string, Buffer | string>) {
  const folder = makeFolder()
  t.teardown(() => folder.remove())
  const write = (name: string, bytes: Buffer | string) => writeFileSync(join(folder.path, name), bytes)
  for (const [name, bytes] of Object.entries(files)) write(name, bytes)
  const told: unknown[] = []
  const log = { error: (...line: unknown[]) => told.push(line) }
  const follow = () => {
    const trust = followPassportTrust({ folder: folder.path, clock, log, lookMs: 20 })
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
  t.throws(() => followPassportTrust({ folder: '/nowhere', clock, log }), { message: /is not there. Fix/ })
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

const serialOf = (signer: { certificateDer: Buffer }) =>
  parsePassportCertificate(signer.certificateDer).serial.toString('hex')
const isRevoked = (trust: PassportTrust, signer: { certificateDer: Buffer }) =>
  trust.anchors.some((anchor) => trust.listOf(anchor)?.hasHex(serialOf(signer)))
async function until(t: Test, isSo: () => boolean) {
  for (let tries = 0; tries < 200 && !isSo(); tries++) await sleep(20)
  t.ok(isSo())
}

t.test(
  'with two keys of one name a signer is revoked by either’s list, and both must be fresh',
  async (t) => {
    const signer = signerOf(state)
    const lists = (secondLife = listLife) => ({
      'UTO.crt': state.certificateDer,
      'UTO-2.crt': second.certificateDer,
      'UTO.crl': makeStateList(state, { ...listLife, revoked: [signer] }),
      'UTO-2.crl': makeStateList(second, { ...secondLife, fromMs: nowMs - dayMs / 2 }),
    })
    const trust = open(t, lists()).follow().current()
    for (const anchor of trust.anchors) {
      t.ok(trust.listOf(anchor)?.hasHex(serialOf(signer)))
      t.ok(trust.listOf(anchor)?.isFresh(nowMs))
    }
    const stale = open(t, lists({ ...listLife, toMs: nowMs - 1 }))
      .follow()
      .current()
    for (const anchor of stale.anchors) t.notOk(stale.listOf(anchor)?.isFresh(nowMs))
  },
)

t.test('a key that is replaced takes its list with it, whatever its time', async (t) => {
  const signer = signerOf(second)
  const { follow, write } = open(t, {
    'UTO.crt': state.certificateDer,
    'UTO.crl': makeStateList(state, listLife),
  })
  const trust = follow()
  write('UTO.crt', second.certificateDer)
  write('UTO.crl', makeStateList(second, { ...listLife, fromMs: nowMs - 2 * dayMs, revoked: [signer] }))
  await until(t, () => isRevoked(trust.current(), signer))
})

t.test('a file that is no good stops nobody else’s revocations', async (t) => {
  const signer = signerOf(state)
  const { follow, write, told } = open(t, {
    'UTO.crt': state.certificateDer,
    'UTO.crl': makeStateList(state, listLife),
    'QAA.crt': other.certificateDer,
    'QAA.crl': makeStateList(other, listLife),
  })
  const trust = follow()
  write('QAA.crl', 'rubbish')
  write('QAA-2.crt', 'rubbish')
  write('UTO.crl', makeStateList(state, { ...listLife, fromMs: nowMs - dayMs / 2, revoked: [signer] }))
  await until(t, () => isRevoked(trust.current(), signer))
  t.ok(told.length >= 2, 'each fault is told')
  t.equal(trust.current().anchors.length, 2, 'the certificates that were good stand')
  for (const anchor of trust.current().anchors) t.ok(trust.current().listOf(anchor)?.isFresh(nowMs))
})

t.test(
  'a list does not come back by way of an absence or of another name, nor from the future',
  async (t) => {
    const signer = signerOf(state)
    const newer = makeStateList(state, { ...listLife, fromMs: nowMs - dayMs / 2, revoked: [signer] })
    const older = makeStateList(state, listLife)
    const { follow, write, remove, told } = open(t, { 'UTO.crt': state.certificateDer, 'UTO.crl': newer })
    const trust = follow()
    const listed = () => trust.current().listOf(trust.current().anchors[0] as PassportAnchor)
    remove('UTO.crl')
    await until(t, () => listed() === undefined)
    write('UTO-3.crl', older)
    await until(t, () => told.length === 1)
    t.ok(isRevoked(trust.current(), signer), 'what the key last signed is in force')
    write('UTO-3.crl', makeStateList(state, { fromMs: nowMs + dayMs, toMs: nowMs + 9 * dayMs }))
    await until(t, () => told.length === 2)
    t.ok(listed()?.isFresh(nowMs), 'a list of the future pushes nothing out')
  },
)
