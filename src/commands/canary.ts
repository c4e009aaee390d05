// `vouchsafe canary`: the hash by which a gateway knows a person who must never appear. It keeps and sends nothing.
import { isCitizenNumber } from '../card/record.ts'
import { canaryOf } from '../verify/canary.ts'
import { type CommandContext, exit } from './context.ts'
import { ioOf, parseCommand, runCommand, UsageError } from './io.ts'

const help = `vouchsafe canary: a person who must never appear

  vouchsafe canary 780001190001010009

Prints the hash for CANARIES. The number is of an invented person to whom the issuer makes no card: if one ever comes
with a good chip signature, an issuer's key is in other hands, or a gateway is, and the gateway alerts as such. Clear
the line from the shell's history afterwards: the number itself is kept nowhere.`

/** @returns exit code: 0 done, 64 usage */
export async function runCanary(args: string[], context: CommandContext): Promise<number> {
  const io = ioOf(context)
  return runCommand(io, 'canary', async () => {
    const { values, positionals } = parseCommand(args, { help: { type: 'boolean' } })
    const [number, ...more] = positionals
    if (values.help) {
      io.out(help)
      return exit.ok
    }
    if (number === undefined || more.length > 0) {
      io.err(help)
      return exit.usage
    }
    const read = number.toUpperCase()
    if (!isCitizenNumber(read)) {
      throw new UsageError('This is no citizen number of 18 characters with its check character (GB 11643).')
    }
    io.out(canaryOf('ID', 'CHN', read))
    return exit.ok
  })
}
