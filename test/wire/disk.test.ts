// A whole gateway whose disk takes no more bytes, or is gone read-only: no answer is given, none is lost, and it goes
// on once the disk does (PROTOCOL section 0.3).
import { execFile, spawnSync } from 'node:child_process'
import { existsSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { makeFolder } from '../helpers/folder.ts'

const program = fileURLToPath(new URL('../helpers/broken-disk.ts', import.meta.url))

type Reply = { when: string; status: number; answer?: string; index?: number; code?: string }

const repliesIn = (stdout: string) =>
  stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Reply)

function check(t: Test, replies: readonly Reply[]): void {
  const of = (when: string) => replies.filter((reply) => reply.when === when)
  t.match(of('before'), [{ status: 200, answer: 'yes' }])
  t.equal(of('broken').length, 3)
  for (const reply of of('broken')) t.same(reply, { when: 'broken', status: 503, code: 'ledger_unavailable' })
  t.match(of('again'), [{ status: 200, answer: 'yes' }], 'what was answered is answered again')
  t.match(of('after').at(-1), { status: 200, answer: 'yes' })
  const [before] = of('before')
  t.type(before?.index, 'number')
  t.same(of('mended'), [{ ...before, when: 'mended' }], 'what was answered before has its entry still')
}

t.test(
  'a full disk: 503 and no answer; with room again the same bytes get theirs within 5 s',
  { skip: existsSync('/usr/bin/prlimit') ? false : 'no prlimit on this machine' },
  async (t) => {
    const args = ['-i', process.execPath, program, t.testdir(), 'full']
    check(t, repliesIn((await promisify(execFile)('/usr/bin/env', args)).stdout))
  },
)

/** Runs a command with a small file system of its own at `point`, seen by nobody else; it needs root. */
const inMount = (image: string, point: string, command: readonly string[]) =>
  [
    'unshare',
    '--mount',
    'sh',
    '-c',
    'mount -o loop "$0" "$1" && shift && "$@"',
    image,
    point,
    ...command,
  ] as const

/** What a machine says that lacks the right to mount or a program for it. Anything else is a fault of the test. */
const cannot =
  /ENOENT|not found|not permitted|permission denied|only root|superuser|failed to setup loop device/i

function makeImage(): { image: string; point: string; whyNot: string | false; remove(): void } {
  const folder = makeFolder()
  const image = join(folder.path, 'image')
  const point = makeFolder()
  const remove = () => {
    point.remove()
    folder.remove()
  }
  writeFileSync(image, '')
  truncateSync(image, 64 * 2 ** 20)
  const mount = inMount(image, point.path, ['true'])
  for (const [command, ...args] of [['/sbin/mkfs.ext4', '-q', image] as const, mount]) {
    const { PATH } = process.env
    const { error, status, stderr } = spawnSync(command, args, {
      encoding: 'utf8',
      env: { PATH, LC_ALL: 'C' },
    })
    if (!error && status === 0) continue
    const said = `${command}: ${error ? error.message : stderr.trim()}`
    if (cannot.test(said)) return { image, point: point.path, whyNot: `no file system here: ${said}`, remove }
    remove()
    throw new Error(`${said} (${status})`)
  }
  return { image, point: point.path, whyNot: false, remove }
}

const made = makeImage()
t.teardown(() => made.remove())

t.test(
  'a disk gone read-only: 503 and no answer; mounted anew the same bytes get theirs, and none is lost',
  { skip: made.whyNot },
  async (t) => {
    const [command, ...args] = inMount(made.image, made.point, [
      process.execPath,
      program,
      made.point,
      'read-only',
    ])
    const { PATH } = process.env
    const { stdout } = await promisify(execFile)(command, args, { env: { PATH } })
    check(t, repliesIn(stdout))
  },
)
