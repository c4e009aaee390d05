// How the workers of one gateway are, for whichever of them is asked: what each said last, what those said that have
// ended, and who has gone silent (src/primary.ts passes the messages).
import { Registry } from '@prometheus-io/client'
import type { MetricValues } from '../plugins/metrics.ts'
import type { Clock } from './base/clock.ts'
import { limits } from './base/limits.ts'
import type { Parts, Report } from './routes/health.ts'
import type { FromWorker, ToWorker } from './siblings.ts'

type Needs<W> = {
  /** Those that serve now. */
  ready: () => W[]
  post: (worker: W, message: ToWorker) => unknown
  clock: Pick<Clock, 'mono'>
}

const allOf = (parts: Parts, value: boolean) =>
  Object.fromEntries(Object.keys(parts).map((part) => [part, value])) as Parts

/** What only grows; a gauge of a process ends with it. */
const growing = (values: MetricValues) =>
  values.filter(({ type }) => String(type) === 'counter' || String(type) === 'histogram')

export function createGathering<W extends object>({ ready, post, clock }: Needs<W>) {
  let lastId = 0
  const asked = new Map<number, (report?: Report) => void>()
  const last = new Map<W, Report>()
  /** When those were asked first who have not answered since. */
  const silentSince = new Map<W, number>()
  /** Sums of workers that have ended: a counter that fell would be taken for one that began anew. */
  let ended: Promise<MetricValues> = Promise.resolve([])

  function ask(worker: W): Promise<Report | undefined> {
    const id = ++lastId
    if (!silentSince.has(worker)) silentSince.set(worker, clock.mono())
    return new Promise((resolve) => {
      const done = (report?: Report) => {
        clearTimeout(late)
        asked.delete(id)
        resolve(report)
      }
      const late = setTimeout(done, limits.workerReportMsMax)
      asked.set(id, done)
      post(worker, { kind: 'report', id })
    })
  }

  /** One that is late is as it was; one that is silent for long serves nobody, though connections are dealt to it. */
  function standIn(worker: W): Report | undefined {
    const known = last.get(worker)
    const isSilent = clock.mono() - (silentSince.get(worker) ?? clock.mono()) >= limits.workerSilentMsMax
    return known && isSilent ? { ...known, ready: allOf(known.ready, false) } : known
  }

  return {
    async take(from: W, message: Extract<FromWorker, { kind: 'report' | 'ask' }>): Promise<void> {
      last.set(from, message.report)
      silentSince.delete(from)
      if (message.kind === 'report') return asked.get(message.id)?.(message.report)
      const others = ready().filter((worker) => worker !== from)
      const each = await Promise.all(others.map(async (worker) => (await ask(worker)) ?? standIn(worker)))
      const reports = each.filter((report) => report !== undefined)
      const before = await ended
      if (before.length > 0) reports.push({ ready: allOf(message.report.ready, true), metrics: before })
      post(from, { kind: 'reports', id: message.id, reports })
    },

    /** A worker is no more: what it counted, as far as it was asked, stays counted. */
    end(worker: W): void {
      const known = last.get(worker)
      last.delete(worker)
      silentSince.delete(worker)
      if (!known) return
      ended = ended.then((before) => Registry.aggregate([before, growing(known.metrics)]).getMetricsAsJSON())
    },
  }
}
