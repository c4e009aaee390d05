// A real redis-server of the test's own, on a free port of the loopback, with no file outside its own folder.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Test } from 'tap'

const run = promisify(execFile)
const hasProgram = (name: string) =>
  (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, name)))

/** True if the tests can use Redis; else they are skipped, visibly, or fail where services are required. */
export function hasRedis(t: Test): boolean {
  if (hasProgram('redis-server') && hasProgram('redis-cli')) return true
  if (process.env['REQUIRE_SERVICES'] === '1') t.fail('redis-server is required and not installed')
  else t.pass('tests against Redis', { skip: 'redis-server is not installed' })
  return false
}

export class RedisServer {
  readonly port: number
  readonly folder = mkdtempSync(join(tmpdir(), 'vouchsafe-redis-'))
  readonly #settings: readonly string[]
  #process: ChildProcess | undefined

  private constructor(port: number, settings: readonly string[]) {
    this.port = port
    this.#settings = settings
  }

  /** Starts a server that takes commands; `settings` as on its command line, such as '--maxmemory', '8mb'. */
  static async start(...settings: string[]): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), settings)
    try {
      await server.start()
    } catch (error) {
      await server.close()
      throw error
    }
    return server
  }

  get url() {
    return `redis://127.0.0.1:${this.port}`
  }

  async start(): Promise<void> {
    const fixed = ['--port', String(this.port), '--bind', '127.0.0.1', '--save', '', '--dir', this.folder]
    this.#process = spawn('redis-server', [...fixed, ...this.#settings], { stdio: 'ignore' })
    for (let tries = 0; tries < 200; tries += 1) {
      if (await listens(this.port)) return
      await sleep(10)
    }
    throw new Error('redis-server did not start within 2 s')
  }

  /** SIGSTOP: the kernel still accepts connections, nobody answers. */
  pause(): void {
    this.#process?.kill('SIGSTOP')
  }

  resume(): void {
    this.#process?.kill('SIGCONT')
  }

  /** SIGKILL: everything in memory is lost. `start` brings it back, empty, on the same port. */
  async kill(): Promise<void> {
    const running = this.#process
    this.#process = undefined
    if (!running || running.exitCode !== null || running.signalCode !== null) return
    const ended = once(running, 'exit')
    running.kill('SIGKILL')
    await ended
  }

  /** Runs one command by redis-cli; what it prints, unformatted. */
  async command(...words: string[]): Promise<string> {
    const { stdout } = await run('redis-cli', ['-h', '127.0.0.1', '-p', String(this.port), ...words])
    return stdout.trim()
  }

  /** Everything the server holds, as it would be on disk. */
  async dump(): Promise<Buffer> {
    await this.command('CONFIG', 'SET', 'rdbcompression', 'no')
    await this.command('SAVE')
    return readFileSync(join(this.folder, 'dump.rdb'))
  }

  async close(): Promise<void> {
    await this.kill()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port was given')
  return address.port
}

/** Whether a PING is answered, by a pong or by asking for a password. */
async function listens(port: number): Promise<boolean> {
  const socket = createConnection(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    socket.write('PING\r\n')
    const [reply] = await once(socket, 'data')
    return /^(\+PONG|-NOAUTH)/.test(String(reply))
  } catch {
    return false // Not yet: the caller tries again for 2 s.
  } finally {
    socket.destroy()
  }
}
