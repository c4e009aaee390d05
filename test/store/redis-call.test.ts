// Commands as we print them, against those that ioredis prints of the same parts.
import fc from 'fast-check'
import { Command } from 'ioredis'
import t from 'tap'
import { type Part, printCall } from '../../src/store/redis-call.ts'

function printByIoredis(parts: readonly Part[]): string {
  const [name, ...rest] = parts.map((part) => (typeof part === 'string' ? part : Buffer.from(part)))
  const printed = new Command(String(name), rest, { replyEncoding: null }).toWritable(process.stdout) as
    | Buffer
    | string
  return Buffer.from(printed as string, 'latin1').toString('latin1')
}

t.test('a command is what ioredis makes of its parts, whatever they are', async (t) => {
  t.equal(
    printCall(['set', 'k', Buffer.from([0, 0xff]), 'PX', '5']).toString('latin1'),
    '*5\r\n$3\r\nset\r\n$1\r\nk\r\n$2\r\n\0\u00ff\r\n$2\r\nPX\r\n$1\r\n5\r\n',
  )
  const part = fc.oneof(fc.string({ unit: 'binary-ascii' }), fc.uint8Array({ maxLength: 40 }))
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), (rest) => {
      const parts = ['mget', ...rest]
      return printCall(parts).toString('latin1') === printByIoredis(parts)
    }),
    { numRuns: 2000 },
  )
})
