// A ledger for fsck: entries of all sorts with challenges as a gateway makes them, closed and filed; copies of it that
// a test alters; and the command over one of them.
import { createSecretKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { copyFileSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Test } from 'tap'
import { systemClock } from '../../src/base/clock.ts'
import { readConfig } from '../../src/base/config.ts'
import { issueChallenges, purpose } from '../../src/channel/challenge.ts'
import { runFsck } from '../../src/commands/fsck.ts'
import type { Append, Ledger } from '../../src/ledger/ledger.ts'
import { printVkey } from '../../src/ledger/note.ts'
import { noon, openIn, person, sessionOf, until, verifyOf } from './ledger.ts'

const { privateKey } = generateKeyPairSync('ed25519')
export const signer = { name: 'ledger.test', key: privateKey }
export const key = printVkey(signer.name, privateKey)

/** `text` is what it found, `errors` what it could not begin with; a slow machine is told of progress there too. */
export async function fsck(file: string, ...more: string[]) {
  const [out, err] = [[] as string[], [] as string[]]
  const io = {
    config: readConfig({}),
    clock: systemClock,
    dataDir: join(file, '..'),
    certsDir: join(file, '..', 'none'),
    out: (line: string) => out.push(line),
    err: (line: string) => err.push(line),
  }
  const code = await runFsck(['--file', file, '--key', key, ...more], io)
  return { code, text: out.join('\n'), errors: err.join('\n') }
}

const macKey = createSecretKey(Buffer.alloc(32, 1))
const device = Buffer.alloc(16, 1)
/** Each entry is about another invented person: keys of all parts are filed. */
const someone = () => ({ ...person, number: randomBytes(9).toString('hex'), serial: randomBytes(16) })
/** A challenge as a gateway makes it, the first of `count`, for the entry that uses it at once. */
export function challengeAt(nowMs: number, count = 1) {
  const { challenge, ttlS } = issueChallenges(macKey, { use: purpose.reading, device, count, nowMs })
  return { challenge, expiresMs: (Math.floor(nowMs / 1000) + ttlS) * 1000 }
}
export const verifyAt = (nowMs = noon) => verifyOf({ ...challengeAt(nowMs), subject: someone() })
export const sessionAt = (nowMs = noon) => ({ ...sessionOf('{}'), ...challengeAt(nowMs) })

export const size = 4200
export const session = 650
/** Acts are 660, 661 and 662, changes 1 to 3 of the registry. */
export const act = 660
export const undecided = 670

function entryAt(index: number): Append {
  if (index === session || index === session + 1) return sessionAt()
  if (index === undecided) return { ...verifyAt(), type: 'undecided', answer: 3 }
  const seq = index - act + 1
  if (seq >= 1 && seq <= 3) return { type: 'act', kind: 4, act: '{}', seq }
  return verifyAt()
}

export const appendAll = (ledger: Ledger, entries: readonly Append[]) =>
  Promise.all(entries.map((entry) => ledger.append(entry)))

/** A closed ledger of 4,200 entries of all sorts, of which the first 4,096 are in search blocks. */
export async function fill(t: Test) {
  const { ledger, file } = await openIn(t, { signer })
  for (let at = 0; at < size; at += 100) {
    await appendAll(
      ledger,
      Array.from({ length: 100 }, (_, i) => entryAt(at + i)),
    )
  }
  const db = new DatabaseSync(file, { readOnly: true })
  await until(() => db.prepare('select 1 from finds where kind = 0').get() !== undefined)
  db.close()
  await ledger.close()
  return file
}

/** A copy of a closed ledger with its head file, in a folder of its own, altered. */
export function damage(file: string, edit: string | ((db: DatabaseSync, folder: string) => void)): string {
  const folder = join(file, '..', 'damaged')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
  for (const name of ['ledger.db', 'ledger-head.note'])
    copyFileSync(join(file, '..', name), join(folder, name))
  const db = new DatabaseSync(join(folder, 'ledger.db'))
  if (typeof edit === 'string') db.exec(edit)
  else edit(db, folder)
  db.close()
  return join(folder, 'ledger.db')
}
