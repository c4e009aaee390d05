// Named operators by HTTP Basic: who is let in where, and that a refusal tells nothing (PROTOCOL section 2).
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import errors from '../../plugins/errors.ts'
import operatorAuth, { type Operator } from '../../plugins/operator-auth.ts'
import { addOperator, operatorRoles } from '../../src/registry/operators.ts'
import { startTestGateway } from '../helpers/gateway.ts'

const basic = (name: string, secret: string) => `Basic ${Buffer.from(`${name}:${secret}`).toString('base64')}`
const problemFields = ['code', 'requestId', 'retry', 'status', 'title', 'type']

/** One route that only admins may use, and what the check was asked. */
async function startApp(t: Test, operators: Record<string, { secret: string; role: string }>) {
  const asked: [name: string, secret: string][] = []
  const known = new Map(Object.entries(operators))
  const app = Fastify()
  await app.register(errors)
  await app.register(operatorAuth, {
    async checkOperator(name: string, secret: string): Promise<Operator | undefined> {
      asked.push([name, secret])
      const found = known.get(name)
      return found?.secret === secret ? { name, role: found.role } : undefined
    },
  })
  const forRoles = (...roles: string[]) => ({ schema: { security: [{ operator: roles }] } })
  app.get('/admins', forRoles('admin'), async ({ operator }) => operator)
  app.get('/nobody', forRoles(), async () => 'reached')
  t.throws(() => app.get('/everybody', async () => 'reached'), /does not say who may use it/)
  t.teardown(() => app.close())
  const get = async (authorization?: string, url = '/admins') => {
    const reply = await app.inject({ url, headers: authorization === undefined ? {} : { authorization } })
    return { status: reply.statusCode, headers: reply.headers, body: reply.json() as Record<string, unknown> }
  }
  return { get, asked }
}

t.test('the right secret in the right role is let in, and the route knows who asks', async (t) => {
  const { get } = await startApp(t, { 'lin.qiao': { secret: 's3cret', role: 'admin' } })
  const { status, body } = await get(basic('lin.qiao', 's3cret'))
  t.same([status, body], [200, { name: 'lin.qiao', role: 'admin' }])
})

t.test('a secret is everything after the first colon, in UTF-8', async (t) => {
  for (const secret of ['a:b', ':', '::', 'a:', 'geheim ü 云', 'a\nb']) {
    const { get } = await startApp(t, { lin: { secret, role: 'admin' } })
    t.equal((await get(basic('lin', secret))).status, 200, JSON.stringify(secret))
    t.equal((await get(basic('lin', secret.slice(0, -1)))).status, 401)
  }
})

t.test('whoever is not known is told to name himself, the same whatever was wrong', async (t) => {
  const { get } = await startApp(t, { lin: { secret: 's3cret', role: 'admin' } })
  const encoded = (text: string) => Buffer.from(text).toString('base64')
  const table: [what: string, header: string | undefined][] = [
    ['no header', undefined],
    ['an empty one', ''],
    ['the scheme alone', 'Basic'],
    ['nothing after the scheme', 'Basic '],
    ['another scheme', `Bearer ${encoded('lin:s3cret')}`],
    ['no scheme', encoded('lin:s3cret')],
    ['not encoded', 'Basic lin:s3cret'],
    ['not base64', 'Basic ~~~~'],
    ['two values', `${basic('lin', 's3cret')}, ${basic('lin', 's3cret')}`],
    ['something after it', `${basic('lin', 's3cret')} x`],
    ['missing colon', `Basic ${encoded('lin')}`],
    ['missing colon, name and secret together', `Basic ${encoded('lins3cret')}`],
    ['a colon alone', `Basic ${encoded(':')}`],
    ['no name', basic('', 's3cret')],
    ['no secret', basic('lin', '')],
    ['a wrong secret', basic('lin', 'S3cret')],
    ['an unknown name', basic('qiao', 's3cret')],
    ['another case of the name', basic('LIN', 's3cret')],
    ['a NUL in the name', basic('lin\0', 's3cret')],
    ['a NUL in the secret', basic('lin', 's3cret\0')],
    ['bytes that are not UTF-8', `Basic ${Buffer.from([0xff, 0xfe, 0x3a, 0xff]).toString('base64')}`],
    ['very long', basic('lin', 'x'.repeat(5000))],
    ['the right secret in a header too long', basic('lin', `s3cret${'\0'.repeat(600)}`)],
    ['a very long name', basic('l'.repeat(5000), 's3cret')],
  ]
  const shapes = new Set<string>()
  for (const [what, header] of table) {
    const { status, headers, body } = await get(header)
    t.same([status, body['code'], body['retry']], [401, 'unauthorized', 'never'], what)
    t.equal(headers['www-authenticate'], 'Basic realm="vouchsafe operator"')
    t.match(headers['content-type'], /^application\/problem\+json\b/)
    t.same(Object.keys(body).sort(), problemFields)
    t.notMatch(JSON.stringify([body, headers]), /s3cret|lin\b|qiao|xxxx|llll/)
    shapes.add(JSON.stringify({ ...body, requestId: '' }))
  }
  t.equal(shapes.size, 1)
})

t.test('a name that objects have by birth is nobody’s', async (t) => {
  const { get } = await startApp(t, { lin: { secret: 's3cret', role: 'admin' } })
  for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'prototype', 'valueOf']) {
    for (const secret of ['', 'undefined', 'null', 's3cret', '[object Object]']) {
      t.equal((await get(basic(name, secret))).status, 401, `${name}:${secret}`)
    }
  }
})

t.test('a role that may not is forbidden, without being asked for another name', async (t) => {
  const roles = [
    'reviewer',
    'auditor',
    'metrics',
    'Admin',
    'admin ',
    '',
    '__proto__',
    'constructor',
    'length',
  ]
  for (const role of roles) {
    const { get } = await startApp(t, { lin: { secret: 's3cret', role } })
    const { status, headers, body } = await get(basic('lin', 's3cret'))
    t.same([status, body['code']], [403, 'forbidden'], JSON.stringify(role))
    t.notOk('www-authenticate' in headers)
    t.same(Object.keys(body).sort(), problemFields)
    t.equal((await get(basic('lin', 'wrong'))).status, 401, 'a wrong secret is told first')
  }
  const { get } = await startApp(t, { lin: { secret: 's3cret', role: 'admin' } })
  t.equal((await get(basic('lin', 's3cret'), '/nobody')).status, 403, 'a route for no role is for nobody')
})

t.test('what is too long is not even looked up under its name', async (t) => {
  const { get, asked } = await startApp(t, {})
  await get(basic('lin', 'x'.repeat(5000)))
  await get(basic('lin', 'x'))
  t.same(asked, [
    ['', ''],
    ['lin', 'x'],
  ])
})

/** As a scraper asks: over the operator listener of a whole gateway. */
async function startScraper(t: Test) {
  const g = await startTestGateway(t)
  const get = async (authorization?: string, path = '/metrics') => {
    const headers = authorization === undefined ? {} : { authorization }
    const reply = await fetch(`http://127.0.0.1:${g.ports.operator}${path}`, { headers })
    return { status: reply.status, headers: reply.headers, text: await reply.text() }
  }
  return { g, get }
}

t.test('/metrics is for each reading role by its own secret, and for nobody else', async (t) => {
  const { g, get } = await startScraper(t)
  const founder = g.first.operator
  t.ok(founder)
  if (!founder) return
  t.equal((await get(basic(founder.name, founder.secret))).status, 200, 'the first operator')
  const secrets: string[] = []
  for (const role of operatorRoles) {
    const given = { name: `the-${role}`, role, by: founder.name, nowMs: g.clock.now() }
    const { secret } = await addOperator(g.db, given)
    secrets.push(secret)
    const { status, headers, text } = await get(basic(given.name, secret))
    t.equal(status, 200, role)
    t.match(headers.get('content-type'), /^text\/plain/)
    t.match(text, /^vouchsafe_answers_total 0$/m)
    t.match(text, /^vouchsafe_ready_parts\{part="registry"\} 1$/m)
    t.equal((await get(basic(given.name, founder.secret))).status, 401, 'not by the secret of another')
  }
  await g.db.updateTable('operators').set({ status: 'removed' }).where('name', '=', 'the-auditor').execute()
  t.equal((await get(basic('the-auditor', secrets[2] ?? ''))).status, 401, 'not once it is no longer active')
  t.equal((await get()).status, 401)
  const { text } = await get(basic(founder.name, founder.secret))
  t.match(text, /^vouchsafe_requests_total\{route="\/metrics",status="401",code="unauthorized"\} 6$/m)
  const everything = `${text}\n${g.lines.join('\n')}`
  t.match(everything, /"code":"unauthorized"/)
  for (const secret of [founder.secret, ...secrets])
    t.notOk(everything.includes(secret), 'no secret is logged')
})

t.test('names and secrets of the real registry: nobody is let in by what is not one', async (t) => {
  const { g, get } = await startScraper(t)
  const { secret = '' } = g.first.operator ?? {}
  const table: [name: string, secret: string][] = [
    ['founder', ''],
    ['founder', secret.slice(0, -1)],
    ['founder', `${secret}=`],
    ['founder', secret.toUpperCase()],
    ['FOUNDER', secret],
    ['founder ', secret],
    ['', secret],
    ['', ''],
    ["founder' or '1'='1", secret],
    ['%', secret],
    ['__proto__', ''],
    ['constructor', secret],
    ['founder\0', secret],
    ['founder', '\0'.repeat(32)],
  ]
  for (const [name, given] of table) {
    t.equal((await get(basic(name, given))).status, 401, JSON.stringify(name))
  }
  t.equal((await get(basic('founder', secret))).status, 200)
  t.equal((await get(undefined, '/health/live')).status, 200, 'probes need no name')
  t.equal((await get(undefined, '/health/ready')).status, 200)
  t.notMatch(g.lines.join('\n'), /"status":"500"/)
})
