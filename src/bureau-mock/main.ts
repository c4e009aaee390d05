// Main of the mocked bureau: a process of its own, over mTLS. It ends with its parent.
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { systemClock } from '../base/clock.ts'
import { endWith } from '../base/parent.ts'
import { buildBureau } from './app.ts'

const usage = `bureau: the mocked public-security bureau

  --certs DIR    folder with bureau-ca.crt, bureau-server.crt, bureau-server.key   (certs/dev)
  --seed TEXT    the people follow from it                                         (vouchsafe-development)
  --host HOST    address to listen on                                              (127.0.0.1)
  --port PORT    0 to 65535, 0 for any that is free                                (0)`

const options = {
  port: { type: 'string', default: '0' },
  host: { type: 'string', default: '127.0.0.1' },
  certs: { type: 'string', default: 'certs/dev' },
  seed: { type: 'string', default: 'vouchsafe-development' },
  help: { type: 'boolean', default: false },
} as const

/** A fault that a person can mend, told without a stack. */
class Fault extends Error {}

function read(folder: string, name: string): Buffer {
  const file = join(folder, name)
  try {
    return readFileSync(file)
  } catch (cause) {
    throw new Fault(
      `${file} cannot be read (${(cause as NodeJS.ErrnoException).code}). Fix: npm run -s vouchsafe -- pki`,
      { cause },
    )
  }
}

function readArgs() {
  try {
    return parseArgs({ options }).values
  } catch (cause) {
    throw new Fault(`${(cause as Error).message}\n\n${usage}`, { cause })
  }
}

async function run(): Promise<void> {
  const { port, host, certs, seed, help } = readArgs()
  if (help) return console.log(usage)
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) throw new Fault(`--port ${port} is none.\n\n${usage}`)
  const file = (name: string) => read(certs, name)
  const tls = { key: file('bureau-server.key'), cert: file('bureau-server.crt'), ca: file('bureau-ca.crt') }
  const app = buildBureau({ seed, clock: systemClock, tls })
  try {
    await app.listen({ host, port: Number(port) })
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new Fault(`${host}:${port} cannot be listened on (${code}). Fix: another --port or --host`, {
      cause,
    })
  }
  endWith(async () => {
    await app.close()
    process.stdin.destroy()
    if (process.connected) process.disconnect?.()
  })
  console.log(`bureau listening on https://${host}:${(app.server.address() as AddressInfo).port}`)
}

try {
  await run()
} catch (error) {
  process.exitCode = 1
  console.error(error instanceof Fault ? `bureau: ${error.message}` : error)
}
