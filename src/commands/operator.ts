// `vouchsafe operator`: named operators, each with an own secret and role.
import { parseArgs } from 'node:util'
import { addOperator, listOperators, type OperatorRole, operatorRoles } from '../registry/operators.ts'
import {
  actingOperator,
  type CommandContext,
  exit,
  hasOperators,
  sayRecorded,
  withRegistry,
} from './context.ts'

const help = `vouchsafe operator: named operators, each with an own secret and role

  vouchsafe operator add lin.qiao --role admin        prints the secret once
  vouchsafe operator add scraper --role metrics
  vouchsafe operator list

Roles: ${operatorRoles.join(', ')}. Who adds is named by OPERATOR_NAME and OPERATOR_SECRET; the first needs neither.`

export async function runOperator(args: string[], io: CommandContext): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { help: { type: 'boolean' }, role: { type: 'string' } },
  })
  const [verb, name] = positionals
  if (!values.help && verb === 'list') {
    return withRegistry(io, async (db) => {
      for (const row of await listOperators(db)) io.out(`${row.name}\t${row.role}\t${row.status}`)
      return exit.ok
    })
  }
  const role = operatorRoles.find((known) => known === values.role)
  if (values.help || verb !== 'add' || !name || !role) {
    if (verb === 'add' && name && values.role !== undefined)
      io.err(`--role ${values.role} is none of the roles.`)
    io.out(help)
    return values.help ? exit.ok : exit.usage
  }
  return add(io, name, role)
}

function add(io: CommandContext, name: string, role: OperatorRole): Promise<number> {
  return withRegistry(io, async (db) => {
    const by = (await hasOperators(db)) ? await actingOperator(db, io) : name
    const { seq, secret } = await addOperator(db, { name, role, by, nowMs: io.clock.now() })
    io.out(`Operator ${name}, role ${role}. The secret, shown this once:`)
    io.out(secret)
    await sayRecorded(io, seq)
    return exit.ok
  })
}
