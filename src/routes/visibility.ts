// Who may see what: one table of roles and data. It is answered at `GET /v1/visibility`, it is the page
// docs/VISIBILITY.md, and every field of every answer must lead to a datum in it that the route's askers may see
// (test/visibility.test.ts). What is not in it is nobody's.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { object } from './schemas.ts'

/** `public`: anyone who reaches the listener. A carrier sees what is its own, and nothing of another. */
export const roles = ['public', 'device', 'carrier', 'reviewer', 'auditor', 'admin', 'metrics'] as const
export type Role = (typeof roles)[number]

type Datum = { about: string; maySee: readonly Role[] }

const nobody: readonly Role[] = []
const everybody = roles
const operators = ['reviewer', 'auditor', 'admin'] as const

export const visibility = {
  identity: { about: 'name, number, birth, sex, address, photo, validity of a person', maySee: nobody },
  card: { about: 'serial of a card or chip, its keys and signatures', maySee: nobody },
  refusal: { about: 'why an answer is no', maySee: nobody },
  'private row': {
    about: 'who asked about whom, sealed; opened only by "vouchsafe ledger show"',
    maySee: nobody,
  },
  secrets: { about: 'private keys, session keys, secrets of operators', maySee: nobody },
  waybill: { about: 'number of a shipment; it never reaches the gateway', maySee: nobody },
  courier: { about: 'the opaque id of a courier, chosen by the carrier', maySee: nobody },
  session: { about: 'device token and challenges of a shift', maySee: ['device', 'public'] },
  answer: { about: 'yes or no', maySee: ['device', 'carrier'] },
  token: { about: 'the signed statement of an answer', maySee: ['device'] },
  'token claims': { about: 'what a token says: parcel, device, times, ledger index', maySee: ['carrier'] },
  receipt: { about: 'the proof that an answer is in the ledger', maySee: ['carrier'] },
  handheld: { about: 'a device: id, serial, model, outlet, status, life of its key', maySee: ['carrier'] },
  coverage: {
    about: 'counts by day and outlet: accepted, verified, refused, undecided, redeemed',
    maySee: ['carrier'],
  },
  changes: {
    about: 'what changed for a carrier, and when; numbers of changes',
    maySee: ['carrier', ...operators],
  },
  standing: {
    about: 'name, status, outlets, conditions, quota, review of a carrier',
    maySee: ['carrier', ...operators],
  },
  certificate: { about: 'a carrier’s certificate: serial, end, status', maySee: ['carrier', ...operators] },
  application: {
    about: 'contact, hashes of evidence, reviews and who gave them, what was proved',
    maySee: operators,
  },
  conformance: { about: 'outcomes that a sandbox has proved', maySee: ['carrier', ...operators] },
  'public keys': { about: 'directory, token keys', maySee: everybody },
  'ledger hashes': {
    about: 'checkpoint and tiles: hashes and how many entries there are',
    maySee: everybody,
  },
  'ledger entries': {
    about: 'leaf data: kinds, times, yes and no counts, hashes of everything else',
    maySee: ['auditor', 'admin'],
  },
  metrics: { about: 'counts and durations of the process', maySee: [...operators, 'metrics'] },
  health: { about: 'whether the process and its parts are ready', maySee: everybody },
  visibility: { about: 'this table', maySee: everybody },
  problem: { about: 'that and how a request failed: code, title, retry, request id', maySee: everybody },
  explanation: {
    about: 'a sentence on what the registry refused, about the asker’s own',
    maySee: ['carrier', ...operators],
  },
} as const satisfies Record<string, Datum>

export type DatumName = keyof typeof visibility

const Table = object({
  roles: Type.Array(Type.String()),
  data: Type.Array(object({ datum: Type.String(), about: Type.String(), maySee: Type.Array(Type.String()) })),
})

const routes: FastifyPluginAsyncTypebox = async (app) => {
  const data = Object.entries(visibility).map(([datum, { about, maySee }]) => {
    return { datum, about, maySee: [...maySee] }
  })
  app.get(
    '/v1/visibility',
    { schema: { summary: 'Who may see what', response: { 200: Table } } },
    async () => ({ roles: [...roles], data }),
  )
}

export default routes
