// `npm run bench:introspect`: introspection against a constant answer to the same request on the same listener, in
// one run.
import { parseArgs } from 'node:util'
import { measureIntrospection, median, type Rate, ratiosOf } from './introspection.ts'

const help = `npm run bench:introspect: introspection of tokens over mTLS, against a gateway of its own

  npm run bench:introspect                      five rounds of 8,000 requests of each kind
  npm run bench:introspect -- --rounds 9

Each round asks, with the same bytes but for the path, for a constant answer, for tokens that are each asked for once,
and for one token again and again, in turn. The last line is one JSON object: {"constantPerSecond", "uniqueRatio",
"repeatedRatio", "uniqueCpuRatio", "repeatedCpuRatio", "wrong"}. The ratios are medians of the rounds, of requests a
second and of the gateway's CPU time for each. Exit code 1 below 0.60 or 0.85, or if an answer is wrong.`

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    rounds: { type: 'string', default: '5' },
    requests: { type: 'string', default: '8000' },
    profile: { type: 'string' },
  },
})
if (values.help) {
  console.log(help)
  process.exit(0)
}
const uniqueRatioMin = 0.6
const repeatedRatioMin = 0.85
const print = ({ perSecond, cpuMicros }: Rate) => `${Math.round(perSecond)}/s (${Math.round(cpuMicros)} µs)`
const { rounds, wrong } = await measureIntrospection({
  rounds: Number(values.rounds),
  requests: Number(values.requests),
  flags: values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}`],
  onRound({ constant, unique, repeated }, n) {
    console.log(
      `round ${n}: constant ${print(constant)}, unique ${print(unique)}, one token ${print(repeated)}`,
    )
  },
})
const rounded = (value: number) => Math.round(value * 100) / 100
const [unique, repeated] = [ratiosOf(rounds, 'unique'), ratiosOf(rounds, 'repeated')]
const result = {
  constantPerSecond: Math.round(median(rounds.map(({ constant }) => constant.perSecond))),
  ...{ uniqueRatio: rounded(unique.perSecond), repeatedRatio: rounded(repeated.perSecond) },
  ...{ uniqueCpuRatio: rounded(unique.cpu), repeatedCpuRatio: rounded(repeated.cpu), wrong },
}
console.log(JSON.stringify(result))
const { uniqueRatio, repeatedRatio } = result
process.exit(wrong === 0 && uniqueRatio >= uniqueRatioMin && repeatedRatio >= repeatedRatioMin ? 0 : 1)
