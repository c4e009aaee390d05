// Peers as processes of their own.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { childEnvironment } from '../../src/base/config.ts'

export type Peer = { url: string; pid: number; close(): Promise<void> }

/** Those of ./servers/. */
export type PeerName = 'constant-https' | 'constant-fastify' | 'constant-express' | 'twin' | 'oidc'

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
