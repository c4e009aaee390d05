// `vouchsafe pki`: makes what is absent of the development PKI and says what it made.
import { parseArgs } from 'node:util'
import { ensureDevPki, printMade } from '../../certs/generate.ts'
import type { CommandContext } from './context.ts'

const help = `vouchsafe pki: makes or renews the development PKI (certs/README.md names each file)

  vouchsafe pki                     in VOUCHSAFE_CERTS, by default certs/dev
  vouchsafe pki --quiet             says nothing if nothing was made
  rm certs/dev/carrier-river-post.* && vouchsafe pki     make one anew`

export async function runPki(args: string[], io: CommandContext): Promise<number> {
  const { values } = parseArgs({ args, options: { help: { type: 'boolean' }, quiet: { type: 'boolean' } } })
  if (values.help) {
    io.out(help)
    return 0
  }
  const { made, warnings } = await ensureDevPki({ directory: io.certsDir, nowMs: io.clock.now() })
  if (made.length > 0) io.out(printMade(made))
  else if (!values.quiet) io.out(`${io.certsDir} is complete; nothing was made.`)
  for (const warning of warnings) io.err(warning)
  return 0
}
