// What a gateway opens once and its listeners share: keyring, registry, ledger, store, bureau, trust, directory, and what
// follows them. Each closes itself through `closers`, in the order of opening.
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { createDirectory, type Directory } from '../plugins/directory.ts'
import { createMetrics, type Metrics } from '../plugins/metrics.ts'
import { createTokenHolders } from '../plugins/token-holders.ts'
import type { Common } from './app.ts'
import { printBase64url } from './base/bytes.ts'
import type { Clock } from './base/clock.ts'
import { keepStep } from './base/cohort.ts'
import type { Config } from './base/config.ts'
import { GatewayError } from './base/errors.ts'
import { openPoster } from './base/http.ts'
import { limits } from './base/limits.ts'
import { assertSm2 } from './base/sm2.ts'
import { createTurns } from './base/turns.ts'
import { printVkey } from './base/vkey.ts'
import { BureauClient } from './bureau/client.ts'
import { Feed } from './bureau/feed.ts'
import { createCardVerifier } from './card/check.ts'
import { createPassportVerifier } from './card/passport/check.ts'
import type { PassportTrust } from './card/passport/trust.ts'
import { passportSuite } from './card/reading.ts'
import type { ChipVerifier } from './card/verdict.ts'
import { followCardTrust } from './card-trust.ts'
import { loadKeks } from './keys/kek.ts'
import { Keyring } from './keys/keyring.ts'
import type { RecordKeyOf } from './ledger/issue.ts'
import { type Ledger, openLedger } from './ledger/ledger.ts'
import { countNodes } from './nodes.ts'
import { followPassportTrust } from './passport-trust.ts'
import type { CardTrust } from './pki/anchors.ts'
import { p256, sm2 } from './pki/suites.ts'
import { appendChanges, assertRecorded } from './recorder.ts'
import { markProduction } from './registry/carriers.ts'
import { createRegistryReader, type RegistryReader } from './registry/reader.ts'
import { openRegistry, type RegistryDb } from './registry/schema.ts'
import { openSamService } from './sam-service.ts'
import { createMemoryStore } from './store/memory.ts'
import { followTokenRevocations } from './token-revocations.ts'
import { keepUp } from './upkeep.ts'
import { createQuotas } from './verify/quota.ts'
import { publishWitnessed, readWitnesses, witnessLimits } from './witnesses.ts'

type Log = Common['log']

export type Context = { config: Config; clock: Clock; log: Log }

export type Resources = Awaited<ReturnType<typeof openResources>>

/** @param closers takes what must be closed, in order */
export async function openResources(context: Context, closers: (() => unknown)[]) {
  const { config, clock, log } = context
  const metrics = createMetrics()
  const keyring = await openKeyring(config, clock, log)
  closers.push(() => keyring.close())
  const { db, registry } = await openRegistryReader(context, closers)
  if (config.VOUCHSAFE_MODE === 'production') await markProduction(db, clock.now())
  const ledger = await openLedgerOf(context, { keyring, metrics })
  closers.push(() => ledger.close())
  closers.push(openWitnesses(context, ledger))
  const recordKeyOf = recordKeysOf(keyring)
  await assertRecorded({ db, ledger, recordKeyOf })
  const recorder = appendChanges({
    ...{ db, ledger, registry },
    onError: (err) => log.error({ err }, 'act not recorded'),
  })
  closers.push(() => recorder.close())
  const { store, warnings } = await openStore(context)
  closers.push(() => store.close())
  const counting = countNodes(store)
  closers.push(() => counting.close())
  const { bureau, feed } = openBureau(context, metrics, closers)
  const revocations = await followTokenRevocations({
    ...{ db, clock, feed, registry, ledger, recordKeyOf },
    tagKeyOf: (day) => keyring.find('tag', day),
    onWaiting: (count) => metrics.revocationsWaiting.set(count),
    onError: (err) => log.error({ err }, 'tokens not revoked'),
  })
  closers.push(() => revocations.close())
  await feed.start() // Once those who follow it do.
  closers.push(() => feed.close())
  const trust = followCardTrust({ config, clock, log, metrics })
  closers.push(() => trust.close())
  const passports = openPassportTrust(context, closers)
  const sam = openSamService(context, metrics, closers)
  const verifiers = new Map([...createVerifiers(clock, () => trust.current(), passports), ...sam.verifiers])
  const tokens = createTokenHolders({ keyring, issuer: config.VOUCHSAFE_ORIGIN, clock })
  const directory = openDirectoryOf(context, { keyring, tokens })
  closers.push(() => directory.close())
  closers.push(startUpkeep(context, db))
  const quotas = createQuotas({ countAnswers: (...of) => ledger.countAnswers(...of).answers, clock })
  const nodes = () => counting.count()
  return {
    ...{ metrics, keyring, db, registry, ledger, recordKeyOf, store, warnings, nodes, bureau, feed, trust },
    ...{ verifiers, sam, tokens, directory, quotas, revocations, ledgerVkey: ledgerVkeyOf(config) },
  }
}

function startUpkeep({ clock, log }: Context, db: RegistryDb): () => Promise<void> {
  const upkeep = keepUp({
    ...{ db, clock },
    onSuspended: (carrier) => log.warn({ alert: 'review_overdue', carrier }, 'carrier suspended'),
    onError: (err) => log.error({ err }, 'upkeep failed'),
  })
  return () => upkeep.close()
}

async function openKeyring(config: Config, clock: Clock, log: Log): Promise<Keyring> {
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

function openBureau({ config, clock, log }: Context, metrics: Metrics, closers: (() => unknown)[]) {
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
  return { bureau, feed }
}

/** Undefined where the operator brings no CSCAs: then passports are off. */
function openPassportTrust({ config, clock, log }: Context, closers: (() => unknown)[]) {
  if (config.PASSPORT_CSCA === '') return undefined
  const trust = followPassportTrust({ folder: config.PASSPORT_CSCA, clock, log })
  closers.push(() => trust.close())
  return trust.current
}

/** What checks the chips, by suite of the reading. */
function createVerifiers(
  clock: Clock,
  trust: () => CardTrust,
  passports: (() => PassportTrust) | undefined,
): ReadonlyMap<number, ChipVerifier> {
  assertSm2()
  const { turnsWaitingMax: waitingMax, turnWaitMsMax: waitMsMax, turnLoopMs: loopMs } = limits
  // A lane for each kind, so that a flood of one does not shut the other.
  const makeLane = () => createTurns({ waitingMax, waitMsMax, loopMs, mono: () => clock.mono() })
  const verifiers = new Map<number, ChipVerifier>()
  verifiers.set(p256.id, createCardVerifier({ suite: p256, trust, takeTurn: keepStep }))
  verifiers.set(sm2.id, createCardVerifier({ suite: sm2, trust, takeTurn: makeLane() }))
  if (passports) {
    verifiers.set(passportSuite, createPassportVerifier({ trust: passports, takeTurn: makeLane() }))
  }
  return verifiers
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
