// What is said of workers that are late, silent, or no more.
import { Counter, Gauge, Histogram, Registry } from '@prometheus-io/client'
import t from 'tap'
import { manualClock } from '../src/base/clock.ts'
import { limits } from '../src/base/limits.ts'
import { createGathering } from '../src/gathering.ts'
import type { Report } from '../src/routes/health.ts'
import type { ToWorker } from '../src/siblings.ts'

const up = { store: true, ledger: true, feed: true, registry: true, keys: true, trust: true, directory: true }

/** A worker that counted so many. */
async function reportOf(count: number): Promise<Report> {
  const registry = new Registry()
  const registers = [registry]
  new Counter({ name: 'done', help: 'done', labelNames: ['as'], registers }).inc({ as: 'a' }, count)
  new Gauge({ name: 'held', help: 'held', registers }).set(count)
  new Histogram({ name: 'took', help: 'took', buckets: [1, 10], registers }).observe(count)
  return { ready: up, metrics: await registry.getMetricsAsJSON() }
}

async function sums(reports: readonly Report[]): Promise<Record<string, number>> {
  const all = await Registry.aggregate(reports.map(({ metrics }) => metrics)).getMetricsAsJSON()
  const values = all.flatMap(({ name, values }) =>
    values.map((each) => [(each as { metricName?: string }).metricName ?? name, each.value] as const),
  )
  return Object.fromEntries(values)
}

type Worker = { says: Report | undefined; heard: Report[][] }

function open(...workers: Worker[]) {
  const clock = manualClock(0)
  const serving = new Set(workers)
  const gathering = createGathering<Worker>({
    ready: () => [...serving],
    clock,
    post(worker, message: ToWorker) {
      if (message.kind === 'reports') worker.heard.push(message.reports)
      if (message.kind === 'report' && worker.says)
        void gathering.take(worker, { kind: 'report', id: message.id, report: worker.says })
    },
  })
  return {
    ...{ clock, serving },
    end(worker: Worker) {
      serving.delete(worker)
      gathering.end(worker)
    },
    /** What the first is told of the others. */
    async ask(asker: Worker): Promise<Report[]> {
      await gathering.take(asker, { kind: 'ask', id: 1, report: asker.says as Report })
      return asker.heard.at(-1) ?? []
    },
  }
}
const worker = async (count: number): Promise<Worker> => ({ says: await reportOf(count), heard: [] })

t.test('one that is late is as it was; one that is silent for long is not ready', async (t) => {
  const [asker, other, mute] = [await worker(1), await worker(2), await worker(4)]
  mute.says = undefined
  const { ask, clock } = open(asker, other, mute)
  t.equal((await ask(asker)).length, 1, 'who never said anything is left out')
  other.says = undefined
  const late = await ask(asker)
  t.same(await sums(late), { done: 2, held: 2, took_bucket: 1, took_sum: 2, took_count: 1 })
  t.same(late[0]?.ready, up)
  clock.advance(limits.workerSilentMsMax - 1)
  t.same((await ask(asker))[0]?.ready, up)
  clock.advance(1)
  const silent = (await ask(asker))[0]
  t.same(new Set(Object.values(silent?.ready ?? {})), new Set([false]))
  other.says = await reportOf(3)
  t.same((await ask(asker))[0]?.ready, up, 'heard again')
  clock.advance(10 * limits.workerSilentMsMax)
  t.same((await ask(asker))[0]?.ready, up, 'nobody asked meanwhile: that is not silence')
})

t.test('what workers counted that are no more stays counted, what they held does not', async (t) => {
  const [asker, second, third] = [await worker(1), await worker(20), await worker(300)]
  const { ask, end } = open(asker, second, third)
  await ask(asker)
  end(second)
  end(third)
  const left = await ask(asker)
  t.match(await sums(left), { done: 320, took_sum: 320, took_count: 2 })
  t.notOk('held' in (await sums(left)))
  t.same(left[0]?.ready, up)
  end(asker)
  const successor = await worker(7)
  t.match(await sums(await ask(successor)), { done: 321, took_count: 3 }, 'the asker’s own too')
})
