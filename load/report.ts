// What a load run says: a table in the terminal, JSON, and one HTML page that needs nothing else.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { machine } from './machine.ts'
import type { Run } from './measure.ts'
import { scenarioOf } from './scenarios.ts'

/** The last line of a load run. */
export type Summary = {
  perSecond: number
  p99Ms: number
  wrong: number
  unanswered: number
  missingEntries: number
}

const rounded = (value: number, digits = 1) => Number(value.toFixed(digits))

/** Receipts that are not true count as wrong: they are answers about answers. */
export const summaryOf = (run: Run): Summary => ({
  perSecond: Math.round(run.perSecond),
  p99Ms: rounded(run.latencyMs.p99),
  wrong: run.judgement.wrong + run.receipts.untrue,
  unanswered: run.judgement.unanswered,
  missingEntries: run.judgement.missingEntries,
})

const unansweredMax = 0.01

/** Whether what a run says is worth something: it was answered, and unless it means to be refused nearly all of it. */
export function isSound({ scenario, judgement: { right, refused, unanswered, wrong } }: Run): boolean {
  const { mayRefuse } = scenarioOf(scenario)
  return (
    right + refused > 0 &&
    (mayRefuse !== undefined || unanswered <= unansweredMax * (right + unanswered + wrong))
  )
}

/** The table of one run, as lines. */
export function printRun(run: Run): string[] {
  const { latencyMs: ms, cpu, judgement, receipts } = run
  const loop =
    run.rate === undefined ? `closed loop, ${run.connections} connections` : `open loop, ${run.rate}/s`
  const lines = [
    '',
    `${run.scenario}: ${scenarioOf(run.scenario).about}`,
    `  ${loop}; ${run.sent} requests in ${rounded(run.tookMs / 1000)} s`,
    `  right a second    ${Math.round(run.perSecond)}`,
    `  latency, ms       p50 ${rounded(ms.p50)}   p90 ${rounded(ms.p90)}   p99 ${rounded(ms.p99)}   max ${rounded(ms.max)}   p99 of yes ${rounded(ms.yesP99)}`,
    ...(judgement.refused === 0
      ? []
      : [`  of refusals, ms   p50 ${rounded(ms.refusedP50)}   p99 ${rounded(ms.refusedP99)}`]),
    `  CPU a request, µs ${Object.entries(cpu)
      .map(([name, micros]) => `${name} ${Math.round(micros)}`)
      .join('   ')}`,
    ...(run.questions === undefined ? [] : [`  bureau was asked  ${run.questions} questions`]),
    `  gateway resident  ${run.rssMb.map((mb) => `${Math.round(mb)} MB`).join(', ')}`,
    `  right ${judgement.right}, wrong ${judgement.wrong}, refused ${judgement.refused}, unanswered ${judgement.unanswered}, not in the ledger once ${judgement.missingEntries}, receipts true ${receipts.checked - receipts.untrue} of ${receipts.checked}`,
  ]
  for (const [what, count] of Object.entries(judgement.counts).sort()) {
    lines.push(`    ${what.padEnd(40)} ${String(count).padStart(8)}`)
  }
  return [...lines, ...judgement.examples.map((example) => `  ${example}`)]
}

/** Shares of requests answered within a time: from the median out to one in 100,000. */
export function distribution(micros: readonly number[]): { share: number; ms: number }[] {
  const sorted = Float64Array.from(micros).sort()
  const shares = [
    0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999, 0.99999,
  ]
  return shares
    .filter((share) => sorted.length * (1 - share) >= 1 || share <= 0.5)
    .map((share) => ({
      share,
      ms: rounded((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) / 1000, 2),
    }))
}

/** What is kept of a run: no single latency, and no token or body. */
export function reportOf(run: Run) {
  const { judgement, files: _, ...rest } = run
  const { micros, ...judged } = judgement
  return {
    ...rest,
    judgement: judged,
    distribution: distribution(micros.all),
    machine: machine(),
  }
}
export type Report = ReturnType<typeof reportOf>

/** Writes NAME.json and NAME.html. */
export function writeReport(run: Run, folder: string): { json: string; html: string } {
  mkdirSync(folder, { recursive: true })
  const report = reportOf(run)
  const [json, html] = [join(folder, `${run.scenario}.json`), join(folder, `${run.scenario}.html`)]
  writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`)
  writeFileSync(html, printPage(report))
  return { json, html }
}

function plotter(name: string): string {
  const dist = dirname(createRequire(import.meta.url).resolve('uplot'))
  return readFileSync(join(dist, name), 'utf8')
}

const escaped = (text: string) => text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)

/** One page with all it needs in it. */
export function printPage(report: Report): string {
  const { judgement, cpu, latencyMs: ms } = report
  const rows = Object.entries({
    'right a second': Math.round(report.perSecond),
    'p50, p90, p99, max (ms)': [ms.p50, ms.p90, ms.p99, ms.max].map((value) => rounded(value)).join(', '),
    'p99 of yes (ms)': rounded(ms.yesP99),
    right: judgement.right,
    wrong: judgement.wrong,
    'refused, as the scenario means it': judgement.refused,
    unanswered: judgement.unanswered,
    'not in the ledger once': judgement.missingEntries,
    'receipts true': `${report.receipts.checked - report.receipts.untrue} of ${report.receipts.checked}`,
    ...Object.fromEntries(
      Object.entries(cpu).map(([name, micros]) => [`CPU of ${name}, µs a request`, Math.round(micros)]),
    ),
    machine: `Node ${report.machine.node}, ${report.machine.cores} cores, ${report.machine.model}`,
  })
  const cells = rows.map(
    ([name, value]) => `<tr><th>${escaped(name)}</th><td>${escaped(String(value))}</td></tr>`,
  )
  // Data in a script: a "<" would end it early.
  const data = JSON.stringify({ distribution: report.distribution, samples: report.samples }).replaceAll(
    '<',
    '\\u003c',
  )
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Vouchsafe load: ${escaped(report.scenario)}</title>
<meta name="viewport" content="width=device-width">
<style>${plotter('uPlot.min.css')}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d2733}
table{border-collapse:collapse;margin:1rem 0}th{text-align:left;font-weight:500;padding:.15rem 2rem .15rem 0}
td{font-variant-numeric:tabular-nums}h2{margin:2rem 0 .5rem;font-size:1.1rem}</style>
<h1>${escaped(report.scenario)}</h1>
<p>${escaped(scenarioOf(report.scenario).about)}. ${report.rate === undefined ? `Closed loop, ${report.connections} connections` : `Open loop, ${report.rate} requests a second`}; ${report.sent} requests.</p>
<table>${cells.join('')}</table>
<h2>Latency, ms, by share of requests answered within it</h2><div id="latency"></div>
<h2>CPU of each process, cores over time</h2><div id="cpu"></div>
<script>${plotter('uPlot.iife.min.js')}</script>
<script>
const {distribution, samples} = ${data}
const width = Math.min(900, document.body.clientWidth - 32), height = 320
const colours = ['#0b6e99', '#c4542b', '#4d8a3d', '#7a5ba6', '#b8860b', '#d1478f', '#555f6b']
new uPlot({width, height, scales: {x: {time: false, distr: 3}, y: {distr: 3}},
  series: [{label: 'share', value: (_, n) => n === null ? '' : Number((100 - 100 / n).toFixed(4)) + ' %'},
    {label: 'ms', stroke: colours[0], width: 2, points: {show: true}}],
  axes: [{values: (_, all) => all.map(n => n === null ? '' : Number((100 - 100 / n).toFixed(4)) + ' %')}, {}]},
  [distribution.map(d => 1 / (1 - d.share)), distribution.map(d => Math.max(d.ms, 0.01))], document.getElementById('latency'))
const names = Object.keys(samples[0] ?? {}).filter(name => name !== 'atMs')
new uPlot({width, height, scales: {x: {time: false}},
  series: [{label: 's'}, ...names.map((label, i) => ({label, stroke: colours[i % colours.length], width: 2}))]},
  [samples.map(s => s.atMs / 1000), ...names.map(name => samples.map(s => s[name]))], document.getElementById('cpu'))
</script></html>
`
}
