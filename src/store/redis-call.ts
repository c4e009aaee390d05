// Commands to Redis for what each verification asks: printed once as the bytes that are sent, and given to ioredis,
// which writes them, pairs replies with them, and knows when a connection is lost. Its own commands take a third of
// the store's time: arguments gathered, copied and looked through four times each, and written in pieces.
import { hash } from 'node:crypto'
import { type Command, type Redis, ReplyError } from 'ioredis'

/** Texts are ASCII. */
export type Part = string | Uint8Array

/** An array of bulk strings (RESP, "Sending commands to a Redis server"). */
export function printCall(parts: readonly Part[]): Buffer {
  // Text between two binary parts is printed in one piece.
  let text = `*${parts.length}\r\n`
  const pieces: Part[] = []
  let size = 0
  for (const part of parts) {
    text += `$${part.length}\r\n`
    if (typeof part === 'string') text += `${part}\r\n`
    else {
      pieces.push(text, part)
      size += text.length + part.length
      text = '\r\n'
    }
  }
  const out = Buffer.allocUnsafe(size + text.length)
  let at = 0
  for (const piece of pieces) {
    if (typeof piece === 'string') out.write(piece, at, 'latin1')
    else out.set(piece, at)
    at += piece.length
  }
  out.write(text, at, 'latin1')
  return out
}

/** What ioredis asks of a command that blocks nothing and is in no transaction. */
class Call {
  readonly name: string
  /** None: ioredis hangs them on errors. */
  readonly args: readonly never[] = []
  readonly inTransaction = false
  readonly isTraced = true
  readonly promise: Promise<unknown>
  resolve!: (reply: unknown) => void
  reject!: (error: unknown) => void
  readonly #bytes: Buffer

  constructor(parts: readonly Part[]) {
    this.name = String(parts[0])
    this.#bytes = printCall(parts)
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
  }

  setReplyContext(): void {}

  toWritable(): Buffer {
    return this.#bytes
  }
}

/**
 * Sends a command, its name first and in small letters. The bytes are printed in this tick.
 * @returns the reply as it came: Buffer, number, null, or an array of them
 */
export const call = (redis: Redis, ...parts: Part[]): Promise<unknown> =>
  redis.sendCommand(new Call(parts) as unknown as Command) as Promise<unknown>

/** A script and the name under which Redis knows it. */
export type Script = { lua: string; sha: string }

export const scriptOf = (lua: string): Script => ({ lua, sha: hash('sha1', lua) })

/** Runs a script, which is sent whole where the server does not know it yet. */
export async function callScript(
  redis: Redis,
  script: Script,
  { keys, values }: { keys: readonly string[]; values: readonly Part[] },
): Promise<unknown> {
  const rest = [String(keys.length), ...keys, ...values]
  try {
    return await call(redis, 'evalsha', script.sha, ...rest)
  } catch (error) {
    if (!(error instanceof ReplyError) || !(error as Error).message.startsWith('NOSCRIPT')) throw error
    return call(redis, 'eval', script.lua, ...rest)
  }
}
