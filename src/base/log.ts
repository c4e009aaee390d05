// The log: constant messages, everything variable in fields, and no field that could name a person.
import { type Logger, pino } from 'pino'

/** Pretty on a terminal, JSON lines elsewhere. */
export function createLog(level: string): Logger {
  // An error is logged by its kind, place and fixed reason: messages of libraries may quote their input.
  const options = {
    level,
    serializers: { err: describeError },
    base: { pid: process.pid },
  }
  return process.stdout.isTTY
    ? pino({ ...options, transport: { target: 'pino-pretty', options: { translateTime: 'HH:MM:ss.l' } } })
    : pino(options)
}

type Described = { type: string; code?: string; reason?: string; stack?: string; cause?: Described }

/** Type, code, our own reason and the stack's places; never a message that is not ours. */
export function describeError(value: unknown): Described {
  if (!(value instanceof Error)) return { type: typeof value }
  const { code, reason } = value as { code?: unknown; reason?: unknown }
  const places = value.stack?.split('\n').filter((line) => /^\s+at /.test(line))
  return {
    type: value.name,
    ...(typeof code === 'string' ? { code } : {}),
    ...(typeof reason === 'string' ? { reason } : {}),
    ...(places ? { stack: places.slice(0, 8).join('\n') } : {}),
    ...(value.cause === undefined ? {} : { cause: describeError(value.cause) }),
  }
}
