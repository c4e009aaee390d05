// Main of the mocked bureau: a process of its own, over mTLS. It ends with its parent.
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { systemClock } from '../base/clock.ts'
import { buildBureau } from './app.ts'

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    host: { type: 'string', default: '127.0.0.1' },
    certs: { type: 'string', default: 'certs/dev' },
    seed: { type: 'string', default: 'vouchsafe-development' },
  },
})

const file = (name: string) => readFileSync(join(values.certs, name))
const app = buildBureau({
  seed: values.seed,
  clock: systemClock,
  tls: { key: file('bureau-server.key'), cert: file('bureau-server.crt'), ca: file('bureau-ca.crt') },
})
await app.listen({ host: values.host, port: Number(values.port) })
console.log(`bureau listening on https://${values.host}:${(app.server.address() as AddressInfo).port}`)

async function end(): Promise<void> {
  app.server.closeAllConnections()
  await app.close()
  process.exitCode = 0
  process.stdin.destroy()
}
process.once('SIGTERM', end)
process.once('SIGINT', end)
process.stdin.once('end', end).resume() // The pipe from the parent closes when it dies.
