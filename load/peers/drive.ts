// Sends requests that were made beforehand, each connection a share of its own, judges every answer, and reads what
// the serving process used of the processors meanwhile.
import { setTimeout as sleep } from 'node:timers/promises'
import autocannon from 'autocannon'
import { cpuMicros } from '../cpu.ts'

export type Request = {
  path: string
  headers: Record<string, string>
  body: string
  /** Whether this is the body of a right answer. */
  isRight(body: string): boolean
}

export type Target = {
  url: string
  pid: number
  tls?: { ca: Buffer; cert: Buffer; key: Buffer }
  /** Of the Redis that it uses. */
  redisPid?: number
}

/**
 * Of one run; CPU in µs for each request, `redisMicros` that of Redis. `unanswered` could not be decided in time or got
 * no answer at all; `fault` is the first of these or of the wrong ones, cut short.
 */
export type Rate = {
  perSecond: number
  cpuMicros: number
  redisMicros: number
  sent: number
  wrong: number
  unanswered: number
  fault?: string | undefined
}

/** How the gateway and its twin say that they cannot decide now; a no is an answer. */
const isUndecided = (text: string) =>
  text.startsWith('{"type":"urn:vouchsafe:error:') && text.includes('"status":503')

/** What is written after an answer belongs to it: entries, guards, checkpoints. */
const settleMs = 300
const faultCharsMax = 200

/**
 * Counting begins once every connection has had its first answer, so that no handshake is in the figures.
 * @param requests a multiple of `connections`
 */
export async function drive(
  target: Target,
  requests: readonly Request[],
  connections: number,
): Promise<Rate> {
  const left = [...requests]
  const share = Math.floor(requests.length / connections)
  const amount = share * connections
  const cpu = () => [cpuMicros(target.pid), target.redisPid ? cpuMicros(target.redisPid) : 0] as const
  const tally = { answered: 0, begun: 0, before: 0, wrong: 0, undecided: 0, firstAt: 0, lastAt: 0, fault: '' }
  let before = cpu()
  await autocannon({
    url: target.url,
    connections,
    amount,
    timeout: 30,
    ...(target.tls ? { tlsOptions: target.tls } : {}),
    setupClient(client) {
      const own = left.splice(0, share)
      let at = 0
      client.setRequests(own.map(({ path, headers, body }) => ({ method: 'POST', path, headers, body })))
      client.on('body', (body: Buffer) => {
        tally.answered++
        tally.lastAt = performance.now()
        const text = body.toString()
        const isRight = own[at++]?.isRight(text) === true
        if (!isRight) tally.fault ||= text.slice(0, faultCharsMax)
        if (!isRight && isUndecided(text)) tally.undecided++
        else if (!isRight) tally.wrong++
        if (at !== 1 || ++tally.begun < connections) return
        before = cpu()
        tally.before = tally.answered
        tally.firstAt = tally.lastAt
      })
    },
  })
  await sleep(settleMs)
  const after = cpu()
  const counted = Math.max(1, tally.answered - tally.before)
  return {
    perSecond: counted / ((tally.lastAt - tally.firstAt) / 1000),
    cpuMicros: (after[0] - before[0]) / counted,
    redisMicros: (after[1] - before[1]) / counted,
    sent: amount,
    wrong: tally.wrong,
    unanswered: amount - tally.answered + tally.undecided,
    fault: tally.fault || (amount > tally.answered ? 'nothing' : undefined),
  }
}
