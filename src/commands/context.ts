// What the command line hands to every command: configuration, clock, where things lie, how to print.
import type { Clock } from '../base/clock.ts'
import type { Config } from '../base/config.ts'

export type CommandContext = {
  config: Config
  clock: Clock
  dataDir: string
  certsDir: string
  out(line: string): void
  err(line: string): void
}

/** Exit codes of commands; 64 is EX_USAGE of sysexits.h. */
export const exit = { ok: 0, refused: 1, usage: 64 } as const

export function createCommandIo(given: {
  config: Config
  clock: Clock
  out(line: string): void
  err(line: string): void
}): CommandContext {
  const { config } = given
  return { ...given, dataDir: config.VOUCHSAFE_DATA, certsDir: config.VOUCHSAFE_CERTS }
}
