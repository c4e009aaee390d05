// `vouchsafe canary`: the hash by which a gateway knows a person who must never appear. It keeps and sends nothing.
import { isCitizenNumber } from '../card/record.ts'
import { canaryOf } from '../verify/canary.ts'
import { type CommandContext, exit } from './context.ts'
import { ioOf, parseCommand, runCommand, UsageError } from './io.ts'

const help = `vouchsafe canary: a person who must never appear

  vouchsafe canary 780001190001010009
  vouchsafe canary UTO U00000000

Prints the hash for CANARIES, of a citizen number or of a passport's state and number. It is of an invented person to
whom the issuer makes no document: if one ever comes
with a good chip signature, an issuer's key is in other hands, or a gateway is, and the gateway alerts as such. Clear
the line from the shell's history afterwards: the number itself is kept nowhere.`

/** @returns exit code: 0 done, 64 usage */
export async function runCanary(args: string[], context: CommandContext): Promise<number> {
  const io = ioOf(context)
  return runCommand(io, 'canary', async () => {
    const { values, positionals } = parseCommand(args, { help: { type: 'boolean' } })
    const [first, second, ...more] = positionals
    if (values.help) {
      io.out(help)
      return exit.ok
    }
    if (first === undefined || more.length > 0) {
      io.err(help)
      return exit.usage
    }
    io.out(second === undefined ? hashOfCard(first) : hashOfPassport(first, second))
    return exit.ok
  })
}

function hashOfCard(text: string): string {
  const number = text.toUpperCase()
  if (!isCitizenNumber(number)) {
    throw new UsageError('This is no citizen number of 18 characters with its check character (GB 11643).')
  }
  return canaryOf('ID', 'CHN', number)
}

function hashOfPassport(state: string, text: string): string {
  const number = text.toUpperCase()
  if (!/^[A-Z]{3}$/.test(state) || !/^[A-Z0-9][A-Z0-9<]{0,24}$/.test(number)) {
    throw new UsageError(
      'This is no state of three capital letters (Germany: DEU) with the number of a passport.',
    )
  }
  return canaryOf('P', state, number)
}
