// A small witness (c2sp.org/tlog-witness) on loopback: cosigns what only adds to what it has cosigned, for the
// one ledger it knows. Its knobs are for tests of who asks it.
import type { KeyObject } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { openCheckpoint } from '../../src/ledger/checkpoint.ts'
import { cosignNote, keyType, parseNote, parseVkey, printNote, printVkey } from '../../src/ledger/note.ts'
import { checkConsistency, type Tree } from '../../src/ledger/proof.ts'
import { emptyRoot } from '../../src/ledger/range.ts'
import { keyOf } from './receipts.ts'

export type Answer = { status: number; type?: string; text: string }
export type WitnessOptions = { name: string; key?: KeyObject; ledger: string; nowS?: () => number }

const sizeType = 'text/x.tlog.size'

export class TestWitness {
  readonly vkey: string
  readonly asked: string[] = []
  /** What it has cosigned last; a test may set it to what the witness has seen elsewhere. */
  seen: Tree = { size: 0, root: emptyRoot }
  /** How it behaves: `lying` signs with another key, `junk` answers 200 with no signature in it. */
  mode: 'well' | 'down' | 'hung' | 'lying' | 'junk' = 'well'
  delayMs = 0
  readonly #name: string
  readonly #key: KeyObject
  readonly #log: NonNullable<ReturnType<typeof parseVkey>>
  readonly #nowS: () => number
  #server = createServer()

  constructor({ name, key = keyOf(name), ledger, nowS = () => 1_795_000_000 }: WitnessOptions) {
    const log = parseVkey(ledger)
    if (!log) throw new Error('no vkey of a ledger')
    this.#log = log
    this.#name = name
    this.#key = key
    this.#nowS = nowS
    this.vkey = printVkey(name, key, keyType.cosignature)
  }

  /** Listens; resolves with its URL. */
  async start(): Promise<string> {
    this.#server = createServer(async (request, response) => {
      const body = await textOf(request)
      this.asked.push(body)
      if (this.mode === 'hung') return
      if (this.mode === 'down') return void request.socket.destroy()
      await new Promise((resolve) => setTimeout(resolve, this.delayMs))
      const isCall = request.method === 'POST' && request.url === '/prefix/add-checkpoint'
      const { status, type = 'text/plain', text } = isCall ? this.answer(body) : { status: 404, text: '' }
      response.writeHead(status, { 'content-type': type }).end(text)
    })
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/prefix`
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  /** The answer to one body, in the order of the specification. */
  answer(body: string): Answer {
    const parsed = /^old (0|[1-9]\d*)\n((?:[A-Za-z0-9+/=]+\n)*)\n([\s\S]+)$/.exec(body)
    const note = parsed && parseNote(parsed[3] as string)
    if (!parsed || !note) return { status: 400, text: '' }
    if (note.text.split('\n', 1)[0] !== this.#log.name) return { status: 404, text: '' }
    const checkpoint = openCheckpoint(printNote(note), this.#log)
    if (!checkpoint) return { status: 403, text: '' }
    const old = Number(parsed[1])
    if (old > checkpoint.size) return { status: 400, text: '' }
    if (old !== this.seen.size) return { status: 409, type: sizeType, text: `${this.seen.size}\n` }
    const lines = (parsed[2] as string).split('\n').slice(0, -1)
    const proof = lines.map((line) => Buffer.from(line, 'base64'))
    if (old === checkpoint.size && !checkpoint.root.equals(this.seen.root)) {
      return { status: 409, type: sizeType, text: `${this.seen.size}\n` }
    }
    if (!checkConsistency(this.seen, checkpoint, proof)) return { status: 422, text: '' }
    this.seen = { size: checkpoint.size, root: checkpoint.root }
    return { status: 200, text: this.#cosign(note.text) }
  }

  #cosign(text: string): string {
    if (this.mode === 'junk') return 'signed, the witness\n'
    const key = this.mode === 'lying' ? keyOf('liar') : this.#key
    const { name, bytes } = cosignNote(text, { name: this.#name, key }, this.#nowS())
    // A liar gives its own signature the id of the key that it has not.
    const id = cosignNote(text, { name: this.#name, key: this.#key }, 0).bytes.subarray(0, 4)
    return `\u2014 ${name} ${Buffer.concat([id, bytes.subarray(4)]).toString('base64')}\n`
  }
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}
