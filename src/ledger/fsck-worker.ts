// A thread that checks one run of entries, or the used challenges, for fsck.ts, and tells how far it is.
import { parentPort, workerData } from 'node:worker_threads'
import { present } from '../base/assert.ts'
import { checkRun, type Fault } from './fsck.ts'
import { checkConsumed } from './fsck-claims.ts'
import type { DayCounts } from './fsck-counts.ts'
import { openLedgerReadOnly } from './sqlite.ts'

/** Without a range: the used challenges, of the first `entries`. */
export type FsckWork = { file: string; entries: number; range: { begin: number; end: number } | undefined }
export type FsckNews =
  | { kind: 'progress'; count: number }
  | {
      kind: 'run'
      tileHashes: Uint8Array
      acts: number[]
      counts: DayCounts
      firstMs: number
      lastMs: number
      fault: Fault | undefined
    }
  | { kind: 'consumed'; fault: Fault | undefined }

const port = present(parentPort, 'the port of the fsck worker')
const { file, entries, range } = workerData as FsckWork
const db = openLedgerReadOnly(file)
const post = (news: FsckNews) => port.postMessage(news)
const onProgress = (count: number) => post({ kind: 'progress', count })

if (range) {
  const run = checkRun(db, range, onProgress)
  // One array of its own: a pooled Buffer would be cloned with its pool.
  post({ ...run, kind: 'run', tileHashes: Uint8Array.from(Buffer.concat(run.tileHashes)) })
} else post({ kind: 'consumed', fault: checkConsumed(db, entries, onProgress) })
db.close()
