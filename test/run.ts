// Runs the test files, each in a process of its own, all of them or those that are named: `node test/run.ts [file ...]`.
// Not `tap run`, nor tap's own `spawn`: their loaders read each source once more, and through NODE_OPTIONS do so in every
// gateway that a test starts.
import { spawn } from 'node:child_process'
import { globSync } from 'node:fs'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const fileMsMax = 180_000
/** More than the cores of a small machine: the files that take longest wait most of their time. */
const lanes = 5
/** Begun first, the longest first: one of them begun last would be waited for alone. */
const longest = [
  ...['workers', 'wire/carrier-tls', 'restored-backup', 'wire/bad-certificates', 'upkeep', 'verify/order'],
  ...['listener-tls', 'wire/misuse', 'ledger/finds', 'serve', 'routes/admission', 'wire/sam', 'privacy'],
  ...['verify/flips', 'docs', 'ledger/integrator', 'wire/gateway-certificate'],
].map((name) => `test/${name}.test.ts`)

/** Run alone, after the others, and once: they hold deadlines or CPU time to account, which others' work makes late. */
const timed = [
  ...['verify/refusals', 'card/attacks', 'bureau/client', 'verify/attacks', 'verify/once'],
  ...['wire/sam', 'load/measure'],
].map((name) => `test/${name}.test.ts`)

process.chdir(fileURLToPath(new URL('..', import.meta.url)))
const asked = process.argv.slice(2)
const files = asked.length > 0 ? [...asked] : inOrder(globSync('test/**/*.test.ts').sort())
const env = {
  ...process.env,
  TAP: '1', // A child prints TAP, and no report.
  TAP_TIMEOUT: String(fileMsMax / 1000),
  // Absolute: gateways are started in other folders.
  NODE_COMPILE_CACHE: fileURLToPath(new URL('../node_modules/.cache/vouchsafe', import.meta.url)),
}

/** All but the timed ones. @throws Error if a file that is named here is no more */
function inOrder(all: readonly string[]): string[] {
  const gone = [...longest, ...timed].filter((file) => !all.includes(file))
  if (gone.length > 0) throw new Error(`test/run.ts names files that are no more: ${gone.join(', ')}`)
  return [...longest, ...all.filter((file) => ![...longest, ...timed].includes(file))]
}

/** The file's TAP, whole, and how its process ended. */
async function run(file: string): Promise<{ tap: string; end: string }> {
  const child = spawn(process.execPath, ['--no-warnings', file], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const late = setTimeout(() => child.kill('SIGKILL'), fileMsMax + 10_000) // tap itself has said so before.
  const ended = new Promise<string>((resolve) =>
    child.once('exit', (code, signal) => resolve(String(signal ?? code))),
  )
  const tap = await text(child.stdout)
  const end = await ended
  clearTimeout(late)
  return { tap, end }
}

t.setTimeout(0) // Each file has its own.
let told: Promise<unknown> = Promise.resolve()

async function runAndTell(name: string): Promise<void> {
  const { tap, end } = await run(name)
  told = told.then(async () => {
    const tapStream = new PassThrough()
    tapStream.end(tap)
    await t.stdin(name, { tapStream })
    if (end !== '0' && !/^not ok /m.test(tap)) t.fail(`${name} ended with ${end}`)
  })
}

await Promise.all(
  Array.from({ length: lanes }, async () => {
    for (let file = files.shift(); file !== undefined; file = files.shift()) await runAndTell(file)
  }),
)
if (asked.length === 0) for (const file of timed) await runAndTell(file)
await told
t.end()
