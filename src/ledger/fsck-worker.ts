// A thread that checks one run of entries for fsck.ts, and tells how far it is.
import { parentPort, workerData } from 'node:worker_threads'
import { present } from '../base/assert.ts'
import { checkRun, type Fault } from './fsck.ts'
import { openLedgerReadOnly } from './sqlite.ts'

export type FsckWork = { file: string; begin: number; end: number }
export type FsckNews =
  | { kind: 'progress'; entries: number }
  | { kind: 'done'; tileHashes: Uint8Array; firstMs: number; lastMs: number; fault: Fault | undefined }

const port = present(parentPort, 'the port of the fsck worker')
const { file, begin, end } = workerData as FsckWork
const db = openLedgerReadOnly(file)
const post = (news: FsckNews) => port.postMessage(news)

const run = checkRun(db, { begin, end }, (entries) => post({ kind: 'progress', entries }))
db.close()
// One array of its own: a pooled Buffer would be cloned with its pool.
post({ ...run, kind: 'done', tileHashes: Uint8Array.from(Buffer.concat(run.tileHashes)) })
