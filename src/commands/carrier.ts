// `vouchsafe carrier`: applications, reviews, admission, certificates and standing of carriers (PROTOCOL section 12).
import { readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { sha256 } from '../base/bytes.ts'
import { dayMs, parseDay } from '../base/clock.ts'
import { certify, decertify } from '../issuing.ts'
import {
  admitApplicant,
  fileApplication,
  listApplications,
  outcomes,
  reviewApplication,
  sandboxOf,
  verdicts,
} from '../registry/applications.ts'
import {
  admitCarrier,
  expelCarrier,
  listCarriers,
  type Outlet,
  reinstateCarrier,
  setTerms,
  suspendCarrier,
  type Terms,
} from '../registry/carriers.ts'
import { listCertificates } from '../registry/certificates.ts'
import { type RegistryDb, RegistryError } from '../registry/schema.ts'
import type { CommandContext } from './context.ts'
import {
  actingAdmin,
  actingOperator,
  type CommandIo,
  exit,
  ioOf,
  parseCommand,
  runCommand,
  sayRecorded,
  UsageError,
  withRegistry,
} from './io.ts'

const help = `vouchsafe carrier: who may ask

Admission, in this order; who files may not review, and two must:
  vouchsafe carrier apply swift-crane --name "Swift Crane Express" --contact "Operations desk, Harbour" \\
            --outlet harbour="Harbour" --outlet old-bridge --evidence protection-plan.pdf --evidence audit-2026.pdf
  vouchsafe carrier review swift-crane --verdict approve --note "plan and audit read"
  vouchsafe carrier applications
  vouchsafe carrier certify swift-crane-sandbox --request sandbox.csr --out sandbox.crt
  vouchsafe carrier admit swift-crane --quota 5000000 --review 2027-11-28 --conditions "couriers in uniform only"
  vouchsafe carrier certify swift-crane --request swift-crane.csr --out swift-crane.crt

Afterwards:
  vouchsafe carrier list
  vouchsafe carrier terms swift-crane --quota 6000000 --review 2028-11-28
  vouchsafe carrier suspend swift-crane --reason "certificate leaked"
  vouchsafe carrier reinstate swift-crane
  vouchsafe carrier expel swift-crane --reason "sold readings"
  vouchsafe carrier certificates swift-crane
  vouchsafe carrier revoke-certificate 5B1F…E2 --reason "key lost"

Only in development, and never where a gateway has served in production, without application and review:
  vouchsafe carrier admit river-post --name "River Post" --outlet old-bridge

--outlet: id and, after "=", name; once for each outlet. --evidence: a document, of which the name and the SHA-256
are kept and nothing else. --reason, --note and --conditions go into the ledger: name no person in them.
Who acts is an admin (apply and review: or a reviewer), named by OPERATOR_NAME and OPERATOR_SECRET. A change is in
force within a second.`

const options = {
  help: { type: 'boolean' },
  name: { type: 'string' },
  contact: { type: 'string' },
  outlet: { type: 'string', multiple: true },
  evidence: { type: 'string', multiple: true },
  verdict: { type: 'string' },
  note: { type: 'string' },
  reason: { type: 'string' },
  quota: { type: 'string' },
  conditions: { type: 'string' },
  review: { type: 'string' },
  request: { type: 'string' },
  out: { type: 'string' },
} as const

type Values = {
  [K in Exclude<keyof typeof options, 'help'>]?: (typeof options)[K] extends { multiple: true }
    ? string[]
    : string
}
type Place = CommandIo & { certsDir: string; production: boolean }
type Verb = (io: Place, id: string, values: Values) => Promise<number>

const verbs: Record<string, Verb> = {
  apply,
  review,
  admit,
  certify: certifyRequest,
  terms,
  suspend: (io, id, values) => move(io, id, { ...values, verb: 'suspend' }),
  reinstate: (io, id, values) => move(io, id, { ...values, verb: 'reinstate' }),
  expel: (io, id, values) => move(io, id, { ...values, verb: 'expel' }),
  certificates: (io, id) => listCertified(io, id),
  'revoke-certificate': revokeCertified,
}
const lists: Record<string, (io: Place) => Promise<number>> = {
  list,
  applications,
  certificates: listCertified,
}

/** @returns exit code: 0 done, 1 refused, 64 usage */
export async function runCarrier(args: string[], context: CommandIo | CommandContext): Promise<number> {
  const io: Place = {
    ...ioOf(context),
    certsDir: 'certsDir' in context ? context.certsDir : '',
    production: 'config' in context && context.config.VOUCHSAFE_MODE === 'production',
  }
  return runCommand(io, 'carrier', async () => {
    const { values: given, positionals } = parseCommand(args, options)
    const { help: asked, ...values } = given
    const [verb = '', id, ...more] = positionals
    if (asked) {
      io.out(help)
      return exit.ok
    }
    const run = id === undefined || more.length > 0 ? undefined : verbs[verb]
    if (run && id !== undefined) return run(io, id, values)
    const show = id === undefined ? lists[verb] : undefined
    if (show) return show(io)
    io.err(help)
    return exit.usage
  })
}

function needed(
  values: Values,
  name: 'name' | 'contact' | 'note' | 'reason' | 'request',
  why: string,
): string {
  const value = values[name]
  if (value === undefined) throw new UsageError(`--${name} is missing: ${why}`)
  return value
}

function parseOutlet(text: string): Outlet {
  const [id = '', name] = text.split(/=(.*)/s)
  return { id, name: name ?? id }
}

function outletsOf({ outlet = [] }: Values): Outlet[] {
  // A carrier without an outlet could register no device.
  if (outlet.length === 0) throw new UsageError('--outlet is missing: give at least one ID or ID=NAME.')
  return outlet.map(parseOutlet)
}

function termsOf({ quota, conditions, review }: Values): Terms {
  const parsed = quota === undefined || !/^\d{1,12}$/.test(quota) ? Number.NaN : Number(quota)
  if (quota !== undefined && Number.isNaN(parsed)) {
    throw new UsageError(`--quota ${JSON.stringify(quota)} is no number of answers a month.`)
  }
  const day = review === undefined ? undefined : parseDay(review)
  if (review !== undefined && day === undefined) {
    throw new UsageError(`--review ${JSON.stringify(review)} is no day, YYYY-MM-DD.`)
  }
  return {
    ...(quota === undefined ? {} : { quota: parsed }),
    ...(conditions === undefined ? {} : { conditions }),
    ...(day === undefined ? {} : { reviewAtMs: day * dayMs }),
  }
}

/** Bytes of a file that was named on the command line. */
function readNamed(option: string, file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new RegistryError(`--${option} ${file} cannot be read (${why}). Give a file that is there.`)
  }
}

function apply(io: Place, id: string, values: Values): Promise<number> {
  const name = needed(values, 'name', 'give the name of the company.')
  const contact = needed(values, 'contact', 'give the office that answers for it, not a person.')
  const outlets = outletsOf(values)
  const { evidence: files = [] } = values
  if (files.length === 0)
    throw new UsageError('--evidence is missing: give the documents that show its protection.')
  const evidence = files.map((file) => {
    return { name: basename(file), sha256: sha256(readNamed('evidence', file)).toString('hex') }
  })
  return withRegistry(io, async (db) => {
    const operator = await actingOperator(db, io, ['admin', 'reviewer'])
    const filing = { id, name, contact, outlets, evidence, operator, nowMs: io.clock.now() }
    const { seq } = await fileApplication(db, filing)
    io.out(`The application of ${id} is filed. Two operators other than ${operator} must review it.`)
    await sayRecorded(io, seq)
    return exit.ok
  })
}

function review(io: Place, id: string, values: Values): Promise<number> {
  const verdict = verdicts.find((known) => known === values.verdict)
  if (!verdict) throw new UsageError(`--verdict must be ${verdicts.join(' or ')}.`)
  const note = needed(values, 'note', 'say in a line what was looked at.')
  return withRegistry(io, async (db) => {
    const operator = await actingOperator(db, io, ['admin', 'reviewer'])
    const { seq, status } = await reviewApplication(db, {
      id,
      verdict,
      note,
      operator,
      nowMs: io.clock.now(),
    })
    const next = {
      filed: 'One more must approve it.',
      rejected: `It may be filed again with "vouchsafe carrier apply ${id}".`,
      approved: `Its sandbox ${sandboxOf(id)} is open; certify a request for it.`,
    }[status]
    io.out(`The application of ${id} is ${status}. ${next}`)
    await sayRecorded(io, seq)
    return exit.ok
  })
}

/** With an application: its last step. With a name, in development only: all steps at once. */
function admit(io: Place, id: string, values: Values): Promise<number> {
  const { name, outlet } = values
  if (name === undefined && outlet !== undefined) {
    throw new UsageError('--name is missing: give the name of the company.')
  }
  const direct = name === undefined ? undefined : { name, outlets: outletsOf(values) }
  if (direct && io.production) {
    throw new UsageError(
      '--name and --outlet are for development: in production a carrier applies and is reviewed.',
    )
  }
  const terms = termsOf(values)
  return withRegistry(io, async (db) => {
    const operator = await actingAdmin(db, io)
    const by = { operator, nowMs: io.clock.now() }
    const { seq } = direct
      ? await admitCarrier(db, { id, ...direct, ...terms, ...by })
      : await admitApplicant(db, { id, ...terms, ...by })
    const count = direct?.outlets.length
    const outlets = count === undefined ? '' : ` with ${count} ${count === 1 ? 'outlet' : 'outlets'}`
    io.out(`Carrier ${id} is admitted${outlets}.`)
    await sayRecorded(io, seq)
    return exit.ok
  })
}

function terms(io: Place, id: string, values: Values): Promise<number> {
  const given = termsOf(values)
  return withRegistry(io, async (db) => {
    const operator = await actingAdmin(db, io)
    const { seq } = await setTerms(db, { id, ...given, operator, nowMs: io.clock.now() })
    io.out(`The terms of carrier ${id} are set.`)
    await sayRecorded(io, seq)
    return exit.ok
  })
}

function move(
  io: Place,
  id: string,
  { verb, reason }: Values & { verb: 'suspend' | 'reinstate' | 'expel' },
): Promise<number> {
  if (verb !== 'reinstate' && reason === undefined) {
    const past = verb === 'suspend' ? 'suspended' : 'expelled'
    throw new UsageError(`--reason is missing: the ledger keeps why a carrier was ${past}.`)
  }
  const set = { suspend: suspendCarrier, reinstate: reinstateCarrier, expel: expelCarrier }[verb]
  return withRegistry(io, async (db) => {
    const operator = await actingAdmin(db, io)
    const why = reason === undefined ? {} : { reason }
    const { seq } = await set(db, { id, operator, nowMs: io.clock.now(), ...why })
    io.out(
      `Carrier ${id} is ${{ suspend: 'suspended', reinstate: 'active again', expel: 'expelled' }[verb]}.`,
    )
    await sayRecorded(io, seq)
    return exit.ok
  })
}

function certifyRequest(io: Place, carrier: string, values: Values): Promise<number> {
  const request = readNamed(
    'request',
    needed(values, 'request', "give the file of the carrier's request (PKCS#10)."),
  )
  return withRegistry(io, async (db) => {
    const operator = await actingAdmin(db, io)
    const { certsDir } = io
    const made = await certify(db, { certsDir, carrier, request, operator, nowMs: io.clock.now() })
    const until = new Date(made.notAfterMs).toISOString().slice(0, 10)
    const told = `Certificate ${made.serial} of carrier ${carrier}, good until ${until}`
    if (values.out === undefined) io.out(made.pem)
    else writeFileSync(values.out, made.pem)
    // Beside the certificate, not in it: that may go straight into a file.
    const say = values.out === undefined ? io.err : io.out
    say(values.out === undefined ? `${told}.` : `${told}, is in ${values.out}.`)
    await sayRecorded(io, made.seq)
    return exit.ok
  })
}

function revokeCertified(io: Place, serial: string, values: Values): Promise<number> {
  const reason = needed(values, 'reason', 'the ledger keeps why a certificate was revoked.')
  return withRegistry(io, async (db) => {
    const operator = await actingAdmin(db, io)
    const { certsDir } = io
    const given = { certsDir, serial: serial.toUpperCase(), reason, operator, nowMs: io.clock.now() }
    const { seq, carrier, listed, unlisted } = await decertify(db, given)
    const elsewhere = unlisted ?? 'Put it on the revocation list where the CA is kept.'
    const list = listed ? 'It is on the revocation list too.' : elsewhere
    io.out(`Certificate ${given.serial} of carrier ${carrier} is revoked. ${list}`)
    await sayRecorded(io, seq)
    return exit.ok
  })
}

const printDate = (ms: number) => new Date(ms).toISOString().slice(0, 10)

function list(io: Place): Promise<number> {
  return withRegistry(io, async (db) => {
    for (const row of await listCarriers(db)) {
      const quota = row.quota === null ? '' : `\tquota ${row.quota} a month`
      const review = row.reviewAtMs === null ? '' : `\treview ${printDate(row.reviewAtMs)}`
      const outlets = `outlets ${row.outlets.join(', ') || 'none'}`
      io.out(`${row.id}\t${row.status}\t${row.name}\t${outlets}${quota}${review}`)
    }
    return exit.ok
  })
}

function applications(io: Place): Promise<number> {
  return withRegistry(io, async (db) => {
    for (const row of await listApplications(db)) {
      const reviews =
        row.reviews.map(({ operator, verdict }) => `${operator} ${verdict}`).join(', ') || 'none'
      const missing = outcomes.filter((outcome) => !row.proved.includes(outcome)).join(', ') || 'nothing'
      const proofs = row.status === 'approved' ? `\tstill to prove: ${missing}` : ''
      io.out(`${row.id}\t${row.status}\tfiled by ${row.filedBy}\treviews: ${reviews}${proofs}`)
    }
    return exit.ok
  })
}

function listCertified(io: Place, carrier?: string): Promise<number> {
  return withRegistry(io, async (db: RegistryDb) => {
    for (const row of await listCertificates(db, carrier))
      io.out(`${row.serial}\t${row.status}\t${row.carrier}\tuntil ${printDate(row.notAfterMs)}`)
    return exit.ok
  })
}
