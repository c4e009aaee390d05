// A redis-server of a load run's own on a free port of the loopback, with nothing on disk.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  if (!address || typeof address === 'string') throw new Error('no free port')
  return address.port
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: '127.0.0.1', port })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** @throws Error that says what to do if there is no redis-server, or it does not start within 2 s */
export async function startRedis(): Promise<{ url: string; pid: number; stop(): Promise<void> }> {
  const port = await freePort()
  const fixed = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', tmpdir()]
  const child: ChildProcess = spawn('redis-server', fixed, { stdio: 'ignore' })
  let fault: Error | undefined
  child.once('error', (error) => {
    fault = error
  })
  for (let tries = 0; tries < 100 && !fault; tries++) {
    if (await listens(port)) {
      return {
        url: `redis://127.0.0.1:${port}`,
        pid: child.pid ?? 0,
        async stop() {
          if (child.exitCode !== null || child.signalCode !== null) return
          const ended = once(child, 'exit')
          child.kill('SIGKILL')
          await ended
        },
      }
    }
    await sleep(20)
  }
  child.kill('SIGKILL')
  throw new Error(
    `redis-server did not start (${fault?.message ?? 'no answer in 2 s'}). Install Redis 7 or later.`,
  )
}
