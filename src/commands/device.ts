// `vouchsafe device`: registers, revokes and lists handhelds.
import { createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { parseBase64url, printBase64url } from '../base/bytes.ts'
import { listDevices, registerDevice, revokeDevice } from '../registry/devices.ts'
import { RegistryError } from '../registry/schema.ts'
import { actingOperator, type CommandContext, exit, sayRecorded, withRegistry } from './context.ts'

const help = `vouchsafe device: the handhelds of a carrier

  vouchsafe device register --carrier swift-crane --outlet harbour --serial SC-0001 --model K7 \\
                            --key reader.pub.pem --pop BASE64URL
  vouchsafe device revoke DEVICE
  vouchsafe device list --carrier swift-crane

--key: the reader's P-256 public key, PEM or DER. --pop: 64 bytes r||s by that key over
enrol{carrier, serial, spki}, base64url. Who acts is named by OPERATOR_NAME and OPERATOR_SECRET.`

const listMax = 1000

const options = {
  help: { type: 'boolean' },
  carrier: { type: 'string' },
  outlet: { type: 'string' },
  serial: { type: 'string' },
  model: { type: 'string' },
  key: { type: 'string' },
  pop: { type: 'string' },
} as const

type Values = Partial<Record<'carrier' | 'outlet' | 'serial' | 'model' | 'key' | 'pop', string>>

export async function runDevice(args: string[], io: CommandContext): Promise<number> {
  const { values, positionals } = parseArgs({ args, allowPositionals: true, options })
  const [verb, id] = positionals
  if (!values.help && verb === 'list') return list(io, values)
  if (!values.help && verb === 'register') return withRegistry(io, (db) => register(io, db, values))
  if (!values.help && verb === 'revoke' && id) {
    return withRegistry(io, async (db) => {
      const bytes = parseBase64url(id, 16)
      if (!bytes) throw new RegistryError(`Device id "${id}" must be 16 bytes as base64url.`)
      const operator = await actingOperator(db, io)
      const { seq } = await revokeDevice(db, { id: bytes, operator, nowMs: io.clock.now() })
      io.out(`Device ${id} is revoked.`)
      await sayRecorded(io, seq)
      return exit.ok
    })
  }
  io.out(help)
  return values.help ? exit.ok : exit.usage
}

function list(io: CommandContext, values: Values): Promise<number> {
  return withRegistry(io, async (db) => {
    const carrier = values.carrier === undefined ? {} : { carrier: values.carrier }
    for (const row of await listDevices(db, { ...carrier, limit: listMax })) {
      const until = new Date(row.notAfterMs).toISOString().slice(0, 10)
      io.out(
        `${row.id}\t${row.status}\t${row.carrier}/${row.outlet}\t${row.model} ${row.serial}\tuntil ${until}`,
      )
    }
    return exit.ok
  })
}

async function register(
  io: CommandContext,
  db: Parameters<typeof registerDevice>[0],
  values: Values,
): Promise<number> {
  const missing = (['carrier', 'outlet', 'serial', 'model', 'key', 'pop'] as const).filter(
    (name) => !values[name],
  )
  if (missing.length > 0) {
    io.err(`Missing: ${missing.map((name) => `--${name}`).join(', ')}. See "vouchsafe device --help".`)
    return exit.usage
  }
  const { carrier = '', outlet = '', serial = '', model = '', key = '', pop = '' } = values
  const proof = parseBase64url(pop, 64)
  if (!proof) throw new RegistryError('--pop must be 64 bytes as base64url.')
  const operator = await actingOperator(db, io)
  const { seq, id } = await registerDevice(db, {
    carrier,
    outlet,
    serial,
    model,
    spki: readSpki(key),
    pop: proof,
    operator,
    nowMs: io.clock.now(),
  })
  io.out(`Device ${printBase64url(id)} is registered for ${carrier}/${outlet}.`)
  await sayRecorded(io, seq)
  return exit.ok
}

/** PEM or DER; the form is checked by the registry. */
function readSpki(file: string): Buffer {
  const bytes = readFileSync(file)
  if (!bytes.includes('-----BEGIN')) return bytes
  return createPublicKey(bytes).export({ format: 'der', type: 'spki' })
}
