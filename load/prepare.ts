// Has requests sealed by processes of their own, ahead of a run.
import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { DemoDevice } from '../src/development.ts'
import type { Scenario } from './scenarios.ts'
import type { SealJob } from './sealer.ts'

/** Runs a child that takes one job and says what came of it; progress is told on the way. */
export function runChild<Job, Told extends object>(
  module: string,
  job: Job,
  onTold: (told: Told) => void = () => {},
): { process: ChildProcess; ended: Promise<void> } {
  const child = fork(fileURLToPath(new URL(module, import.meta.url)), { serialization: 'advanced' })
  const ended = new Promise<void>((resolve, reject) => {
    let failed = ''
    child.on('message', (told: Told & { failed?: string }) => {
      if (told.failed !== undefined) failed = told.failed
      else onTold(told)
    })
    child.once('exit', (code, signal) => {
      if (failed === '' && code === 0) resolve()
      else reject(new Error(failed || `${module} ended with ${signal ?? `code ${code}`}.`))
    })
  })
  child.send(job as object)
  return { process: child, ended }
}

export type Prepared = { files: string[]; warmFiles: string[] }

export type Preparing = {
  url: string
  certsDir: string
  /** Where the lines go. */
  folder: string
  devices: readonly DemoDevice[]
  leaving: readonly DemoDevice[]
  mix: Scenario['mix']
  count: number
  firstIndex: number
  /** Cards that return, in all. */
  known: number
  sealers: number
  /** Part of the file names. */
  name: string
}

/** People that one sealer may use up. */
const peopleEach = 2_000_000

/** @returns files of lines (scenarios.ts), and those that make the returning cards known */
export async function prepareLines(options: Preparing, print: (line: string) => void): Promise<Prepared> {
  const { sealers, count, folder, name, devices, leaving } = options
  const share = <T>(all: readonly T[], n: number) => all.filter((_, i) => i % sealers === n)
  const made = new Array<number>(sealers).fill(0)
  const jobs = Array.from({ length: sealers }, (_, n): SealJob => {
    const { url, certsDir, mix, firstIndex, known } = options
    return {
      ...{ url, certsDir, mix, devices: share(devices, n), leaving: share(leaving, n) },
      count: Math.ceil(count / sealers),
      firstIndex: firstIndex + n * peopleEach,
      known: mix.known ? Math.ceil(known / sealers) : 0,
      file: join(folder, `${name}-${n}.ndjson`),
      warmFile: join(folder, `${name}-${n}-warm.ndjson`),
    }
  })
  const progress = setInterval(
    () => print(`  sealed ${made.reduce((sum, one) => sum + one, 0)} of ${count}`),
    5000,
  )
  try {
    const children = jobs.map((job, n) =>
      runChild<SealJob, { made?: number }>('./sealer.ts', job, (told) => {
        made[n] = told.made ?? made[n] ?? 0
      }),
    )
    await Promise.all(children.map(({ ended }) => ended))
  } finally {
    clearInterval(progress)
  }
  return { files: jobs.map(({ file }) => file), warmFiles: jobs.map(({ warmFile }) => warmFile) }
}
