// `vouchsafe operator`: named operators, each with an own secret and role (PROTOCOL section 2).
import { addOperator, listOperators, type OperatorRole, operatorRoles } from '../registry/operators.ts'
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

const help = `vouchsafe operator: named operators, each with an own secret and role

  vouchsafe operator add lin.qiao --role admin        prints the secret once
  vouchsafe operator add scraper --role metrics
  vouchsafe operator list

Roles: ${operatorRoles.join(', ')}. Who adds is an admin, named by OPERATOR_NAME and OPERATOR_SECRET.
The very first operator needs neither and must be an admin.`

/** @returns exit code: 0 done, 1 refused, 64 usage */
export async function runOperator(args: string[], given: CommandIo | CommandContext): Promise<number> {
  const io = ioOf(given)
  return runCommand(io, 'operator', async () => {
    const { values, positionals } = parseCommand(args, {
      help: { type: 'boolean' },
      role: { type: 'string' },
    })
    const [verb, name, ...more] = positionals
    if (values.help) {
      io.out(help)
      return exit.ok
    }
    if (verb === 'list' && name === undefined) return list(io)
    if (verb === 'add' && name !== undefined && more.length === 0)
      return add(io, name, parseRole(values.role))
    io.err(help)
    return exit.usage
  })
}

function parseRole(text: string | undefined): OperatorRole {
  const role = operatorRoles.find((known) => known === text)
  if (role) return role
  const what = text === undefined ? '--role is missing' : `--role ${JSON.stringify(text)} is no role`
  throw new UsageError(`${what}: give one of ${operatorRoles.join(', ')}.`)
}

function list(io: CommandIo): Promise<number> {
  return withRegistry(io, async (db) => {
    for (const row of await listOperators(db)) io.out(`${row.name}\t${row.role}\t${row.status}`)
    return exit.ok
  })
}

function add(io: CommandIo, name: string, role: OperatorRole): Promise<number> {
  const work: Parameters<typeof withRegistry>[1] = async (db) => {
    const first = (await listOperators(db)).length === 0
    const by = first ? name : await actingAdmin(db, io)
    const { seq, secret } = await addOperator(db, { name, role, by, nowMs: io.clock.now() })
    io.out(`Operator ${name}, role ${role}. The secret, shown this once:`)
    io.out(secret)
    await sayRecorded(io, seq)
    return exit.ok
  }
  return withRegistry(io, work, 'make')
}
