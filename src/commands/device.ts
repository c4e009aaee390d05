// `vouchsafe device`: registers, revokes and lists handhelds (PROTOCOL section 10).
import { readFileSync } from 'node:fs'
import { parseBase64url, printBase64url } from '../base/bytes.ts'
import { p256SignatureBytes } from '../base/p256.ts'
import { readPem } from '../base/pem.ts'
import {
  listDevices,
  registerDevice,
  reinstateDevice,
  revokeDevice,
  suspendDevice,
} from '../registry/devices.ts'
import { RegistryError } from '../registry/schema.ts'
import type { CommandContext } from './context.ts'
import {
  actingAdmin,
  type CommandIo,
  exit,
  ioOf,
  parseCommand,
  runCommand,
  sayRecorded,
  UsageError,
  withRegistry,
} from './io.ts'

const help = `vouchsafe device: the handhelds of a carrier

  vouchsafe device register --carrier swift-crane --outlet harbour --serial SC-0001 --model K7 \\
                            --key reader.pub.pem --pop=BASE64URL
  vouchsafe device suspend DEVICE --reason "not seen since Monday"
  vouchsafe device reinstate DEVICE --reason "found again"
  vouchsafe device revoke DEVICE
  vouchsafe device list --carrier swift-crane
  vouchsafe device list --after=DEVICE --limit 100

--key: file with the reader's P-256 public key, PEM or DER. --pop: 64 bytes r||s by that key over
enrol{carrier, serial, spki}, base64url. Revoking is for good, and its key is never accepted again.
Who acts is an admin, named by OPERATOR_NAME and OPERATOR_SECRET. A change is in force within a second.`

const listMax = 1000
const idBytes = 16

const options = {
  help: { type: 'boolean' },
  carrier: { type: 'string' },
  outlet: { type: 'string' },
  serial: { type: 'string' },
  model: { type: 'string' },
  key: { type: 'string' },
  pop: { type: 'string' },
  after: { type: 'string' },
  limit: { type: 'string' },
  reason: { type: 'string' },
} as const

const needed = ['carrier', 'outlet', 'serial', 'model', 'key', 'pop'] as const

type Values = Partial<Record<Exclude<keyof typeof options, 'help'>, string>>

/** @returns exit code: 0 done, 1 refused, 64 usage */
export async function runDevice(args: string[], given: CommandIo | CommandContext): Promise<number> {
  const io = ioOf(given)
  return runCommand(io, 'device', async () => {
    // One id in 64 begins with "-", which parseArgs would take for an option.
    const [first, only = ''] = args
    if (first === 'revoke' && args.length === 2 && parseBase64url(only, idBytes)) return revoke(io, only)
    if ((first === 'suspend' || first === 'reinstate') && parseBase64url(only, idBytes)) {
      const { values, positionals } = parseCommand(args.slice(2), options)
      if (positionals.length === 0) return move(io, first, only, values.reason)
    }
    const { values, positionals } = parseCommand(args, options)
    const [verb, id, ...more] = positionals
    if (values.help) {
      io.out(help)
      return exit.ok
    }
    if (verb === 'list' && id === undefined) return list(io, values)
    if (verb === 'register' && id === undefined) return register(io, values)
    if (verb === 'revoke' && id !== undefined && more.length === 0) return revoke(io, id)
    io.err(help)
    return exit.usage
  })
}

function parseDeviceId(text: string): Buffer {
  const id = parseBase64url(text, idBytes)
  if (id) return id
  throw new UsageError(
    `Device id ${JSON.stringify(text)} is not 16 bytes as base64url (22 characters). ` +
      '"vouchsafe device list" shows the ids.',
  )
}

function parseLimit(text: string): number {
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : 0
  if (limit >= 1 && limit <= listMax) return limit
  throw new UsageError(`--limit ${JSON.stringify(text)} is not a number from 1 to ${listMax}.`)
}

function list(io: CommandIo, values: Values): Promise<number> {
  const carrier = values.carrier === undefined ? {} : { carrier: values.carrier }
  const after = values.after === undefined ? {} : { after: parseDeviceId(values.after) }
  const limit = parseLimit(values.limit ?? String(listMax))
  return withRegistry(io, async (db) => {
    const rows = await listDevices(db, { ...carrier, ...after, limit: limit + 1 })
    const shown = rows.slice(0, limit)
    for (const row of shown) {
      const until = new Date(row.notAfterMs).toISOString().slice(0, 10)
      io.out(
        `${row.id}\t${row.status}\t${row.carrier}/${row.outlet}\t${row.model}\t${row.serial}\tuntil ${until}`,
      )
    }
    if (rows.length > limit) io.err(`There are more: go on with --after=${shown.at(-1)?.id}`)
    return exit.ok
  })
}

function move(
  io: CommandIo,
  verb: 'suspend' | 'reinstate',
  text: string,
  reason: string | undefined,
): Promise<number> {
  if (reason === undefined) throw new UsageError('--reason is missing: the ledger keeps it.')
  const id = parseDeviceId(text)
  return withRegistry(io, async (db) => {
    const operator = await actingAdmin(db, io)
    const set = verb === 'suspend' ? suspendDevice : reinstateDevice
    const { seq } = await set(db, { id, operator, nowMs: io.clock.now(), reason })
    io.out(`Device ${text} is ${verb === 'suspend' ? 'suspended' : 'active again'}.`)
    await sayRecorded(io, seq)
    return exit.ok
  })
}

function revoke(io: CommandIo, text: string): Promise<number> {
  const id = parseDeviceId(text)
  return withRegistry(io, async (db) => {
    const operator = await actingAdmin(db, io)
    const { seq } = await revokeDevice(db, { id, operator, nowMs: io.clock.now() })
    io.out(`Device ${text} is revoked.`)
    await sayRecorded(io, seq)
    return exit.ok
  })
}

function register(io: CommandIo, values: Values): Promise<number> {
  const missing = needed.filter((name) => values[name] === undefined)
  if (missing.length > 0) throw new UsageError(`Missing: ${missing.map((name) => `--${name}`).join(', ')}.`)
  const { carrier = '', outlet = '', serial = '', model = '', key = '' } = values
  const pop = parseBase64url(values.pop ?? '', p256SignatureBytes)
  if (!pop) {
    throw new UsageError(
      '--pop is not 64 bytes as base64url (86 characters): give r||s, not a DER signature.',
    )
  }
  return withRegistry(io, async (db) => {
    const operator = await actingAdmin(db, io)
    const place = { carrier, outlet, serial, model }
    const given = { ...place, spki: readSpki(key), pop, operator, nowMs: io.clock.now() }
    const { seq, id } = await registerDevice(db, given)
    io.out(`Device ${printBase64url(id)} is registered for ${carrier}/${outlet}.`)
    await sayRecorded(io, seq)
    return exit.ok
  })
}

/** DER of a PEM or DER file as it stands: whether it is a key that we accept is the registry's to check. */
function readSpki(file: string): Buffer {
  try {
    const bytes = readFileSync(file)
    return bytes.includes('-----BEGIN') ? readPem(file) : bytes
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new RegistryError(`--key ${file} cannot be read (${why}). Give a file with the public key.`)
  }
}
