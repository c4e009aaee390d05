// One gateway process: opens its resources, builds the three listeners over them, closes all in reverse.
// Development conveniences (PKI, bureau mock, first operator) are serve.ts's, not this file's.
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
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
import { createIntrospection } from './token/introspect.ts'
import { tellingYes } from './token-revocations.ts'

export type Gateway = {
  device: FastifyInstance
  carrier: FastifyInstance
  operator: FastifyInstance
  listen(): Promise<{ device: number; carrier: number; operator: number }>
  close(): Promise<void>
  readiness(): Record<string, boolean>
  warnings: readonly string[]
  /** What receipts are checked with. */
  ledgerVkey: string
}

export type GatewayOptions = Context

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
  context: Context,
  closers: (() => unknown)[],
  closeAll: () => Promise<void>,
): Promise<Gateway> {
  const { config, clock, log } = context
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
  const device = await openDeviceApp(context, resources, { common, own })
  const carrier = await openCarrierListener(context, resources, { common, own, closers })
  const { db } = resources
  const operator = await buildOperatorApp(common, {
    checkOperator: (name, secret) => checkOperator(db, name, secret),
    readiness,
    bundles: { ledger },
    admission: { db, clock, issuing: issuingOf(db, config) },
  })
  for (const app of [device, carrier.app, operator]) closers.push(() => app.close())
  const apps = { device, carrier: carrier.app, operator }
  const listen = () => listenAll(apps, config)
  const { warnings, ledgerVkey } = resources
  return { ...apps, listen, close: closeAll, readiness, warnings, ledgerVkey }
}

type Shared = { common: Common; own: FollowedPair }

/** Readers through the courier app. */
async function openDeviceApp({ config, clock, log }: Context, resources: Resources, { common, own }: Shared) {
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
  renewWith(app.server, own)
  return app
}

/** Carriers' back ends. */
function openCarrierListener(
  context: Context,
  resources: Resources,
  { common, own, closers }: Shared & { closers: (() => unknown)[] },
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
  return openCarrierApp(context, { common, registry, own, routes }, closers)
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

async function listenAll(apps: Pick<Gateway, 'device' | 'carrier' | 'operator'>, config: Config) {
  await apps.device.listen({ host: config.DEVICE_HOST, port: config.DEVICE_PORT })
  await apps.carrier.listen({ host: config.CARRIER_HOST, port: config.CARRIER_PORT })
  await apps.operator.listen({ host: config.OPERATOR_HOST, port: config.OPERATOR_PORT })
  const portOf = (app: FastifyInstance) => (app.server.address() as AddressInfo).port
  return { device: portOf(apps.device), carrier: portOf(apps.carrier), operator: portOf(apps.operator) }
}
