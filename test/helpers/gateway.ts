// A whole gateway in this process, over real TLS on free ports, with a bureau of its own and handheld helpers.
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto'
import { cpSync, readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import type { Test } from 'tap'
import { ensureDevPki, printMade } from '../../certs/generate.ts'
import { parseBase64url } from '../../src/base/bytes.ts'
import { systemClock } from '../../src/base/clock.ts'
import { readConfig } from '../../src/base/config.ts'
import { describeError } from '../../src/base/log.ts'
import { buildBureau } from '../../src/bureau-mock/app.ts'
import { peopleCount, personAt } from '../../src/bureau-mock/people.ts'
import { commitParcel } from '../../src/channel/sealing.ts'
import { type DemoDevice, prepareDevelopment, readDemoDevice } from '../../src/development.ts'
import { openGateway } from '../../src/gateway.ts'
import { openRegistry } from '../../src/registry/schema.ts'
import { Device } from '../../src/sdk/device.ts'
import { Reader } from '../../src/sdk/reader.ts'
import { makeDeck } from '../../src/simulator/deck.ts'
import { createKnobs } from '../../src/simulator/knobs.ts'
import { type CardSuite, loadSigners } from '../../src/simulator/signers.ts'

import { makeFolder } from './folder.ts'

/** The PKI of this test file: made once, because it takes as long as the rest of a start, and copied. */
let pki: Promise<{ path: string; said: { made: string; warnings: string[] } }> | undefined

async function makePki(nowMs: number) {
  const folder = makeFolder()
  process.once('exit', () => folder.remove())
  const { made, warnings } = await ensureDevPki({ directory: folder.path, nowMs })
  return { path: folder.path, said: { made: printMade(made), warnings } }
}

async function givePki(directory: string, nowMs: number) {
  pki ??= makePki(nowMs)
  const { path, said } = await pki
  cpSync(path, directory, { recursive: true, preserveTimestamps: true })
  return said
}

const seed = 'vouchsafe-test'

export const parcelOf = () => commitParcel('swift-crane', randomBytes(6).toString('hex'), randomBytes(16))

/** Starts bureau and gateway; both end with the test. */
export async function startTestGateway(t: Test, env: Record<string, string> = {}, clock = systemClock) {
  const folder = makeFolder()
  const root = folder.path
  const [dataDir, certsDir] = [join(root, 'data'), join(root, 'certs')]
  const first = await prepareDevelopment({
    dataDir,
    certsDir,
    clock,
    ensurePki: (directory) => givePki(directory, clock.now()),
  })
  const file = (name: string) => readFileSync(join(certsDir, name))
  const bureauTls = {
    key: file('bureau-server.key'),
    cert: file('bureau-server.crt'),
    ca: file('bureau-ca.crt'),
  }
  const bureau = buildBureau({ seed, clock, tls: bureauTls })
  await bureau.listen({ host: '127.0.0.1', port: 0 })
  const bureauUrl = `https://localhost:${(bureau.server.address() as AddressInfo).port}`
  const config = readConfig({
    VOUCHSAFE_DATA: dataDir,
    VOUCHSAFE_CERTS: certsDir,
    BUREAU_URL: bureauUrl,
    DEVICE_PORT: '0',
    CARRIER_PORT: '0',
    OPERATOR_PORT: '0',
    DEVICE_RATE: '100000',
    OUTLET_RATE: '100000',
    CARRIER_RATE: '100000',
    ADDRESS_RATE: '100000',
    DEVICE_REFUSALS: '0',
    LOG_LEVEL: 'trace',
    ...env,
  })
  const lines: string[] = []
  const sink = new Writable({
    write(chunk, _, done) {
      lines.push(String(chunk))
      done()
    },
  })
  const log = pino({ level: config.LOG_LEVEL, serializers: { err: describeError } }, sink)
  const gateway = await openGateway({ config, clock, log })
  const ports = await gateway.listen()
  const db = await openRegistry(join(dataDir, 'registry.db'))
  const knobs = createKnobs({
    url: bureauUrl,
    tls: { ca: file('bureau-ca.crt'), cert: file('bureau-client.crt'), key: file('bureau-client.key') },
  })
  t.teardown(async () => {
    await gateway.close()
    await db.destroy()
    bureau.server.closeAllConnections()
    await bureau.close()
    folder.remove()
  })
  const url = `https://localhost:${ports.device}`
  const { signer } = loadSigners(certsDir, 'P-256')

  async function openDevice(registered: DemoDevice = readDemoDevice(dataDir)): Promise<Device> {
    const reader = new Reader({
      device: parseBase64url(registered.id) as Buffer,
      deviceKey: createPrivateKey(registered.key),
      directoryKey: createPublicKey(file('directory.pub')),
      firmware: 1,
    })
    const ca = file('gateway-ca.crt')
    const device = new Device({ url, ca, reader, now: () => clock.now(), connections: 100 })
    t.teardown(() => device.close())
    await device.logIn()
    return device
  }

  const deck = (suite: CardSuite = 'P-256') =>
    makeDeck({
      personAt: (index) => personAt(seed, index),
      peopleCount,
      ...loadSigners(certsDir, suite),
      signedMs: clock.now() - 60_000,
    })
  const cardNamed = (name: string) => {
    const card = deck(name.endsWith('-sm2') ? 'SM2' : 'P-256').find((dealt) => dealt.name === name)
    if (!card) throw new Error(`no card ${name}`)
    return card
  }
  return {
    ...{ gateway, ports, url, db, knobs, lines, config, dataDir, certsDir, clock, file, first },
    ...{ openDevice, deck, cardNamed, signer },
  }
}
export type TestGateway = Awaited<ReturnType<typeof startTestGateway>>
