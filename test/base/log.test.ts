// The log: what of an error appears, and that no message does, however it is given. Libraries quote their input
// in messages, so a message could be a name or a number.
import { strictEqual } from 'node:assert'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { GatewayError } from '../../src/base/errors.ts'
import { describeError } from '../../src/base/log.ts'

const planted = '110101199003070000 张三丰'
const secretOf = (value: unknown) => JSON.stringify(value).includes('110101199003070000')

t.test('an error is told by its type and places, never by its message', (t) => {
  const told = describeError(new TypeError(planted))
  t.same(Object.keys(told).sort(), ['stack', 'type'])
  t.equal(told.type, 'TypeError')
  t.match(told.stack, /^\s+at .*log\.test\.ts/)
  t.notOk(secretOf(told))
  t.end()
})

const thrownBy = (run: () => unknown): Error => {
  try {
    run()
  } catch (error) {
    return error as Error
  }
  throw new Error('nothing was thrown')
}

t.test('errors of libraries, which quote their input, are told without it', (t) => {
  const quoting: [what: string, run: () => unknown][] = [
    ['JSON', () => JSON.parse('张三丰 110101199003070000')],
    ['a number', () => BigInt('x110101199003070000')],
    ['a pattern', () => RegExp(`(${'110101199003070000'}`)],
    ['an assertion', () => strictEqual('110101199003070000', '')],
    ['a file', () => readFileSync('/nowhere/110101199003070000')],
  ]
  for (const [what, run] of quoting) {
    const error = thrownBy(run)
    t.match(error.message, /张三丰|110101199003070000/, `${what}: the message has it`)
    t.notMatch(JSON.stringify(describeError(error)), /张|1101/, what)
  }
  t.end()
})

t.test('a message that looks like a place of the stack is not taken for one', (t) => {
  for (const message of [
    `\n    at ${planted}`,
    `x\n    at ${planted}\n    at ${planted}`,
    `x\r\n\tat ${planted}`,
  ]) {
    t.notOk(secretOf(describeError(new Error(message))), JSON.stringify(message))
  }
  const ofBody = thrownBy(() => JSON.parse('[\n  at 110101199003070000'))
  t.match(ofBody.message, /\n {2}at 11/, 'a JSON body can make one')
  t.notMatch(JSON.stringify(describeError(ofBody)), /at 11/)
  t.end()
})

t.test('our own errors show code and reason, others their code if it is a word', (t) => {
  const ours = describeError(new GatewayError('challenge_used', 'guard'))
  t.match(ours, { type: 'GatewayError', code: 'challenge_used', reason: 'guard' })
  t.same(Object.keys(ours).sort(), ['code', 'reason', 'stack', 'type'])
  const refused = Object.assign(new Error(planted), { code: 'ECONNREFUSED', errno: -111, address: planted })
  t.match(describeError(refused), { type: 'Error', code: 'ECONNREFUSED' })
  t.same(Object.keys(describeError(refused)).sort(), ['code', 'stack', 'type'], 'and nothing else of theirs')
  for (const code of [17, {}, [planted], null]) {
    t.notOk('code' in describeError(Object.assign(new Error('x'), { code })), JSON.stringify(code))
  }
  t.end()
})

t.test('causes are told one after another in the same way', (t) => {
  const chain = new GatewayError('internal', 'unexpected', {
    cause: new RangeError(planted, { cause: Object.assign(new Error(planted), { code: 'EIO' }) }),
  })
  const told = describeError(chain)
  t.match(told, { code: 'internal', cause: { type: 'RangeError', cause: { type: 'Error', code: 'EIO' } } })
  t.notOk(secretOf(told))
  t.notOk('cause' in describeError(new Error('x')), 'none where there is none')
  t.end()
})

t.test('what is thrown or named as cause and is no error is told by its type alone', (t) => {
  const table: [value: unknown, type: string][] = [
    [planted, 'string'],
    [110101199003070000n, 'bigint'],
    [{ message: planted, name: planted, stack: `    at ${planted}`, code: planted }, 'object'],
    [[planted], 'object'],
    [undefined, 'undefined'],
    [null, 'object'],
    [() => planted, 'function'],
  ]
  for (const [value, type] of table) {
    t.same(describeError(value), { type })
    if (value !== undefined) t.same(describeError(new Error('x', { cause: value })).cause, { type })
  }
  t.end()
})

t.test('a long stack is cut to eight places, and an error without one is told', (t) => {
  const deep = (left: number): Error => (left === 0 ? new Error('x') : deep(left - 1))
  t.equal(describeError(deep(50)).stack?.split('\n').length, 8)
  const bare = new Error(planted)
  delete bare.stack
  t.same(describeError(bare), { type: 'Error' })
  t.end()
})

t.test('a chain of causes that comes back to its beginning ends', (t) => {
  const [one, two] = [new Error('one'), new Error('two')]
  one.cause = two
  two.cause = one
  t.doesNotThrow(() => describeError(one))
  t.end()
})

/** Lines that a log of ours writes in a process of its own. */
async function linesOf(script: string, level = 'trace'): Promise<Record<string, unknown>[]> {
  const file = fileURLToPath(new URL('../../src/base/log.ts', import.meta.url))
  const source = `import { createLog } from ${JSON.stringify(file)}
    const log = createLog(${JSON.stringify(level)})
    ${script}`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', source])
  const lines = stdout.split('\n').filter((line) => line !== '')
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>)
}

t.test(
  'elsewhere than on a terminal a line is JSON with time, level, pid, message and our fields',
  async (t) => {
    const [line, ...more] = await linesOf(`log.info({ route: '/v1/verify', status: '200' }, 'request done')`)
    t.same(more, [])
    t.same(Object.keys(line ?? {}).sort(), ['level', 'msg', 'pid', 'route', 'status', 'time'])
    t.match(line, { level: 30, msg: 'request done', route: '/v1/verify', status: '200' })
  },
)

t.test('an error in a line has no message, and lines below the level are not written', async (t) => {
  const lines = await linesOf(
    `const err = new TypeError('${planted}', { cause: new Error('${planted}') })
    log.error({ err }, 'feed not read')
    log.info({ err }, 'not written')
    log.fatal({ err: '${planted}' }, 'gateway failed')`,
    'error',
  )
  const byLevel = lines.sort((a, b) => Number(a['level']) - Number(b['level']))
  t.match(byLevel, [
    { level: 50, msg: 'feed not read', err: { type: 'TypeError', cause: { type: 'Error' } } },
    { level: 60, msg: 'gateway failed', err: { type: 'string' } },
  ])
  t.equal(lines.length, 2)
  t.notOk(secretOf(lines))
})

t.test('an error logged without a message of ours does not bring its own', async (t) => {
  const lines = await linesOf(
    `const err = new TypeError('${planted}')
    log.error({ err })
    log.error(err)`,
  )
  t.equal(lines.length, 2)
  for (const line of lines) t.notOk(secretOf(line), String(line['msg']))
})
