// The log: constant messages, everything variable in fields, and no field that could name a person.
import { type LogFn, type Logger, pino } from 'pino'

/** Lines are written together, off the path of any request; a fatal one and the end of the process write all at once. */
const buffered = { dest: 1, sync: false, minLength: 4096, periodicFlush: 100 }

/** Pretty on a terminal, JSON lines elsewhere. */
export function createLog(level: string): Logger {
  // An error is logged by its kind, place and fixed reason: messages of libraries may quote their input.
  const options = {
    level,
    serializers: { err: describeError },
    hooks: { logMethod: dropMessages },
    base: { pid: process.pid },
  }
  return process.stdout.isTTY
    ? pino({ ...options, transport: { target: 'pino-pretty', options: { translateTime: 'HH:MM:ss.l' } } })
    : pino(options, pino.destination(buffered))
}

type Described = { type: string; code?: string; reason?: string; stack?: string; cause?: Described }

/** An error that is logged without a text would give its own message as the text. */
export function dropMessages(this: Logger, args: Parameters<LogFn>, log: LogFn): void {
  const [first, ...rest] = args as [unknown, ...unknown[]]
  const fields = first instanceof Error ? { err: first } : first
  const hasError = typeof fields === 'object' && fields !== null && 'err' in fields
  log.apply(this, [fields, ...(hasError && rest.length === 0 ? ['an error'] : rest)] as Parameters<LogFn>)
}

const causesMax = 4

/** Type, code, our own reason and the stack's places; never a message that is not ours. */
export function describeError(value: unknown, depth = 0): Described {
  if (!(value instanceof Error)) return { type: typeof value }
  const { code, reason } = value as { code?: unknown; reason?: unknown }
  // The message stands first in the stack and may have lines that look like places.
  const stack = value.stack ?? ''
  const messageEnd = Math.max(0, stack.indexOf(value.message)) + value.message.length
  const lines = stack.slice(messageEnd).split('\n')
  const places = lines.filter((line) => /^\s+at .+:\d+:\d+\)?$/.test(line))
  return {
    type: value.name,
    ...(typeof code === 'string' ? { code } : {}),
    ...(typeof reason === 'string' ? { reason } : {}),
    ...(places.length > 0 ? { stack: places.slice(0, 8).join('\n') } : {}),
    ...(value.cause === undefined || depth >= causesMax
      ? {}
      : { cause: describeError(value.cause, depth + 1) }),
  }
}
