// A simulated card read through the simulated SAM service: the reading holds the SAM's transaction and no identity
// (docs/SAM.md).
import { request } from 'node:https'
import { parseBase64url, printBase64url } from '../base/bytes.ts'
import { limits } from '../base/limits.ts'
import { printReading, samSuite } from '../card/reading.ts'
import { printRecord } from '../card/record.ts'
import type { ChipContext } from '../card/verdict.ts'
import { bindingOf } from '../sam/protocol.ts'
import type { Device } from '../sdk/device.ts'
import type { VerifyBody } from '../sdk/reader.ts'
import type { CardHolder } from './cards.ts'

/** Origin of the service, and a reader's certificate there. */
export type SamPlace = { url: string; tls: { ca: Buffer; cert: Buffer; key: Buffer } }

const none = Buffer.alloc(0)
const deadlineMs = 5000

/** The 2048 bytes of a reading that names a SAM's transaction. */
export const printSamReading = (transaction: Buffer): Buffer =>
  printReading({
    ...{ suite: samSuite, sod: transaction },
    ...{ dg1: none, dg14: none, dg15: none, chipSignature: none, flags: 0 },
  })

/** Has the SAM read a holder's card for this request; @returns the reading. */
export async function readThroughSam(
  holder: CardHolder,
  context: ChipContext,
  place: SamPlace,
): Promise<Buffer> {
  const { serial, ...record } = holder
  const reply = await post(place, '/v1/reads', {
    record: printBase64url(printRecord(record)),
    serial: printBase64url(serial),
    binding: printBase64url(bindingOf(context)),
  })
  const transaction = parseBase64url(String(reply['transaction']))
  if (!transaction) throw new Error('The SAM service’s reply has no transaction in base64url.')
  return printSamReading(transaction)
}

/**
 * The next request of a device, its card read by `read`, which takes its time: the reader learns the context first and
 * seals the reading once it is there. `context` is what the reading was made for.
 */
export async function prepareSlowly(
  device: Device,
  parcel: Buffer,
  read: (context: ChipContext) => Promise<Buffer>,
): Promise<{ body: VerifyBody; context: ChipContext }> {
  let context: ChipContext | undefined
  const { body: empty } = await device.prepare(parcel, (given) => {
    context = given
    return Buffer.alloc(limits.readingBytes) // Never sent.
  })
  const known = context as unknown as ChipContext
  const reading = await read(known)
  const { body } = await device.again(empty, parcel, () => reading)
  return { body, context: known }
}

function post(place: SamPlace, path: string, body: unknown): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' }
    const url = new URL(path, place.url)
    const signal = AbortSignal.timeout(deadlineMs)
    const options = { method: 'POST', headers, agent: false, signal, ...place.tls }
    const sent = request(url, options, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk) => chunks.push(chunk))
      response.on('end', () => {
        const { statusCode } = response
        if (statusCode === 200) resolve(JSON.parse(Buffer.concat(chunks).toString()))
        else reject(new Error(`The SAM service answered POST ${path} with ${statusCode}.`))
      })
    })
    sent.on('error', reject)
    sent.end(JSON.stringify(body))
  })
}
