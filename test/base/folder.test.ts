// A folder that several write: one at a time, and a file whole, with its mode whatever the umask.
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { syncFolder, temporaryPattern, withFolderLock, writeWhole } from '../../src/base/folder.ts'

t.test('one at a time, in this process too, and a failure frees the folder', async (t) => {
  const folder = t.testdir()
  const steps: string[] = []
  const work = (name: string) =>
    withFolderLock(folder, async () => {
      steps.push(`${name} begins`)
      await sleep(30)
      steps.push(`${name} ends`)
    })
  await Promise.all(['a', 'b', 'c'].map(work))
  for (let i = 0; i < steps.length; i += 2)
    t.equal(steps[i + 1], steps[i]?.replace('begins', 'ends'), 'nobody came between')
  const fail = async () => {
    throw new Error('no')
  }
  await t.rejects(withFolderLock(folder, fail), /no/)
  await work('d')
  t.equal(steps.at(-1), 'd ends')
})

t.test('a file is there whole, with its mode, or as it was', (t) => {
  const folder = t.testdir({ 'list.crl': 'old' })
  const umask = process.umask(0o077)
  t.teardown(() => process.umask(umask))
  writeWhole(folder, 'list.crl', { text: 'new', mode: 0o644 })
  writeWhole(folder, 'a.key', { text: 'secret', mode: 0o600 })
  syncFolder(folder)
  t.equal(readFileSync(join(folder, 'list.crl'), 'utf8'), 'new')
  const modeOf = (name: string) => statSync(join(folder, name)).mode & 0o777
  t.same([modeOf('list.crl'), modeOf('a.key')], [0o644, 0o600])
  const blocked = join(t.testdir({ folder: { taken: { inside: 'x' } } }), 'folder')
  t.throws(() => writeWhole(blocked, 'taken', { text: 'new', mode: 0o644 }), 'a folder has that name')
  t.same(readdirSync(blocked), ['taken'], 'nothing is left behind')
  t.match(`.list.crl.${'0'.repeat(12)}.tmp`, temporaryPattern)
  t.notMatch('list.crl', temporaryPattern)
  t.end()
})
