// A whole gateway whose disk takes no more bytes: no answer is given, none is lost, and it goes on by itself once
// there is room (PROTOCOL section 0.3).
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

const program = fileURLToPath(new URL('../helpers/full-disk.ts', import.meta.url))

t.test(
  'a full disk: 503 and no answer; with room again the same bytes get theirs within 5 s',
  { skip: existsSync('/usr/bin/prlimit') ? false : 'no prlimit on this machine' },
  async (t) => {
    const args = ['-i', process.execPath, program, t.testdir()]
    const { stdout } = await promisify(execFile)('/usr/bin/env', args)
    const lines = stdout.split('\n').filter((line) => line.startsWith('{'))
    const replies = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
    const of = (when: string) => replies.filter((reply) => reply['when'] === when)
    t.match(of('before'), [{ status: 200, answer: 'yes' }])
    t.equal(of('full').length, 3)
    for (const reply of of('full')) t.same(reply, { when: 'full', status: 503, code: 'ledger_unavailable' })
    t.match(of('again'), [{ status: 200, answer: 'yes' }], 'what was answered is answered again')
    t.match(of('after').at(-1), { status: 200, answer: 'yes' })
  },
)
