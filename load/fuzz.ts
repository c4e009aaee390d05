// `npm run fuzz`: readings, security objects, certificates and records, bent in their structure, against the checks.
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { fuzzCards } from './fuzz-cards.ts'

const help = `npm run fuzz: bent cards against the checks, which must refuse them by the closed list and nothing else

  npm run fuzz                                  200,000 cases, a few minutes
  npm run fuzz -- --cases 2000 --seed 42        the same cases again

A failure prints the smallest case that still fails. The last line is one JSON object: {"cases", "seed", "growthMb"};
growthMb is the memory in use at the end, less that at half time, after a full collection and with nothing remembered.
Exit code 1 for a failure, or above 2 MB.`

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    cases: { type: 'string', default: '200000' },
    seed: { type: 'string' },
  },
})
if (values.help) {
  console.log(help)
  process.exit(0)
}
const growthMbMax = 2
const cases = Number(values.cases)
const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed)
console.log(`seed ${seed}: npm run fuzz -- --cases ${cases} --seed ${seed}`)

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Memory in use after a full collection, MB. */
function usedMb(): number {
  collect()
  const { heapUsed, external } = process.memoryUsage()
  return (heapUsed + external) / 2 ** 20
}

let [halfMb, endMb] = [0, 0]
const seen = fuzzCards({
  cases,
  seed,
  onCase(done, forget) {
    if (done === Math.floor(cases / 2) || done === cases) {
      forget() // What is remembered is bounded; here it is looked for what is not.
      if (done === cases) endMb = usedMb()
      else halfMb = usedMb()
    }
    if (done % 10_000 === 0) console.log(`${done} of ${cases}`)
  },
})
const growthMb = Math.round((endMb - halfMb) * 10) / 10
for (const [came, count] of Object.entries(seen).sort()) console.log(`${came.padEnd(6)} ${count}`)
console.log(JSON.stringify({ cases, seed, growthMb }))
process.exit(growthMb <= growthMbMax ? 0 : 1)
