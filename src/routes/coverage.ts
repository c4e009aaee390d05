// "Three hundred percent": parcels accepted, as the carrier tells them, beside what was verified, refused, left
// undecided and redeemed, by day and outlet. Counts, and no list of shipments (PROTOCOL section 10).
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type Static, Type } from 'typebox'
import type {} from '../../plugins/carrier-auth.ts'
import type {} from '../../plugins/idempotency.ts'
import { type Clock, carrierDay, parseDay, printDay } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import type { DaysAsked, Ledger } from '../ledger/ledger.ts'
import { callOnce } from '../registry/calls.ts'
import { readTold, setAcceptances } from '../registry/redemptions.ts'
import type { RegistryDb } from '../registry/schema.ts'
import { object, toldProblems } from './schemas.ts'

export type CoverageRoutes = { db: RegistryDb; clock: Clock; ledger: Pick<Ledger, 'answeredOf'> }

const daysMax = 92
/** Of one page: some 150 bytes each. */
const rowsMax = 1000
/** Behind every character that an outlet's id may have. */
const afterEveryOutlet = '~'
const countMax = 100_000_000
const security = [{ carrierCertificate: [] }]
const Day = Type.String({ pattern: '^\\d{4}-\\d{2}-\\d{2}$', description: 'YYYY-MM-DD, Asia/Shanghai' })
const Outlet = Type.String({ pattern: '^[A-Za-z0-9-]{1,32}$' })
const Count = Type.Integer({ minimum: 0 })

const Row = object({
  day: Day,
  outlet: Type.String(),
  accepted: Type.Union([Count, Type.Null()], { description: 'As the carrier told; null: not told' }),
  verified: Count,
  refused: Count,
  undecided: Count,
  redeemed: Count,
  uncovered: Type.Union([Count, Type.Null()], { description: 'Accepted and without a redeemed token' }),
})

function dayOf(text: string): number {
  const day = parseDay(text)
  if (day === undefined) throw new GatewayError('malformed', 'day')
  return day
}

const routes: FastifyPluginAsyncTypebox<CoverageRoutes> = async (app, { db, clock, ledger }) => {
  app.put(
    '/v1/acceptances/:day/:outlet',
    {
      schema: {
        summary: 'Tells how many parcels an outlet accepted on a day; the last word stands',
        security,
        headers: Type.Object({
          'idempotency-key': Type.Optional(Type.String({ description: 'Required; kept 24 h' })),
        }),
        params: object({ day: Day, outlet: Outlet }),
        body: object({ count: Type.Integer({ minimum: 0, maximum: countMax }) }),
        response: {
          200: object({ day: Day, outlet: Outlet, count: Count }),
          ...toldProblems(400, 403, 404, 409, 413, 415, 422, 429, 500, 503),
        },
      },
      onRequest: app.carrierAuth,
    },
    (request, reply) =>
      app.answerOnce(request, reply, (call) => {
        const { carrier, params, body } = request
        const day = dayOf(params.day)
        if (day > carrierDay(clock.now())) throw new GatewayError('malformed', 'day_to_come')
        return callOnce(db, call, async (tx) => {
          const told = await setAcceptances(tx, { carrier, day, outlet: params.outlet, count: body.count })
          if (!told) throw new GatewayError('not_found', 'outlet_unknown')
          return { reply: { status: 200, body: JSON.stringify({ ...params, count: body.count }) }, acts: [] }
        })
      }),
  )

  app.get(
    '/v1/coverage',
    {
      schema: {
        summary: 'Accepted, verified, refused, undecided and redeemed, by day and outlet',
        security,
        querystring: object({
          ...{ from: Type.Optional(Day), to: Type.Optional(Day) },
          after: Type.Optional(Type.String({ description: 'The `next` of the page before' })),
        }),
        response: {
          200: object({ rows: Type.Array(Row), next: Type.Union([Type.String(), Type.Null()]) }),
          ...toldProblems(400, 403, 429, 500, 503),
        },
      },
      onRequest: app.carrierAuth,
    },
    async (request) => {
      const today = carrierDay(clock.now())
      const toDay = request.query.to === undefined ? today : dayOf(request.query.to)
      const fromDay = request.query.from === undefined ? toDay : dayOf(request.query.from)
      if (fromDay > toDay || toDay - fromDay >= daysMax) throw new GatewayError('malformed', 'days')
      const after = afterOf(request.query.after) ?? { day: fromDay - 1, outlet: afterEveryOutlet }
      if (after.day < fromDay - 1) throw new GatewayError('malformed', 'after')
      // One more than is told: whether there is more.
      const asked = { carrier: request.carrier, after, toDay, limit: rowsMax + 1 }
      const rows = await readRows(db, ledger, asked)
      const last = rows[rowsMax - 1]
      return { rows: rows.slice(0, rowsMax), next: rows.length > rowsMax && last ? keyOf(last) : null }
    },
  )
}

const keyOf = ({ day, outlet }: { day: string; outlet: string }) => `${day}/${outlet}`

/** The day and outlet that a page ended with. @throws GatewayError malformed */
function afterOf(text: string | undefined): { day: number; outlet: string } | undefined {
  if (text === undefined) return undefined
  const [, day = '', outlet = ''] = /^(\d{4}-\d{2}-\d{2})\/([A-Za-z0-9-]{0,32})$/.exec(text) ?? []
  return { day: dayOf(day), outlet }
}

/** Rows of both sources by day and outlet; those up to `limit` are whole. */
async function readRows(
  db: RegistryDb,
  ledger: CoverageRoutes['ledger'],
  asked: DaysAsked,
): Promise<Static<typeof Row>[]> {
  const rows = new Map<string, Static<typeof Row>>()
  const rowOf = (dayNumber: number, outlet: string) => {
    const day = printDay(dayNumber)
    const key = keyOf({ day, outlet })
    const counts = { verified: 0, refused: 0, undecided: 0, redeemed: 0 }
    const row = rows.get(key) ?? { day, outlet, accepted: null, ...counts, uncovered: null }
    rows.set(key, row)
    return row
  }
  for (const { day, outlet, accepted, redeemed } of await readTold(db, asked))
    Object.assign(rowOf(day, outlet), {
      ...{ accepted, redeemed },
      uncovered: accepted === null ? null : Math.max(0, accepted - redeemed),
    })
  for (const { day, outlet, yes, no, undecided } of ledger.answeredOf(asked))
    Object.assign(rowOf(day, outlet), { verified: yes, refused: no, undecided })
  return [...rows.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row)
}

export default routes
