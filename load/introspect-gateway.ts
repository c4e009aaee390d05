// A gateway whose carrier listener has one route more: the same request as an introspection, answered with a constant
// of the same size. Run by bench-introspect.ts as a process of its own; prints its port and ends with its input.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import type {} from '../plugins/carrier-auth.ts'
import { systemClock } from '../src/base/clock.ts'
import { readConfig } from '../src/base/config.ts'
import { prepareDevelopment, startBureauMock } from '../src/development.ts'
import { openGateway } from '../src/gateway.ts'
import { Asked, takeForms } from '../src/routes/tokens.ts'

const root = process.argv[2] ?? ''
const [dataDir, certsDir] = [join(root, 'data'), join(root, 'certs')]
mkdirSync(dataDir, { recursive: true })
await prepareDevelopment({ dataDir, certsDir, clock: systemClock })
const bureau = await startBureauMock(certsDir)
const anyPort = { DEVICE_PORT: '0', CARRIER_PORT: '0', OPERATOR_PORT: '0' }
const config = readConfig({
  ...{ VOUCHSAFE_DATA: dataDir, VOUCHSAFE_CERTS: certsDir, BUREAU_URL: bureau.url, ...anyPort },
  CARRIER_API_RATE: '1000000',
})
const gateway = await openGateway({ config, clock: systemClock, log: pino({ level: 'warn' }) as never })
const constant = JSON.stringify({ active: true, said: 'x'.repeat(470) })
await gateway.carrier.register(async (app) => {
  takeForms(app)
  app.post('/constant', { schema: { body: Asked }, onRequest: app.carrierAuth }, async (_, reply) =>
    reply.type('application/json; charset=utf-8').header('cache-control', 'no-store').send(constant),
  )
})
const { carrier } = await gateway.listen()
console.log(`https://localhost:${carrier}`)
process.stdin.resume()
process.stdin.once('end', async () => {
  await gateway.close()
  bureau.process.kill('SIGTERM')
  process.exit(0)
})
