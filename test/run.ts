// Every test file, each in a process of its own, as `tap run` does, but without its loaders: they read
// each source once more and double the time of a start, in the tests and in every gateway they start.
import { globSync } from 'node:fs'
import t from 'tap'

const FILE_TIMEOUT_MS = 180_000

const asked = process.argv.slice(2)
const files = asked.length > 0 ? asked : globSync('test/**/*.test.ts').sort()

t.jobs = 3
t.setTimeout(0)
const env = { ...process.env, TAP_TIMEOUT: String(FILE_TIMEOUT_MS / 1_000) }
for (const file of files) {
  void t.spawn(
    process.execPath,
    ['--no-warnings', file],
    { buffered: true, timeout: FILE_TIMEOUT_MS, env },
    file,
  )
}
