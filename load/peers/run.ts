// `npm run bench:peers`: the gateway beside what others would take or write, in one run.
import { parseArgs } from 'node:util'
import { isSound } from './figures.ts'
import { defaults, measurePeers, type PeerOptions } from './measure.ts'

export { measurePeers } from './measure.ts'

export const help = `npm run bench:peers: the gateway beside its peers, CPU of a request

  npm run bench:peers                          ${defaults.rounds} rounds, about three minutes on a quiet machine
  npm run bench:peers -- --rounds 1 --sm2 32   shorter

  --rounds N        after one that only warms up                                      (${defaults.rounds})
  --connections N   at once, kept open; a quarter of them for SM2 cards               (${defaults.connections})
  --p256 N          new P-256 cards in a round, each to the gateway and to the twin   (${defaults.p256})
  --sm2 N           new SM2 cards in a round, likewise                                (${defaults.sm2})
  --light N         requests of all that costs less than a card                       (${defaults.light})
  --warm N          requests for cards that return, before all, to each of the two    (${defaults.warm})

The peers and what is compared: load/peers/README.md. Their packages are installed in load/peers on first use. Needs
redis-server. The last line is one JSON object: {"twinP256", "twinSm2", "introspectVsOidcProvider",
"introspectVsOidcInMemory", "constantHttpsMicros", "constantFastifyMicros", "constantExpressMicros", "wrong", ...}:
medians of the rounds' ratios (theirs to ours) and of microseconds. Exit code 1 if an answer is wrong, the twin answers
otherwise than the gateway, or more than one request in a hundred was not answered.`

const options = {
  help: { type: 'boolean' },
  rounds: { type: 'string' },
  warm: { type: 'string' },
  connections: { type: 'string' },
  p256: { type: 'string' },
  sm2: { type: 'string' },
  light: { type: 'string' },
} as const

/**
 * What a command line asks for; undefined: help.
 * @throws Error that says which option is wrong
 */
export function readPlan(args: readonly string[]): Required<Omit<PeerOptions, 'progress'>> | undefined {
  const { values } = parseArgs({ args: [...args], options })
  if (values.help) return undefined
  const plan = { ...defaults }
  for (const name of Object.keys(defaults) as (keyof typeof defaults)[]) {
    const text = values[name]
    if (text === undefined) continue
    if (!/^[1-9]\d{0,5}$/.test(text)) throw new Error(`--${name} ${text} is no number from 1 to 999999.`)
    plan[name] = Number(text)
  }
  return plan
}

async function main(args: readonly string[]): Promise<number> {
  const plan = readPlan(args)
  if (!plan) {
    console.log(help)
    return 0
  }
  const progress = (line: string) => process.stderr.write(`${line}\n`)
  const { figures, table, differences } = await measurePeers({ ...plan, progress })
  for (const line of table) console.log(line)
  for (const difference of differences) console.log(`WRONG: ${difference}`)
  const wrong = figures.wrong + differences.length
  console.log(JSON.stringify({ ...figures, wrong }))
  return isSound({ ...figures, wrong }) ? 0 : 1
}

if (import.meta.main) {
  try {
    process.exitCode = await main(process.argv.slice(2))
  } catch (error) {
    console.error((error as Error).message)
    process.exitCode = 1
  }
}
