// One gateway process: opens its resources in order, builds the three listeners, closes all in reverse.
// Development conveniences (PKI, bureau mock, first operator) are serve.ts's, not this file's.
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { Server } from 'node:tls'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { createDirectory, type Directory } from '../plugins/directory.ts'
import { createMetrics, type Metrics } from '../plugins/metrics.ts'
import { createTokenHolders } from '../plugins/token-holders.ts'
import {
  buildCarrierApp,
  buildDeviceApp,
  buildOperatorApp,
  type CarrierRoutes,
  type Common,
  carrierTls,
} from './app.ts'
import { printBase64url } from './base/bytes.ts'
import type { Clock } from './base/clock.ts'
import type { Config } from './base/config.ts'
import { GatewayError } from './base/errors.ts'
import { openPoster } from './base/http.ts'
import { readPem } from './base/pem.ts'
import { printVkey } from './base/vkey.ts'
import { BureauClient } from './bureau/client.ts'
import { Feed } from './bureau/feed.ts'
import { loadKeks } from './keys/kek.ts'
import { Keyring } from './keys/keyring.ts'
import type { RecordKeyOf } from './ledger/issue.ts'
import { type Ledger, openLedger } from './ledger/ledger.ts'
import { countNodes } from './nodes.ts'
import { type CardTrust, loadAnchors } from './pki/anchors.ts'
import { appendChanges, assertRecorded } from './recorder.ts'
import { checkOperator } from './registry/operators.ts'
import { createRegistryReader, type RegistryReader } from './registry/reader.ts'
import { openRegistry } from './registry/schema.ts'
import { followRevocations, hasSerial } from './revocation-list.ts'
import { createMemoryStore } from './store/memory.ts'
import { createIntrospection } from './token/introspect.ts'
import { publishWitnessed, readWitnesses, witnessLimits } from './witnesses.ts'

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

export type GatewayOptions = { config: Config; clock: Clock; log: FastifyBaseLogger }

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
  { config, clock, log }: GatewayOptions,
  closers: (() => unknown)[],
  closeAll: () => Promise<void>,
): Promise<Gateway> {
  const metrics = createMetrics()
  const certificate = (name: string) => readFileSync(join(config.VOUCHSAFE_CERTS, name))
  const keyring = await openKeyring(config, clock, log)
  closers.push(() => keyring.close())
  const { db, registry } = await openRegistryReader({ config, clock, log }, closers)
  const ledger = await openLedgerOf({ config, clock, log }, { keyring, metrics })
  closers.push(() => ledger.close())
  closers.push(openWitnesses({ config, clock, log }, ledger))
  const recordKeyOf = recordKeysOf(keyring)
  await assertRecorded({ db, ledger, recordKeyOf })
  const recorder = appendChanges({
    db,
    ledger,
    registry,
    onError: (err) => log.error({ err }, 'act not recorded'),
  })
  closers.push(() => recorder.close())
  const { store, warnings } = await openStore({ config, clock, log })
  closers.push(() => store.close())
  const nodes = countNodes(store)
  closers.push(() => nodes.close())
  const { bureau, feed } = await openBureau({ config, clock, log }, metrics, closers)
  const { trust, close: closeTrust } = openTrust({ config, clock, log })
  closers.push(closeTrust)
  const tokens = createTokenHolders({ keyring, issuer: config.VOUCHSAFE_ORIGIN, clock })
  const directory = openDirectoryOf({ config, clock, log }, { keyring, tokens })
  closers.push(() => directory.close())

  const readiness = () => ({
    store: store.isUp(),
    ledger: ledger.isUp(),
    feed: feed.isFresh(),
    registry: registry.isFresh(),
    keys: keyring.isUsable(),
    trust: trust().crl.isFresh(clock.now()),
    directory: directory.isFresh(),
  })
  const common = { log, clock, metrics, inFlightMax: config.IN_FLIGHT_MAX }
  const tls = { key: certificate('gateway.key'), cert: certificate('gateway.crt') }
  const subjects = { keyring, registry, store, ledger, bureau, feed, tokens, trust }
  const parts = { ...subjects, config, clock, metrics, nodes: nodes.count }
  const device = await buildDeviceApp(common, {
    tls,
    parts,
    routes: {
      directory: () => directory.current(),
      onAnswer: () => metrics.answers.inc(),
      ledger,
    },
  })
  const receipts = { ledger, recordKeyOf }
  const introspection = createIntrospection({ readAnswer: tokens.readAnswer, clock })
  const carrier = await openCarrierApp(
    { config, clock, log },
    { common, registry, routes: { receipts, tokens: { introspection } } },
    closers,
  )
  const operator = await buildOperatorApp(common, {
    checkOperator: (name, secret) => checkOperator(db, name, secret),
    readiness,
    bundles: { ledger },
  })
  for (const app of [device, carrier, operator]) closers.push(() => app.close())
  const listen = () => listenAll({ device, carrier, operator }, config)
  const ledgerVkey = ledgerVkeyOf(config)
  return { device, carrier, operator, listen, close: closeAll, readiness, warnings, ledgerVkey }
}

type Context = GatewayOptions

async function openKeyring(config: Config, clock: Clock, log: FastifyBaseLogger): Promise<Keyring> {
  const tokenKey = join(config.VOUCHSAFE_CERTS, 'token.key')
  return Keyring.open({
    file: join(config.VOUCHSAFE_DATA, 'keyring.db'),
    keks: () => loadKeks(config.VOUCHSAFE_CERTS),
    clock,
    node: `${hostname()}/${process.pid}/${printBase64url(randomBytes(4))}`,
    adopt: existsSync(tokenKey) ? { token: createPrivateKey(readFileSync(tokenKey)) } : {},
    onFault: (err) => log.error({ err }, 'keyring not tended'),
  })
}

async function openRegistryReader({ config, clock, log }: Context, closers: (() => unknown)[]) {
  const db = await openRegistry(join(config.VOUCHSAFE_DATA, 'registry.db'))
  closers.push(() => db.destroy())
  const onError = (err: unknown) => log.error({ err }, 'registry not read')
  const registry: RegistryReader = createRegistryReader({ db, clock, onError })
  await registry.start()
  closers.push(() => registry.close())
  return { db, registry }
}

function openLedgerOf(
  { config, clock, log }: Context,
  given: { keyring: Keyring; metrics: Metrics },
): Promise<Ledger> {
  const { keyring, metrics } = given
  return openLedger({
    file: join(config.VOUCHSAFE_DATA, 'ledger.db'),
    clock,
    dayKeys: async (day) => ({
      record: (await keyring.ofDay('record', day)).export(),
      tag: (await keyring.ofDay('tag', day)).export(),
    }),
    onGroup: ({ size }) => metrics.ledgerGroups.observe(size),
    signer: ledgerSignerOf(config),
    witnessed: config.WITNESS_QUORUM > 0,
    onUnsigned: (reason) => log.error({ reason }, 'ledger not signed'),
  })
}

/** The name and key that the ledger signs with. */
const ledgerSignerOf = ({ VOUCHSAFE_ORIGIN, VOUCHSAFE_CERTS }: Config) => ({
  name: new URL(VOUCHSAFE_ORIGIN).hostname,
  key: createPrivateKey(readFileSync(join(VOUCHSAFE_CERTS, 'ledger.key'))),
})

function ledgerVkeyOf(config: Config): string {
  const { name, key } = ledgerSignerOf(config)
  return printVkey(name, key)
}

/** Follows the ledger with its witnesses, if there are any. Returns what ends it. */
function openWitnesses({ config, log }: Context, ledger: Ledger): () => Promise<void> {
  const witnesses = readWitnesses(config, ledgerSignerOf(config).key)
  if (witnesses.length === 0) return async () => {}
  const poster = openPoster(witnessLimits)
  const { postText } = poster
  const publisher = publishWitnessed({
    ...{ ledger, witnesses, quorum: config.WITNESS_QUORUM, postText },
    onChange(witness, fault) {
      if (!fault) log.info({ witness }, 'witness cosigns again')
      else log.warn({ witness, reason: fault.reason, err: fault.cause }, 'witness does not cosign')
    },
  })
  return async () => {
    await publisher.close()
    await poster.close()
  }
}

/** For receipts only. A key that is not there was destroyed, unless the keyring could not be read. */
function recordKeysOf(keyring: Keyring): RecordKeyOf {
  return async (day) => {
    const key = await keyring.find('record', day)
    if (!key && !keyring.isUsable()) throw new GatewayError('internal', 'keyring_unread')
    return key
  }
}

async function openStore({ config, clock, log }: Context) {
  const { REDIS_URL, CACHE_REDIS_URL } = config
  if (REDIS_URL === '') return { store: createMemoryStore(clock), warnings: [] as string[] }
  const cache = CACHE_REDIS_URL === '' ? {} : { cacheUrl: CACHE_REDIS_URL }
  const { createRedisStore } = await import('./store/redis.ts') // Its client costs 20 MB: only who has a Redis.
  const store = await createRedisStore({ guardUrl: REDIS_URL, ...cache, clock, log })
  return { store, warnings: [...store.warnings] }
}

async function openBureau({ config, clock, log }: Context, metrics: Metrics, closers: (() => unknown)[]) {
  const file = (name: string) => readFileSync(join(config.VOUCHSAFE_CERTS, name))
  const tls = { ca: file('bureau-ca.crt'), cert: file('bureau-client.crt'), key: file('bureau-client.key') }
  let position = () => 0
  const bureau = new BureauClient({
    url: config.BUREAU_URL,
    tls,
    clock,
    position: () => position(),
    deadlineMs: config.BUREAU_DEADLINE_MS,
    onBatch({ size, ok }) {
      metrics.bureauQuestions.inc(size)
      metrics.bureauBatches.inc({ outcome: ok ? 'answered' : 'failed' })
    },
  })
  closers.push(() => bureau.close())
  const onError = (err: unknown) => log.warn({ err }, 'feed not read')
  const feed = new Feed({ fetchPage: (after) => bureau.fetchPage(after), clock, onError })
  position = () => feed.position()
  await feed.start()
  closers.push(() => feed.close())
  return { bureau, feed }
}

/** Anchors and revocation list of the card issuer. */
function openTrust({ config, log }: Context): { trust: () => CardTrust; close: () => void } {
  const anchors = loadAnchors([readPem(join(config.VOUCHSAFE_CERTS, 'card-issuer.crt'))])
  const file = join(config.VOUCHSAFE_CERTS, 'card-issuer.crl')
  const list = followRevocations({ file, anchors, log })
  return { trust: () => ({ anchors, crl: list.current() }), close: list.close }
}

/** The carrier listener with the list of its CA: a newer one counts for open connections and for handshakes. */
async function openCarrierApp(
  context: Context,
  given: { common: Common; registry: RegistryReader; routes: CarrierRoutes },
  closers: (() => unknown)[],
): Promise<FastifyInstance> {
  const { config, log } = context
  const file = (name: string) => join(config.VOUCHSAFE_CERTS, name)
  const readTls = () => ({
    key: readFileSync(file('gateway.key')),
    cert: readFileSync(file('gateway.crt')),
    ca: readFileSync(file('carrier-ca.crt')),
    crl: readFileSync(file('carrier-ca.crl')),
  })
  const anchors = loadAnchors([readPem(file('carrier-ca.crt'))])
  const list = followRevocations({
    ...{ file: file('carrier-ca.crl'), anchors, log },
    onChange: () => (app.server as unknown as Server).setSecureContext({ ...readTls(), ...carrierTls }),
  })
  closers.push(list.close)
  const isRevoked = (serial: string) => hasSerial(list.current(), serial)
  const { common, registry, routes } = given
  const app = await buildCarrierApp(common, { tls: readTls(), registry, isRevoked, ...routes })
  return app
}

function openDirectoryOf(
  { config, clock, log }: Context,
  given: { keyring: Keyring; tokens: ReturnType<typeof createTokenHolders> },
): Directory {
  const file = (name: string) => readFileSync(join(config.VOUCHSAFE_CERTS, name))
  const source =
    config.VOUCHSAFE_MODE === 'development'
      ? { signWith: createPrivateKey(file('directory.key')) }
      : {
          file: join(config.VOUCHSAFE_DATA, 'directory.jwt'),
          signedBy: createPublicKey(file('directory.pub')),
        }
  const onFault = (err: unknown) => log.error({ err }, 'directory not renewed')
  const ledgerVkey = ledgerVkeyOf(config)
  return createDirectory({ ...given, ledgerVkey, minFirmware: config.MIN_FIRMWARE, clock, source, onFault })
}

async function listenAll(apps: Pick<Gateway, 'device' | 'carrier' | 'operator'>, config: Config) {
  await apps.device.listen({ host: config.DEVICE_HOST, port: config.DEVICE_PORT })
  await apps.carrier.listen({ host: config.CARRIER_HOST, port: config.CARRIER_PORT })
  await apps.operator.listen({ host: config.OPERATOR_HOST, port: config.OPERATOR_PORT })
  const portOf = (app: FastifyInstance) => (app.server.address() as AddressInfo).port
  return { device: portOf(apps.device), carrier: portOf(apps.carrier), operator: portOf(apps.operator) }
}
