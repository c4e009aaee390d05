// The table of who may see what, held against every answer of every route: deny by default. A field that leads to no
// datum, an answer without a closed schema, or a role that the table does not allow fails here.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { printBase64url } from '../src/base/bytes.ts'
import { type DatumName, type Role, roles, visibility } from '../src/routes/visibility.ts'
import { openRaw, readerFor, tokenFor } from './helpers/carrier.ts'
import { describeApi } from './helpers/describe.ts'
import { startTestGateway } from './helpers/gateway.ts'

type Schema = {
  $ref?: string
  type?: string
  properties?: Record<string, Schema>
  additionalProperties?: unknown
  items?: Schema
  anyOf?: Schema[]
  oneOf?: Schema[]
}
type Operation = {
  security?: Record<string, string[]>[]
  responses: Record<string, { content?: Record<string, { schema?: Schema }> }>
}

/** The datum that a field tells of, by its name, or by its place where the name alone does not say. */
const dataOf: Record<DatumName, readonly string[]> = {
  identity: [],
  card: [],
  refusal: [],
  'private row': [],
  secrets: [],
  waybill: [],
  courier: [],
  session: [
    'expiresIn',
    'challenge',
    'POST /v1/challenges count',
    'POST /v1/sessions count',
    'POST /v1/sessions token',
    'POST /v1/sessions carrier',
  ],
  answer: ['answer'],
  token: ['POST /v1/verify token'],
  'token claims': [
    'active',
    'iss',
    'aud',
    'jti',
    'iat',
    'exp',
    'parcel',
    'level',
    'leaf',
    'index',
    'POST /v1/introspect device',
    'redeemedAt',
  ],
  receipt: ['GET /v1/receipts/{jti} text/plain'],
  handheld: [
    'devices',
    'device',
    'results',
    'outlet',
    'model',
    'registeredAt',
    'keyEndsAt',
    'revoked',
    'POST /v1/devices serial',
    'GET /v1/devices serial',
    'GET /v1/devices status',
    'POST /v1/devices refused',
    'GET /v1/devices next',
  ],
  coverage: [
    'rows',
    'day',
    'accepted',
    'verified',
    'GET /v1/coverage refused',
    'GET /v1/coverage next',
    'undecided',
    'redeemed',
    'uncovered',
    'PUT /v1/acceptances/{day}/{outlet} count',
  ],
  changes: ['seq', 'changes', 'change', 'subject', 'GET /v1/changes at', 'GET /v1/changes next'],
  standing: [
    'carriers',
    'carrier',
    'sandboxOf',
    'conditions',
    'quota',
    'used',
    'limit',
    'reviewAt',
    'reviewWarning',
    'admittedAt',
    'outlets',
    'GET /v1/carrier status',
    'GET /v1/carriers status',
    'GET /v1/carriers id',
    'GET /v1/carriers name',
  ],
  certificate: [
    'certificate',
    'certificates',
    'notAfter',
    'warning',
    'listed',
    'GET /v1/carrier serial',
    'GET /v1/carriers serial',
    'POST /v1/carriers/{id}/certificates serial',
  ],
  application: [
    'applications',
    'round',
    'contact',
    'filedBy',
    'filedAt',
    'evidence',
    'sha256',
    'reviews',
    'operator',
    'verdict',
    'note',
    'GET /v1/applications at',
    'GET /v1/applications id',
    'GET /v1/applications name',
    'GET /v1/applications status',
    'POST /v1/applications/{id}/reviews status',
  ],
  conformance: ['proved', 'missing'],
  'public keys': ['keys', 'kty', 'crv', 'x', 'y', 'kid', 'alg', 'use', 'GET /v1/directory application/jwt'],
  'ledger hashes': ['GET /ledger/checkpoint text/plain', 'GET /ledger/tile/{*} application/octet-stream'],
  'ledger entries': ['GET /ledger/tile/entries/{*} application/octet-stream'],
  metrics: ['GET /metrics text/plain'],
  health: [
    'live',
    'ready',
    'parts',
    'store',
    'ledger',
    'feed',
    'registry',
    'GET /health/ready keys',
    'trust',
    'directory',
  ],
  visibility: ['roles', 'data', 'datum', 'about', 'maySee'],
  problem: ['type', 'title', 'code', 'requestId', 'retry', 'problem status'],
  explanation: ['detail'],
}
const datumOf = new Map(
  Object.entries(dataOf).flatMap(([datum, fields]) => fields.map((field) => [field, datum as DatumName])),
)

function askersOf({ security }: Operation): readonly Role[] {
  if (!security) return ['public']
  return security.flatMap((way): Role[] => {
    if ('deviceToken' in way) return ['device']
    if ('carrierCertificate' in way) return ['carrier']
    return (way['operator'] ?? []) as Role[]
  })
}

type Api = {
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, Schema> }
}
const api = (await describeApi()) as unknown as Api

/** Every field of a schema; tells of objects that are open. */
function* fieldsOf(given: Schema, open: () => void): Generator<string> {
  const named = given.$ref === undefined ? given : api.components.schemas[given.$ref.split('/').at(-1) ?? '']
  const schema = named ?? {}
  if (!named) open()
  if (schema.properties && schema.additionalProperties !== false) open()
  if (schema.type === 'object' && !schema.properties) open()
  for (const [name, inner] of Object.entries(schema.properties ?? {})) {
    yield name
    yield* fieldsOf(inner, open)
  }
  for (const inner of [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])]) yield* fieldsOf(inner, open)
  if (schema.items) yield* fieldsOf(schema.items, open)
}

const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({
    route: `${method.toUpperCase()} ${path}`,
    operation,
  })),
)

t.test('every field of every answer is a datum that all who may ask may see', async (t) => {
  const used = new Set<string>()
  for (const { route, operation } of operations) {
    const askers = askersOf(operation)
    t.ok(askers.length > 0, `${route}: somebody may ask`)
    const allowed = (field: string, datum: DatumName | undefined) => {
      if (!datum) return t.fail(`${route}: ${field} is no datum of the table`)
      const maySee: readonly Role[] = visibility[datum].maySee
      for (const role of askers)
        if (!maySee.includes(role)) t.fail(`${route}: ${role} may not see ${field} (${datum})`)
    }
    for (const [status, { content }] of Object.entries(operation.responses)) {
      if (!content) {
        t.fail(`${route}: ${status} has no schema`)
        continue
      }
      for (const [type, { schema }] of Object.entries(content)) {
        if (!type.endsWith('json')) {
          used.add(`${route} ${type}`)
          allowed(type, datumOf.get(`${route} ${type}`))
          continue
        }
        const isProblem = type === 'application/problem+json'
        for (const field of fieldsOf(schema ?? {}, () =>
          t.fail(`${route}: ${status} is open to other fields`),
        )) {
          const place = isProblem ? `problem ${field}` : `${route} ${field}`
          const found = datumOf.has(place) ? place : field
          used.add(found)
          allowed(field, datumOf.get(found))
        }
      }
    }
  }
  for (const field of datumOf.keys()) t.ok(used.has(field), `${field} is told somewhere`)
})

/** Fields of a value that its schema does not have. */
function* strangersIn(value: unknown, given: Schema): Generator<string> {
  const schema =
    given.$ref === undefined ? given : (api.components.schemas[given.$ref.split('/').at(-1) ?? ''] ?? {})
  const ways = schema.anyOf ?? schema.oneOf
  if (ways) {
    const found = ways.map((way) => [...strangersIn(value, way)])
    if (!found.some((strangers) => strangers.length === 0)) yield* found[0] ?? []
  } else if (Array.isArray(value)) for (const one of value) yield* strangersIn(one, schema.items ?? {})
  else if (typeof value === 'object' && value !== null) {
    for (const [name, inner] of Object.entries(value)) {
      const field = schema.properties?.[name]
      if (field) yield* strangersIn(inner, field)
      else yield name
    }
  }
}

t.test('what carriers are really sent has the fields of its schema, and no other', async (t) => {
  const g = await startTestGateway(t)
  const raw = openRaw(t, g)
  const { token, parcel } = await tokenFor(g, 'valid')
  const reader = readerFor('swift-crane', { serial: 'SC-1' })
  const { serial, model, outlet } = reader
  const asked = {
    ...{ serial, model, outlet },
    ...{ spki: printBase64url(reader.spki), pop: printBase64url(reader.pop) },
  }
  const redemption = { token, parcel: printBase64url(parcel) }
  let calls = 0
  const check = async (method: string, path: string, body?: unknown, route = path) => {
    const headers = { 'idempotency-key': `"${calls++}"` }
    const reply = await raw({ method, path, headers, ...(body === undefined ? {} : { body }) })
    const operation = api.paths[route]?.[method.toLowerCase()]
    const content = operation?.responses[String(reply.status)]?.content ?? {}
    const type = String(reply.headers['content-type']).split(';')[0] ?? ''
    t.same(
      [...strangersIn(reply.body, content[type]?.schema ?? {})],
      [],
      `${method} ${route} ${reply.status}`,
    )
    return reply
  }
  const made = await check('POST', '/v1/devices', [asked])
  const { device } = (made.body['results'] as { device: string }[])[0] ?? { device: '' }
  await check('POST', '/v1/devices', [asked, { ...asked, outlet: 'nowhere' }])
  await check('GET', '/v1/devices')
  await check('GET', '/v1/carrier')
  await check('POST', '/v1/introspect', { token })
  await check('POST', '/v1/introspect', { token: 'x' })
  await check('POST', '/v1/redemptions', redemption)
  await check('POST', '/v1/redemptions', { ...redemption, token: 'x' })
  await check('PUT', '/v1/acceptances/2026-11-01/harbour', { count: 1 }, '/v1/acceptances/{day}/{outlet}')
  await check('GET', '/v1/coverage')
  await check('GET', '/v1/changes')
  await check('POST', '/v1/conformance', { outcome: 'no', token })
  const rotation = { spki: asked.spki, byOld: asked.pop, byNew: asked.pop }
  await check('POST', `/v1/devices/${device}/rotation`, rotation, '/v1/devices/{device}/rotation')
  await check('DELETE', `/v1/devices/${device}`, undefined, '/v1/devices/{device}')
  await check('DELETE', `/v1/devices/${device}`, undefined, '/v1/devices/{device}')
  t.same(
    [...strangersIn({ active: false, name: 'x' }, { properties: { active: {} } })],
    ['name'],
    'it can fail',
  )
})

t.test('the table is answered, and is the page of the docs', async (t) => {
  const g = await startTestGateway(t)
  const { Agent, request } = await import('undici')
  const dispatcher = new Agent({ connect: { ca: g.file('gateway-ca.crt') } })
  t.teardown(() => dispatcher.destroy())
  const reply = await request(`${g.url}/v1/visibility`, { dispatcher })
  const { data, roles: told } = (await reply.body.json()) as {
    data: { datum: string; maySee: string[] }[]
    roles: string[]
  }
  t.same(told, roles)
  t.same(
    Object.fromEntries(data.map(({ datum, maySee }) => [datum, maySee])),
    Object.fromEntries(Object.entries(visibility).map(([datum, { maySee }]) => [datum, maySee])),
  )
  const page = readFileSync(fileURLToPath(new URL('../docs/VISIBILITY.md', import.meta.url)), 'utf8')
  const rows = [...page.matchAll(/^\| ([^|]+) \| ([^|]+) \|((?: [x ] \|)+)$/gm)].map(
    ([, datum, about, marks]) => {
      const marked = (marks ?? '').split('|').map((mark) => mark.trim() === 'x')
      return [datum?.trim(), about?.trim(), roles.filter((_, i) => marked[i])]
    },
  )
  t.same(
    rows,
    Object.entries(visibility).map(([datum, { about, maySee }]) => [
      datum,
      about,
      roles.filter((role) => (maySee as readonly Role[]).includes(role)),
    ]),
  )
})
