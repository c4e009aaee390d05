// A carrier's back end against a gateway of this process: the SDK's client, raw calls, and what it needs to ask.
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import type { Test } from 'tap'
import { Agent, request } from 'undici'
import { Carrier, type DeviceToRegister } from '../../src/sdk/carrier.ts'
import { proveDeviceKey } from '../../src/sdk/reader.ts'
import { parcelOf, type TestGateway } from './gateway.ts'

export const pemOf = (g: TestGateway, carrier: string) => ({
  ca: g.file('gateway-ca.crt'),
  cert: g.file(`carrier-${carrier}.crt`),
  key: g.file(`carrier-${carrier}.key`),
})

export const carrierUrl = (g: TestGateway) => `https://localhost:${g.ports.carrier}`

export function openCarrier(t: Test, g: TestGateway, name = 'swift-crane', pem = pemOf(g, name)): Carrier {
  const carrier = new Carrier({ url: carrierUrl(g), ...pem })
  t.teardown(() => carrier.close())
  return carrier
}

export type RawReply = { status: number; headers: Record<string, unknown>; body: Record<string, unknown> }
export type RawCall = { method: string; path: string; headers?: Record<string, string>; body?: unknown }

/** Calls as they are, with nothing added but a content type for a body. */
export function openRaw(t: Test, g: TestGateway, name = 'swift-crane', pem = pemOf(g, name)) {
  const dispatcher = new Agent({ connect: pem })
  t.teardown(() => dispatcher.destroy())
  return async ({ method, path, headers = {}, body }: RawCall): Promise<RawReply> => {
    const json = body === undefined ? {} : { 'content-type': 'application/json' }
    const text = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }
    const sent = { method: method as 'GET', dispatcher, headers: { ...json, ...headers }, ...text }
    const reply = await request(`${carrierUrl(g)}${path}`, sent)
    const given = (await reply.body.text()) || '{}'
    return { status: reply.statusCode, headers: reply.headers, body: JSON.parse(given) }
  }
}

/** Calls of an operator; `as` is name and secret, by default the first operator. */
export function openOperator(g: TestGateway) {
  const first = g.first.operator ?? { name: '', secret: '' }
  return async (
    { method, path, body }: RawCall,
    as: { name: string; secret: string } = first,
  ): Promise<RawReply> => {
    const authorization = `Basic ${Buffer.from(`${as.name}:${as.secret}`).toString('base64')}`
    const json = body === undefined ? {} : { 'content-type': 'application/json' }
    const text = body === undefined ? {} : { body: JSON.stringify(body) }
    const url = `http://127.0.0.1:${g.ports.operator}${path}`
    const reply = await request(url, {
      method: method as 'GET',
      headers: { authorization, ...json },
      ...text,
    })
    return { status: reply.statusCode, headers: reply.headers, body: JSON.parse(await reply.body.text()) }
  }
}

export const newDeviceKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey

/** A reader that can be registered for a carrier. */
export function readerFor(
  carrier: string,
  given: { serial: string; outlet?: string; key?: KeyObject },
): DeviceToRegister & { key: KeyObject } {
  const { serial, outlet = 'harbour', key = newDeviceKey() } = given
  return { serial, outlet, model: 'K7', key, ...proveDeviceKey(key, carrier, serial) }
}

/** A token from the gateway's demo device, with the parcel that it was made for. */
export async function tokenFor(g: TestGateway, card: string) {
  const device = await g.openDevice()
  const parcel = parcelOf()
  const given = await device.verify(parcel, (context) => g.cardNamed(card).readChip(context))
  const claims = JSON.parse(Buffer.from(given.token.split('.')[1] ?? '', 'base64url').toString()) as {
    jti: string
    device: string
    index: number
  }
  return { ...given, parcel, claims }
}

/** Waits until `told` is true; fails the test after 5 s. */
export async function until(
  told: () => boolean | Promise<boolean>,
  what: string,
  msMax = 5000,
): Promise<void> {
  const end = performance.now() + msMax
  while (!(await told())) {
    if (performance.now() > end) throw new Error(`not within ${msMax} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

export async function collect<T>(many: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const one of many) all.push(one)
  return all
}
