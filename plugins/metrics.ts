// Counts and durations, in a registry of this process; those of several workers are added up, unless a gauge says
// otherwise. Label sets are closed; no label names anyone.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from '@prometheus-io/client'
import type { FastifyReply } from 'fastify'
import fp from 'fastify-plugin'

const loopSampleMs = 50

export function createMetrics() {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: loopSampleMs })
  return {
    registry,
    requests: new Counter({
      name: 'vouchsafe_requests_total',
      help: 'Requests answered, by route, status and code',
      labelNames: ['route', 'status', 'code'],
      registers,
    }),
    duration: new Histogram({
      name: 'vouchsafe_request_seconds',
      help: 'From the first byte of a request to the last of its response; a no includes its hold',
      labelNames: ['route'],
      buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 3],
      registers,
    }),
    answers: new Counter({
      name: 'vouchsafe_answers_total',
      help: 'Answers given, yes and no together: the share of each is nobody else’s business',
      registers,
    }),
    storeFailures: new Counter({
      name: 'vouchsafe_store_failures_total',
      help: 'Store calls that failed; the ledger decided instead',
      registers,
    }),
    bureauBatches: new Counter({
      name: 'vouchsafe_bureau_batches_total',
      help: 'Batches sent to the bureau',
      labelNames: ['outcome'],
      registers,
    }),
    bureauQuestions: new Counter({
      name: 'vouchsafe_bureau_questions_total',
      help: 'Questions that left for the bureau',
      registers,
    }),
    samReads: new Counter({
      name: 'vouchsafe_sam_reads_total',
      help: 'Questions to the SAM service: answered, failed; doubted are those answered whose attestation was not right',
      labelNames: ['outcome'],
      registers,
    }),
    ledgerGroups: new Histogram({
      name: 'vouchsafe_ledger_group_entries',
      help: 'Entries in one commit of the ledger',
      buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
      registers,
    }),
    ...createWarnings(registers),
    ready: new Gauge({
      name: 'vouchsafe_ready_parts',
      help: '1 for each part that is ready',
      labelNames: ['part'],
      aggregator: 'min',
      registers,
    }),
  }
}

/** What somebody should look into. */
const createWarnings = (registers: Registry[]) => ({
  cardListFetches: new Counter({
    name: 'vouchsafe_card_list_fetches_total',
    help: 'Fetches of revocation lists of card issuers, by outcome: newer, same, refused, failed',
    labelNames: ['outcome'],
    registers,
  }),
  cardListsStale: new Gauge({
    name: 'vouchsafe_card_lists_stale',
    help: 'Card issuers without a fresh revocation list: their cards get 503 trust_stale',
    aggregator: 'max',
    registers,
  }),
  cardTrustEnd: new Gauge({
    name: 'vouchsafe_card_trust_end_seconds',
    help: 'When the signed list of card issuers ends, Unix time',
    aggregator: 'min',
    registers,
  }),
  carriersEnding: new Gauge({
    name: 'vouchsafe_carriers_ending',
    help: 'Certificates of carriers that end, and reviews of carriers that are due, within this time',
    labelNames: ['what', 'within'],
    aggregator: 'max',
    registers,
  }),
  revocationsWaiting: new Gauge({
    name: 'vouchsafe_revocations_waiting',
    help: 'Changes of the bureau whose tokens were not looked for yet; introspection waits for them',
    aggregator: 'max',
    registers,
  }),
  alerts: new Counter({
    name: 'vouchsafe_alerts_total',
    help: 'Alerts for operators: devices suspended for misuse, canaries seen; the log says which device',
    labelNames: ['kind'],
    registers,
  }),
  certificatesRefused: new Counter({
    name: 'vouchsafe_client_certificates_refused_total',
    help: 'Client certificates turned away at the carrier listener, and handshakes that failed, by cause',
    labelNames: ['cause'],
    registers,
  }),
  certificateExpiry: new Gauge({
    name: 'vouchsafe_certificate_expiry_seconds',
    help: 'When a certificate in use by the gateway ends, Unix time',
    labelNames: ['certificate'],
    aggregator: 'min',
    registers,
  }),
  certificatesEnding: new Gauge({
    name: 'vouchsafe_certificates_ending',
    help: 'How many certificates in use by the gateway end within this time; those within less are among them',
    labelNames: ['within'],
    aggregator: 'max',
    registers,
  }),
})

/** `cut` for an answer that nobody was there to read. */
export const statusOf = (reply: FastifyReply) =>
  reply.raw.writableFinished ? String(reply.statusCode) : 'cut'

export type Metrics = ReturnType<typeof createMetrics>

/** Of one worker, to be added up with those of others. */
export type MetricValues = Awaited<ReturnType<Registry['getMetricsAsJSON']>>

export default fp<{ metrics: Metrics }>(
  async (app, { metrics }) => {
    app.addHook('onRequest', (request, reply, done) => {
      reply.raw.on('close', () => {
        const route = request.routeOptions.url ?? 'none'
        const code = request.refusedAs ?? 'none'
        metrics.requests.inc({ route, status: statusOf(reply), code })
        metrics.duration.observe({ route }, reply.elapsedTime / 1000)
      })
      done()
    })
  },
  { name: 'metrics', dependencies: ['errors'] },
)
