// Runs the test files, each in a process of its own, all of them or those that are named: `node test/run.ts [file ...]`.
// Not `tap run`, nor tap's own `spawn`: their loaders read each source once more, and through NODE_OPTIONS do so in every
// gateway that a test starts. A file that fails beside others is run again alone, and that counts.
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
  ...['verify/refusals', 'verify/flips', 'docs', 'ledger/integrator', 'wire/gateway-certificate'],
].map((name) => `test/${name}.test.ts`)

process.chdir(fileURLToPath(new URL('..', import.meta.url)))
const asked = process.argv.slice(2)
const files = asked.length > 0 ? asked : inOrder(globSync('test/**/*.test.ts').sort())
const env = {
  ...process.env,
  TAP: '1', // A child prints TAP, and no report.
  TAP_TIMEOUT: String(fileMsMax / 1000),
  // Absolute: gateways are started in other folders.
  NODE_COMPILE_CACHE: fileURLToPath(new URL('../node_modules/.cache/vouchsafe', import.meta.url)),
}

/** @throws Error if a file of the longest is no more */
function inOrder(all: readonly string[]): string[] {
  const gone = longest.filter((file) => !all.includes(file))
  if (gone.length > 0) throw new Error(`test/run.ts names files that are no more: ${gone.join(', ')}`)
  return [...longest, ...all.filter((file) => !longest.includes(file))]
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

/** The innermost check that failed first. */
const firstFailure = (tap: string) =>
  /^ *not ok .*$/m.exec(tap)?.[0].trim() ?? 'no check failed, but it ended so'

t.setTimeout(0) // Each file has its own.
const failed: string[] = []
let told: Promise<unknown> = Promise.resolve()

function tell(name: string, { tap, end }: { tap: string; end: string }): void {
  told = told.then(async () => {
    const tapStream = new PassThrough()
    tapStream.end(tap)
    await t.stdin(name, { tapStream })
    if (end !== '0' && !/^not ok /m.test(tap)) t.fail(`${name} ended with ${end}`)
  })
}

await Promise.all(
  Array.from({ length: lanes }, async () => {
    for (let file = files.shift(); file !== undefined; file = files.shift()) {
      const ran = await run(file)
      if (ran.end === '0') tell(file, ran)
      else {
        console.error(`${file} failed beside others, and is run again alone: ${firstFailure(ran.tap)}`)
        failed.push(file)
      }
    }
  }),
)
// Deadlines are tested too, and on a busy machine other tests are what makes them late: who fails does so alone.
for (const file of failed) tell(file, await run(file))
await told
t.end()
