// What every peer's process does alike: its configuration from argv, TLS with the gateway's own certificate, one line
// of JSON when it listens, and its end with its standard input.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { endWith } from '../../../src/base/parent.ts'

/** What each peer is told; those that need more say so beside it. */
export type Told = { certsDir: string }

export const readConfig = <T extends Told>(): T => JSON.parse(process.argv[2] ?? '{}') as T

export const fileOf = ({ certsDir }: Told, name: string) => readFileSync(join(certsDir, name))

/** The device listener's certificate, and nothing older than TLS 1.3. */
export const tlsOf = (told: Told) => ({
  cert: fileOf(told, 'gateway.crt'),
  key: fileOf(told, 'gateway.key'),
  minVersion: 'TLSv1.3' as const,
})

/** Listens on a free port of the loopback. */
export async function listen(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `https://localhost:${(server.address() as AddressInfo).port}`
}

/** Tells whoever started this process where it listens, and ends with them. */
export function announce(url: string, close: () => Promise<unknown> = async () => {}): void {
  endWith(async () => {
    await close()
    process.exit(0)
  })
  console.log(JSON.stringify({ url }))
}
