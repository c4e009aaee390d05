// One gateway process: opens its resources, builds the three listeners over them, closes all in reverse.
// Development conveniences (PKI, bureau mock, first operator) are serve.ts's, not this file's.
import { randomBytes } from 'node:crypto'
import type { AddressInfo, ListenOptions } from 'node:net'
import type { FastifyInstance, FastifyListenOptions } from 'fastify'
import { buildDeviceApp, buildOperatorApp, type Common } from './app.ts'
import type { Clock } from './base/clock.ts'
import type { Config } from './base/config.ts'
import { passportSuite } from './card/reading.ts'
import { openCarrierApp } from './carrier-listener.ts'
import { certify, decertify } from './issuing.ts'
import { type FollowedPair, renewWith } from './listener-tls.ts'
import { openOwnCertificates } from './own-certificates.ts'
import { suspendDevice } from './registry/devices.ts'
import { checkOperator } from './registry/operators.ts'
import { type RegistryDb, RegistryError } from './registry/schema.ts'
import { type Context, openResources, type Resources } from './resources.ts'
import type { Issuing } from './routes/admission.ts'
import type { Ports, Siblings } from './siblings.ts'
import { createIntrospection } from './token/introspect.ts'
import { tellingYes } from './token-revocations.ts'

export type Gateway = {
  device: FastifyInstance
  carrier: FastifyInstance
  operator: FastifyInstance
  listen(): Promise<Ports>
  close(): Promise<void>
  /** Of this process alone. */
  readiness(): Record<string, boolean>
  warnings: readonly string[]
  /** What receipts are checked with. */
  ledgerVkey: string
}

/** `siblings`: the other workers of this gateway, if there are any. They listen on the same ports. */
export type GatewayOptions = Context & { siblings?: Siblings }

/** Opens everything that a gateway needs. What was opened is closed again if a later part fails. */
export async function openGateway(options: GatewayOptions): Promise<Gateway> {
  const closers: (() => unknown)[] = []
  const closeAll = async () => {
    for (const close of closers.splice(0).reverse()) {
      try {
        await close()
      } catch (err) {
        options.log.error({ err }, 'part not closed') // The others are: what stays open would hold up the end.
      }
    }
  }
  try {
    return await openParts(options, closers, closeAll)
  } catch (error) {
    await closeAll()
    throw error
  }
}

async function openParts(
  context: GatewayOptions,
  closers: (() => unknown)[],
  closeAll: () => Promise<void>,
): Promise<Gateway> {
  const { config, clock, log, siblings } = context
  const resources = await openResources(context, closers)
  const { registry, ledger, revocations, keyring, store, trust, directory, metrics } = resources
  const readiness = () => ({
    store: store.isUp(),
    ledger: ledger.isUp(),
    feed: revocations.isFresh(), // The feed is, and what it says was heeded.
    registry: registry.isFresh(),
    keys: keyring.isUsable(),
    trust: trust.isFresh(clock.now()) && carrier.isListFresh(),
    directory: directory.isFresh(),
  })
  const common = { log, clock, metrics, inFlightMax: config.IN_FLIGHT_MAX }
  const own = openOwnCertificates(context, metrics, closers)
  const ticketSecret = siblings?.secret ?? randomBytes(32)
  const device = await openDeviceApp(context, resources, { common, own, ticketSecret })
  const carrier = await openCarrierListener(context, resources, { common, own, ticketSecret, closers })
  const { db } = resources
  siblings?.reportWith(async () => {
    const ready = readiness()
    for (const [part, up] of Object.entries(ready)) metrics.ready.set({ part }, up ? 1 : 0)
    return { ready, metrics: await metrics.registry.getMetricsAsJSON() }
  })
  const operator = await buildOperatorApp(common, {
    checkOperator: (name, secret) => checkOperator(db, name, secret),
    readiness,
    ...(siblings ? { others: siblings.reports } : {}),
    bundles: { ledger },
    admission: { db, clock, issuing: issuingOf(db, config) },
  })
  for (const app of [device, carrier.app, operator]) closers.push(() => app.close())
  const apps = { device, carrier: carrier.app, operator }
  const listen = () => listenAll(apps, config, siblings !== undefined)
  const { warnings, ledgerVkey } = resources
  return { ...apps, listen, close: closeAll, readiness, warnings, ledgerVkey }
}

type Shared = { common: Common; own: FollowedPair; ticketSecret: Buffer }

/** Readers through the courier app. */
async function openDeviceApp(
  { config, clock, log }: Context,
  resources: Resources,
  { common, own, ticketSecret }: Shared,
) {
  const { db, ledger, revocations, directory, metrics, nodes, quotas } = resources
  const misuse = { log, suspendDevice: suspendMisused(db, clock) }
  const parts = {
    ...resources,
    ...misuse,
    config,
    clock,
    nodes,
    quotas,
    ledger: tellingYes(ledger, revocations),
  }
  const app = await buildDeviceApp(common, {
    ...{ tls: own.current(), parts },
    routes: {
      directory: () => directory.current(),
      onAnswer: () => metrics.answers.inc(),
      passports: resources.verifiers.has(passportSuite),
      ledger,
    },
  })
  renewWith(app.server, own, ticketSecret)
  return app
}

/** Carriers' back ends. */
function openCarrierListener(
  context: Context,
  resources: Resources,
  { common, own, ticketSecret, closers }: Shared & { closers: (() => unknown)[] },
) {
  const { config, clock } = context
  const { db, registry, ledger, ledgerVkey, recordKeyOf, tokens, keyring, nodes, quotas, revocations } =
    resources
  const introspection = createIntrospection({
    ...{ readAnswer: tokens.readAnswer, clock },
    isRevoked: registry.isTokenRevoked,
    isNewsFresh: revocations.isFresh,
  })
  keyring.onChange(introspection.forget)
  const routes = {
    ...{ ledger, recordKeyOf, introspection, db, clock, registry, ledgerVkey, quotas },
    ...{ jwks: tokens.jwks, perSecond: config.CARRIER_API_RATE, nodes },
  }
  return openCarrierApp(context, { common, db, registry, own, ticketSecret, routes }, closers)
}

const issuingOf = (db: RegistryDb, { VOUCHSAFE_CERTS: certsDir }: Config): Issuing => ({
  certify: (given) => certify(db, { certsDir, ...given }),
  decertify: (given) => decertify(db, { certsDir, ...given }),
})

const misuseActor = 'system:misuse'

/** Suspends a device for its misuse; one that is not active any more needs it no more. */
const suspendMisused = (db: RegistryDb, clock: Clock) => async (id: Buffer, reason: string) => {
  try {
    await suspendDevice(db, { id, operator: misuseActor, nowMs: clock.now(), reason })
  } catch (error) {
    if (!(error instanceof RegistryError && error.reason === 'device not active')) throw error
  }
}

/** @param reusePort the kernel deals connections to all processes that listen so (SO_REUSEPORT) */
async function listenAll(
  apps: Pick<Gateway, 'device' | 'carrier' | 'operator'>,
  config: Config,
  reusePort: boolean,
): Promise<Ports> {
  const listen = (app: FastifyInstance, host: string, port: number) => {
    const options: ListenOptions = { host, port, reusePort }
    return app.listen(options as FastifyListenOptions) // Its type lacks what it hands on to net.Server.
  }
  await listen(apps.device, config.DEVICE_HOST, config.DEVICE_PORT)
  await listen(apps.carrier, config.CARRIER_HOST, config.CARRIER_PORT)
  await listen(apps.operator, config.OPERATOR_HOST, config.OPERATOR_PORT)
  const portOf = (app: FastifyInstance) => (app.server.address() as AddressInfo).port
  return { device: portOf(apps.device), carrier: portOf(apps.carrier), operator: portOf(apps.operator) }
}
