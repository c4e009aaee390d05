// Every attack on a card through a whole gateway: what row 6 lets in gets a no that looks like any other.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import t from 'tap'
import { printReading } from '../../src/card/reading.ts'
import { p256Signing, sm2Signing } from '../../src/pki/signing.ts'
import { makeAttacks } from '../helpers/attacks.ts'
import { makeCardWorld } from '../helpers/cards.ts'
import { parcelOf, startTestGateway } from '../helpers/gateway.ts'

const issuers = [
  { name: 'card-issuer', signing: p256Signing },
  { name: 'card-issuer-sm2', signing: sm2Signing },
]

for (const { name, signing } of issuers) {
  t.test(
    `${signing.suite.name}: each attack gets no, and a good card of the same issuer gets yes`,
    async (t) => {
      const g = await startTestGateway(t)
      const device = await g.openDevice()
      const issuer = {
        certificateDer: new X509Certificate(g.file(`${name}.crt`)).raw,
        privateKey: createPrivateKey(g.file(`${name}.key`)),
      }
      const attacks = makeAttacks(makeCardWorld(signing, { issuer, nowMs: g.clock.now() }))
      let tooLarge = 0
      const asks = attacks.map(async (attack) => {
        const { body } = await device.prepare(parcelOf(), (context) => {
          try {
            return printReading(attack.read(context))
          } catch (error) {
            if (!(error instanceof RangeError)) throw error
            tooLarge++
            return Buffer.alloc(2048, 1) // Nothing that is a reading: 422.
          }
        })
        const reply = await device.post('/v1/verify', body)
        return { attack, reply }
      })
      for (const { attack, reply } of await Promise.all(asks)) {
        const got = String(reply.body['answer'] ?? reply.body['code'])
        t.ok(
          reply.status === 200 ? got === 'no' : reply.status === 422,
          `${attack.name}: ${reply.status} ${got}`,
        )
      }
      t.comment(`${attacks.length} attacks, ${tooLarge} of them too large to be sealed`)
      t.ok(attacks.length - tooLarge >= 60)
      const good = g.cardNamed(name.endsWith('-sm2') ? 'valid-sm2' : 'valid')
      t.equal((await device.verify(parcelOf(), (context) => good.readChip(context))).answer, 'yes')
      t.notOk(
        g.lines.some((line) => line.includes('"level":50')),
        'nothing was logged as an error',
      )
    },
  )
}
