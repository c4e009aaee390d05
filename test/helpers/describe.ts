// The OpenAPI description of all listeners, made from routes that are never called.
import swagger from '@fastify/swagger'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import { createMetrics } from '../../plugins/metrics.ts'
import { buildCarrierApp, buildDeviceApp, buildOperatorApp } from '../../src/app.ts'
import { systemClock } from '../../src/base/clock.ts'
import { readConfig } from '../../src/base/config.ts'
import { openApi } from '../../src/routes/openapi.ts'

type Description = { paths: Record<string, unknown> }

/** One document: the device listener's, with the paths of the other two. */
export async function describeApi(): Promise<Description> {
  const describe = async (app: FastifyInstance) => {
    await app.register(swagger, {
      openapi: openApi,
      refResolver: { buildLocalReference: (schema) => String(schema['$id']) },
    })
  }
  const log = pino({ level: 'silent' })
  const common = { log, clock: systemClock, metrics: createMetrics(), inFlightMax: 1, describe }
  const never = new Proxy({}, { get: () => () => () => undefined }) as never
  const parts = {
    ...(never as object),
    config: readConfig({}),
    clock: systemClock,
    tokens: never,
    registry: never,
    metrics: common.metrics,
  }
  const routes = { directory: () => '', onAnswer: () => {}, passports: false, ledger: never }
  const registry = never
  const apps = [
    await buildDeviceApp(common, { parts: parts as never, routes }),
    await buildCarrierApp(common, {
      registry,
      isRevoked: () => false,
      routes: {
        ...{ ledger: never, recordKeyOf: never, introspection: never, db: never, clock: systemClock },
        ...{ registry: never, quotas: never, ledgerVkey: '', jwks: never, perSecond: 1, nodes: () => 1 },
      },
    }),
    await buildOperatorApp(common, {
      checkOperator: async () => undefined,
      readiness: never,
      bundles: { ledger: never },
      admission: { db: never, clock: systemClock, issuing: never },
    }),
  ]
  const described: Description[] = []
  for (const app of apps) {
    await app.ready()
    described.push(app.swagger() as unknown as Description)
    await app.close()
  }
  const [first, ...others] = described as [Description, ...Description[]]
  return { ...first, paths: Object.assign({}, first.paths, ...others.map((other) => other.paths)) }
}
