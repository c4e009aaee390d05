// `vouchsafe carrier`: admits, suspends, reinstates and lists carriers.
import { parseArgs } from 'node:util'
import { admitCarrier, listCarriers, reinstateCarrier, suspendCarrier } from '../registry/carriers.ts'
import { actingOperator, type CommandContext, exit, sayRecorded, withRegistry } from './context.ts'

const help = `vouchsafe carrier: who may ask

  vouchsafe carrier admit swift-crane --name "Swift Crane Express" --outlet harbour="Harbour" --outlet old-bridge
  vouchsafe carrier suspend swift-crane --reason "certificate leaked"
  vouchsafe carrier reinstate swift-crane --reason "new certificate issued"
  vouchsafe carrier list

Who acts is named by OPERATOR_NAME and OPERATOR_SECRET. A change is in force within a second.`

export async function runCarrier(args: string[], io: CommandContext): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      help: { type: 'boolean' },
      name: { type: 'string' },
      outlet: { type: 'string', multiple: true },
      reason: { type: 'string' },
    },
  })
  const [verb, id] = positionals
  if (!values.help && verb === 'list') return list(io)
  const { name, reason, outlet = [] } = values
  if (!values.help && verb === 'admit' && id && name)
    return admit(io, { id, name, outlets: outlet.map(parseOutlet) })
  if (!values.help && id && reason && (verb === 'suspend' || verb === 'reinstate')) {
    return withRegistry(io, async (db) => {
      const operator = await actingOperator(db, io)
      const set = verb === 'suspend' ? suspendCarrier : reinstateCarrier
      const { seq } = await set(db, { id, operator, reason, nowMs: io.clock.now() })
      io.out(`Carrier ${id}: ${verb === 'suspend' ? 'suspended' : 'active'}.`)
      await sayRecorded(io, seq)
      return exit.ok
    })
  }
  io.out(help)
  return values.help ? exit.ok : exit.usage
}

function parseOutlet(text: string) {
  const [id = '', name] = text.split(/=(.*)/s)
  return { id, name: name ?? id }
}

function list(io: CommandContext): Promise<number> {
  return withRegistry(io, async (db) => {
    for (const row of await listCarriers(db)) {
      io.out(`${row.id}\t${row.status}\t${row.name}\toutlets ${row.outlets.join(', ') || 'none'}`)
    }
    return exit.ok
  })
}

function admit(
  io: CommandContext,
  given: { id: string; name: string; outlets: { id: string; name: string }[] },
): Promise<number> {
  return withRegistry(io, async (db) => {
    const operator = await actingOperator(db, io)
    const { seq } = await admitCarrier(db, { ...given, operator, nowMs: io.clock.now() })
    io.out(`Carrier ${given.id} is admitted with ${given.outlets.length} outlets.`)
    await sayRecorded(io, seq)
    return exit.ok
  })
}
