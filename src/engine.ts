// How Node's engine and its allocator are set up, and what that is for (figures in docs/DESIGN.md).

/** The pool (files, name lookups) has two threads: one would be held up by a slow lookup. */
export type Engine = { flags: readonly string[]; environment: Readonly<Record<string, string>> }

/** As `npm start`: a gateway in one process, resident in less than 200 MB. */
export const smallEngine: Engine = {
  flags: [
    '--optimize-for-size',
    '--max-semi-space-size=4',
    '--v8-pool-size=1',
    '--no-sparkplug',
    '--no-maglev',
  ],
  environment: {
    MALLOC_ARENA_MAX: '2',
    MALLOC_TRIM_THRESHOLD_: '131072',
    MALLOC_MMAP_THRESHOLD_: '32768',
    UV_THREADPOOL_SIZE: '2',
  },
}

/** A worker: fewer collections and fewer pages given back and taken again, in less than 250 MB. */
export const workerEngine: Engine = {
  flags: ['--max-semi-space-size=16', '--heap-growing-percent=40', '--v8-pool-size=1'],
  environment: { MALLOC_ARENA_MAX: '2', UV_THREADPOOL_SIZE: '2' },
}
