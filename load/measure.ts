// One scenario, run and judged: sealing, warming up, sending, CPU of each process meanwhile, every answer judged.
import { randomInt } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { readConfig } from '../src/base/config.ts'
import { limits } from '../src/base/limits.ts'
import { peopleCount } from '../src/bureau-mock/people.ts'
import { rssMb, type Sample, servingOf, watchCpu } from './cpu.ts'
import type { Generated, GenerateJob } from './generator.ts'
import {
  countEntries,
  countFalseReceipts,
  fetchTokenKeys,
  type Judgement,
  judge,
  readReplies,
  type Signed,
} from './judge.ts'
import { readLines } from './lines.ts'
import { prepareLines, runChild } from './prepare.ts'
import { type Line, type ScenarioName, scenarioOf } from './scenarios.ts'
import type { Setup } from './setup.ts'

export type Run = {
  scenario: ScenarioName
  /** Requests a second that an open loop was asked for; undefined: closed loop. */
  rate: number | undefined
  connections: number
  sent: number
  /** Right replies a second, without refusals that the scenario means: from the first sent to the last answered. */
  perSecond: number
  tookMs: number
  /** Answers a second, refusals among them, from where the handshakes are over. */
  answeredPerSecond: number
  /** Of right replies; `yesP99` counts a yes that never came as slower than all others, and may be infinite. */
  latencyMs: Record<'p50' | 'p90' | 'p99' | 'max' | 'yesP99' | 'refusedP50' | 'refusedP99', number>
  /** CPU microseconds for each request that was answered or refused, by process, from where the handshakes are over. */
  cpu: Record<string, number>
  samples: Sample[]
  /** That the bureau was asked; undefined where it is not ours. */
  questions: number | undefined
  /** Of the gateway's processes that serve, at the end, MB. */
  rssMb: number[]
  receipts: { checked: number; untrue: number }
  judgement: Judgement
  /** The lines that were sent, until the set-up closes. */
  files: string[]
}

export type Options = {
  scenario: ScenarioName
  connections: number
  count: number
  /** Requests a second of an open loop. */
  rate?: number
  sealers?: number
  devices?: number
  known?: number
  receipts?: number
  print?: (line: string) => void
}

/** The feed is stale by then, where the fault is its own too. */
const heardMs = 2 * limits.feedFreshMs

const leavingShare = 'revoked-device'
/** Handhelds that log in, each once. */
const loginsMax = 2000

/** @throws Error if a part of the run did not run: what was sent is judged, whatever came of it */
export async function measure(setup: Setup, options: Options): Promise<Run> {
  const { scenario: name, connections, count, rate, print = () => {} } = options
  const scenario = scenarioOf(name)
  if (scenario.bureau && !setup.setFaults)
    throw new Error(`${name} needs a bureau of its own: leave out --gateway.`)
  const { sealers = 2, known = 400, receipts = 20 } = options
  const devices = await setup.register(
    options.devices ?? (scenario.mix.login ? Math.min(count, loginsMax) : 16),
  )
  const leaving = scenario.mix[leavingShare] ? await setup.register(sealers) : []
  const { device: url, certsDir, folder } = setup
  const firstIndex = randomInt(peopleCount - sealers * 4_000_000)
  const prepared = await prepareLines(
    { url, certsDir, folder, devices, leaving, mix: scenario.mix, count, firstIndex, known, sealers, name },
    print,
  )
  await setup.revoke(leaving)
  const issuer = readConfig({}).VOUCHSAFE_ORIGIN
  const signed = { keys: await fetchTokenKeys({ url: setup.carrier, certsDir }), issuer }
  const job = (files: string[], out: string): GenerateJob => ({
    ...targetOf(setup, name),
    ...{ files, connections, out: join(folder, out) },
    rate: undefined,
  })
  const entries = countEntries(setup.dataDir)
  if (scenario.mix.known) {
    const warm = job(prepared.warmFiles, 'warm-replies.ndjson')
    const { left } = await send({ ...warm, connections: 4 }, setup.pids)
    const judged = judgeFiles(setup, 'returning', { ...warm, entries, left, signed }) // Nothing is broken yet.
    const { wrong, unanswered, missingEntries, examples } = judged
    if (wrong + unanswered + missingEntries > 0) {
      const counts = `${wrong} wrong, ${unanswered} unanswered, ${missingEntries} not in the ledger once`
      throw new Error(
        `Cards that should return did not get their first answers: ${counts}. ${examples[0] ?? ''}`,
      )
    }
  }
  if (scenario.bureau) {
    await setup.setFaults?.(scenario.bureau)
    await sleep(heardMs)
  }
  const main = { ...job(prepared.files, 'replies.ndjson'), rate }
  const asked = await setup.questions?.()
  const sent = await send(main, setup.pids, print)
  if (scenario.bureau) await setup.setFaults?.({})
  const { gateway } = setup.pids
  const questions = asked === undefined ? undefined : ((await setup.questions?.()) ?? Number.NaN) - asked
  const { answered, ...judgement } = judgeFiles(setup, name, { ...main, entries, left: sent.left, signed })
  return {
    ...{ scenario: name, rate, connections, sent: sent.sent, tookMs: sent.tookMs },
    perSecond: (judgement.right / sent.tookMs) * 1000,
    answeredPerSecond: (sent.counted.answers / sent.counted.ms) * 1000,
    latencyMs: quantiles(judgement),
    cpu: Object.fromEntries(
      Object.entries(sent.micros).map(([process, micros]) => [process, micros / sent.counted.answers]),
    ),
    samples: sent.samples,
    questions,
    files: prepared.files,
    rssMb: gateway === undefined ? [] : servingOf(gateway).map(rssMb),
    receipts: await countFalseReceipts(answered, {
      ...{ url: setup.carrier, certsDir, vkey: setup.vkey, samples: receipts },
    }),
    judgement,
  }
}

type Listeners = { device: string; carrier: string; certsDir: string }

/** Introspections go to the carriers' listener, all else to that of devices. */
function targetOf(listeners: Listeners, name: ScenarioName): Pick<GenerateJob, 'url' | 'tls'> {
  const file = (name: string) => readFileSync(join(listeners.certsDir, name), 'utf8')
  const ca = file('gateway-ca.crt')
  if (name !== 'introspect') return { url: listeners.device, tls: { ca } }
  const own = { cert: file('carrier-swift-crane.crt'), key: file('carrier-swift-crane.key') }
  return { url: listeners.carrier, tls: { ca, ...own } }
}

type Sent = Generated & { micros: Record<string, number>; samples: Sample[] }

/** Runs the generator; CPU is counted from where it says so on. */
async function send(
  job: GenerateJob,
  pids: Record<string, number>,
  print: (line: string) => void = () => {},
): Promise<Sent> {
  let watch: ReturnType<typeof watchCpu> | undefined
  let seen: ReturnType<ReturnType<typeof watchCpu>['stop']> | undefined
  let generated: Generated | undefined
  type Told = { begun?: true; settled?: true; answered?: number; of?: number; ended?: true; done?: Generated }
  const child = runChild<GenerateJob, Told>('./generator.ts', job, (told) => {
    if (told.begun) watch = watchCpu({ ...pids, generator: child.process.pid ?? 0 })
    if (told.settled) watch?.begin()
    if (told.answered !== undefined) print(`  answered ${told.answered} of ${told.of}`)
    if (told.ended) seen = watch?.stop()
    if (told.done) generated = told.done
  })
  await child.ended
  if (!generated || !seen) throw new Error('The generator ended before it was done.')
  // By its own account: it has ended, and read its lines before it began.
  return { ...generated, samples: seen.samples, micros: { ...seen.micros, generator: generated.cpuMicros } }
}

const judgeFiles = (
  { dataDir }: Setup,
  name: ScenarioName,
  {
    files,
    out,
    ...more
  }: Pick<GenerateJob, 'files' | 'out'> & {
    entries: number
    left: number[]
    signed: Signed
  },
) => judge(readLines(files), readReplies(out), { scenario: scenarioOf(name), dataDir, ...more })

/**
 * Sends lines to any server, unjudged.
 * @returns CPU microseconds of its process for each
 */
export async function sendLines(
  lines: readonly Line[],
  to: { listeners: Listeners; name: ScenarioName; folder: string; pid: number; connections: number },
): Promise<number> {
  const { listeners, name, folder, connections, pid } = to
  const [file, out] = [join(folder, 'sent.ndjson'), join(folder, 'sent-replies.ndjson')]
  writeFileSync(file, lines.map((line) => JSON.stringify(line)).join('\n'))
  const target = targetOf(listeners, name)
  const job = { ...target, files: [file], connections, rate: undefined, out }
  const { sent, counted, micros } = await send(job, { server: pid })
  const refused = readReplies(out).filter(({ status }) => status !== 200).length
  if (refused > 0) throw new Error(`${refused} of ${sent} requests to ${target.url} were refused.`)
  return (micros['server'] ?? Number.NaN) / counted.answers
}

/** Milliseconds, of right replies. */
function quantiles({ micros, yesUnanswered }: Judgement): Run['latencyMs'] {
  const all = Float64Array.from(micros.all).sort()
  const never = new Array<number>(yesUnanswered).fill(Number.POSITIVE_INFINITY)
  const yes = Float64Array.from([...micros.yes, ...never]).sort()
  const at = (list: Float64Array, share: number) =>
    (list[Math.min(list.length - 1, Math.floor(list.length * share))] ?? 0) / 1000
  const refused = Float64Array.from(micros.refused).sort()
  return {
    ...{ p50: at(all, 0.5), p90: at(all, 0.9), p99: at(all, 0.99), max: at(all, 1) },
    ...{ yesP99: at(yes, 0.99), refusedP50: at(refused, 0.5), refusedP99: at(refused, 0.99) },
  }
}
