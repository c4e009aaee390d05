// `npm run load`: drives the verify endpoint with autocannon over TLS, distinct pre-sealed requests, and counts
// wrong answers. Closed loop: it measures capacity, not latency under a given rate.
import { parseArgs } from 'node:util'
import autocannon from 'autocannon'
import { type Prepared, prepare } from './handhelds.ts'
import { dealt, openStage } from './stage.ts'

const help = `npm run load: distinct sealed requests against a gateway of its own, over TLS

  npm run load                                  2,000 requests on 32 connections
  npm run load -- --requests 10000 --connections 64

One request in ten is a card that must get a no. The last line is one JSON object:
{"perSecond", "p99Ms", "wrong", "unanswered"}. A no is held for 150 ms, so p99Ms is at least that.
Exit code 1 if an answer is wrong or missing.`

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    requests: { type: 'string', default: '2000' },
    connections: { type: 'string', default: '32' },
  },
})
if (values.help) {
  console.log(help)
  process.exit(0)
}
const connections = Number(values.connections)
const perConnection = Math.ceil(Number(values.requests) / connections)
const total = perConnection * connections

const stage = await openStage({ devices: 8, hands: 20 })
console.log(`Sealing ${total} requests ...`)
const prepared: Prepared[] = []
for (let i = 0; i < total; i++) {
  const pile = i % 10 === 9 ? stage.bad : stage.good
  prepared.push(await prepare(dealt(stage.devices, i), dealt(pile, i)))
}

const tally = { wrong: 0, answered: 0 }
console.log(`Sending on ${connections} connections ...`)
const result = await autocannon({
  url: stage.gateway.device,
  connections,
  amount: total,
  setupClient(client) {
    // Each connection sends a slice of its own, so that no challenge is used twice.
    const share = prepared.splice(0, perConnection)
    let at = 0
    client.setRequests(
      share.map(({ body, token }) => ({
        method: 'POST' as const,
        path: '/v1/verify',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
        body,
      })),
    )
    client.on('body', (body: Buffer) => {
      const { answer } = JSON.parse(body.toString()) as { answer?: string }
      if (answer === 'yes' || answer === 'no') tally.answered++
      if (answer !== undefined && answer !== share[at]?.expected) tally.wrong++
      at++
    })
  },
})
await stage.close()
const unanswered = total - tally.answered
console.log(`${result.duration} s, ${result['2xx']} answers, ${result.non2xx} refused`)
const perSecond = Math.round(tally.answered / result.duration)
console.log(JSON.stringify({ perSecond, p99Ms: result.latency.p99, wrong: tally.wrong, unanswered }))
process.exit(tally.wrong === 0 && unanswered === 0 ? 0 : 1)
