// The keyring's file: for its owner only, log included, and sealed keys bound to kind, epoch and KEK version.
import { createSecretKey, randomBytes } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openKey, openKeyringFile, sealKey } from '../../src/keys/store.ts'

t.test('file and log are for their owner only, also where the mask is loose', (t) => {
  const file = join(t.testdir(), 'keyring.db')
  const mask = process.umask(0)
  const db = openKeyringFile(file)
  process.umask(mask)
  for (const name of ['', '-wal', '-shm'].map((end) => file + end)) {
    t.ok(existsSync(name))
    t.equal(statSync(name).mode & 0o777, 0o600, name)
  }
  db.close()
  t.end()
})

t.test('a sealed key opens only as what it is', (t) => {
  const keks = new Map([1, 2].map((version) => [version, createSecretKey(randomBytes(32))] as const))
  const row = { kind: 'record', epoch: 20_000, kek_version: 1 }
  const plain = randomBytes(32)
  const sealed = sealKey(keks, row, plain)
  t.same(openKey(keks, { ...row, sealed }), plain)
  for (const change of [{ kind: 'tag' }, { epoch: 20_001 }, { kek_version: 2 }]) {
    t.throws(() => openKey(keks, { ...row, sealed, ...change }), /does not open under KEK version/)
  }
  t.throws(
    () => openKey(keks, { ...row, sealed, kek_version: 3 }),
    /needs KEK version 3, which is not loaded/,
  )
  t.end()
})
