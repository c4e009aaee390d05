// A gateway with one route more on each TLS listener: POST /constant, whose answer is always the same and as long as
// that of a verification or an introspection. What a listener costs without what the gateway does. Run as a process of
// its own; prints the listeners' addresses and ends with its input.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import type {} from '../plugins/carrier-auth.ts'
import { systemClock } from '../src/base/clock.ts'
import { readConfig } from '../src/base/config.ts'
import { prepareDevelopment, startBureauMock } from '../src/development.ts'
import { openGateway } from '../src/gateway.ts'
import { Asked, takeForms } from '../src/routes/tokens.ts'
import { rates } from './stage.ts'

const root = process.argv[2] ?? ''
const [dataDir, certsDir] = [join(root, 'data'), join(root, 'certs')]
mkdirSync(dataDir, { recursive: true })
await prepareDevelopment({ dataDir, certsDir, clock: systemClock })
const bureau = await startBureauMock(certsDir)
const anyPort = { DEVICE_PORT: '0', CARRIER_PORT: '0', OPERATOR_PORT: '0' }
const config = readConfig({
  ...{ VOUCHSAFE_DATA: dataDir, VOUCHSAFE_CERTS: certsDir, BUREAU_URL: bureau.url, ...anyPort },
  ...rates,
})
const gateway = await openGateway({ config, clock: systemClock, log: pino({ level: 'warn' }) as never })
const introspected = JSON.stringify({ active: true, said: 'x'.repeat(470) })
const json = 'application/json; charset=utf-8'
await gateway.carrier.register(async (app) => {
  takeForms(app)
  app.post('/constant', { schema: { body: Asked }, onRequest: app.carrierAuth }, async (_, reply) =>
    reply.type(json).header('cache-control', 'no-store').send(introspected),
  )
})
const answered = JSON.stringify({ answer: 'yes', token: 'x'.repeat(680) })
gateway.device.post('/constant', async (_, reply) =>
  reply.type(json).header('cache-control', 'no-store').send(answered),
)
const { device, carrier } = await gateway.listen()
console.log(
  JSON.stringify({ device: `https://localhost:${device}`, carrier: `https://localhost:${carrier}` }),
)
process.stdin.resume()
process.stdin.once('end', async () => {
  await gateway.close()
  bureau.process.kill('SIGTERM')
  process.exit(0)
})
