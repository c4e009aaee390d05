// `vouchsafe carrier`: admits, suspends, reinstates and lists carriers (PROTOCOL section 12).
import {
  admitCarrier,
  listCarriers,
  type Outlet,
  reinstateCarrier,
  suspendCarrier,
} from '../registry/carriers.ts'
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

const help = `vouchsafe carrier: who may ask

  vouchsafe carrier admit swift-crane --name "Swift Crane Express" --outlet harbour="Harbour" --outlet old-bridge
  vouchsafe carrier suspend swift-crane --reason "certificate leaked"
  vouchsafe carrier reinstate swift-crane
  vouchsafe carrier list

--outlet: id and, after "=", name; once for each outlet. --reason goes into the ledger: name no person in it.
Who acts is an admin, named by OPERATOR_NAME and OPERATOR_SECRET. A change is in force within a second.`

const options = {
  help: { type: 'boolean' },
  name: { type: 'string' },
  outlet: { type: 'string', multiple: true },
  reason: { type: 'string' },
} as const

type Values = { name?: string; outlet?: string[]; reason?: string }

/** @returns exit code: 0 done, 1 refused, 64 usage */
export async function runCarrier(args: string[], given: CommandIo | CommandContext): Promise<number> {
  const io = ioOf(given)
  return runCommand(io, 'carrier', async () => {
    const { values, positionals } = parseCommand(args, options)
    const [verb, id, ...more] = positionals
    if (values.help) {
      io.out(help)
      return exit.ok
    }
    if (verb === 'list' && id === undefined) return list(io)
    if (id !== undefined && more.length === 0) {
      if (verb === 'admit') return admit(io, id, values)
      if (verb === 'suspend' || verb === 'reinstate') return setStanding(io, id, { ...values, verb })
    }
    io.err(help)
    return exit.usage
  })
}

function parseOutlet(text: string): Outlet {
  const [id = '', name] = text.split(/=(.*)/s)
  return { id, name: name ?? id }
}

function list(io: CommandIo): Promise<number> {
  return withRegistry(io, async (db) => {
    for (const row of await listCarriers(db)) {
      io.out(`${row.id}\t${row.status}\t${row.name}\toutlets ${row.outlets.join(', ') || 'none'}`)
    }
    return exit.ok
  })
}

function admit(io: CommandIo, id: string, { name, outlet = [] }: Values): Promise<number> {
  if (name === undefined) throw new UsageError('--name is missing: give the name of the company.')
  // A carrier without an outlet could register no device.
  if (outlet.length === 0) throw new UsageError('--outlet is missing: give at least one ID or ID=NAME.')
  return withRegistry(io, async (db) => {
    const operator = await actingAdmin(db, io)
    const outlets = outlet.map(parseOutlet)
    const { seq } = await admitCarrier(db, { id, name, outlets, operator, nowMs: io.clock.now() })
    io.out(`Carrier ${id} is admitted with ${outlets.length} ${outlets.length === 1 ? 'outlet' : 'outlets'}.`)
    await sayRecorded(io, seq)
    return exit.ok
  })
}

function setStanding(
  io: CommandIo,
  id: string,
  { verb, reason }: Values & { verb: 'suspend' | 'reinstate' },
): Promise<number> {
  if (verb === 'suspend' && reason === undefined) {
    throw new UsageError('--reason is missing: the ledger keeps why a carrier was suspended.')
  }
  const set = verb === 'suspend' ? suspendCarrier : reinstateCarrier
  return withRegistry(io, async (db) => {
    const operator = await actingAdmin(db, io)
    const why = reason === undefined ? {} : { reason }
    const { seq } = await set(db, { id, operator, nowMs: io.clock.now(), ...why })
    io.out(`Carrier ${id} is ${verb === 'suspend' ? 'suspended' : 'active again'}.`)
    await sayRecorded(io, seq)
    return exit.ok
  })
}
