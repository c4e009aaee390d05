// Peers as processes of their own, and what a process has used of the processors.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { childEnvironment } from '../../src/base/config.ts'

export type Peer = { url: string; pid: number; close(): Promise<void> }

/** Those of ./servers/. */
export type PeerName = 'constant-https' | 'constant-fastify' | 'constant-express' | 'twin' | 'oidc'

/** CPU time of all threads of a process that still live, in µs (proc(5): to the nanosecond, where ticks are of 10 ms). */
export function cpuMicrosOf(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`)
  const ofThread = (id: string) =>
    Number(readFileSync(`/proc/${pid}/task/${id}/schedstat`, 'utf8').split(' ')[0]) / 1000
  return threads.reduce((sum, id) => sum + ofThread(id), 0)
}

/** Starts one on plain Node and waits for its URL. Throws if it ends before. */
export async function startPeer(name: PeerName, told: object): Promise<Peer> {
  const script = fileURLToPath(new URL(`./servers/${name}.ts`, import.meta.url))
  const child = spawn(process.execPath, [script, JSON.stringify(told)], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: childEnvironment({ NODE_ENV: 'production' }),
  })
  const ended = once(child, 'exit')
  const lines = createInterface({ input: child.stdout })
  const first = await Promise.race([once(lines, 'line'), ended.then(() => undefined)])
  if (!first) throw new Error(`The peer ${name} ended before it listened.`)
  const { url } = JSON.parse(String(first[0])) as { url: string }
  return {
    url,
    pid: child.pid ?? 0,
    async close() {
      child.stdin.end()
      await ended
    },
  }
}
