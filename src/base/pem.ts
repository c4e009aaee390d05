// PEM armour around DER (RFC 7468): one block in a file.
import { readFileSync } from 'node:fs'

const derSequence = 0x30
const block = /-----BEGIN ([A-Z0-9 ]+)-----\s([A-Za-z0-9+/=\s]+?)-----END \1-----/

/** DER of the first block of a PEM file. Throws an Error that names the file. */
export function readPem(file: string): Buffer {
  const body = block.exec(readFileSync(file, 'utf8'))?.[2]
  if (!body) throw new Error(`${file} holds no PEM block.`)
  return Buffer.from(body, 'base64')
}

/** One block, in lines of 64 characters. */
export function printPem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}

/** DER as it is, or of the first block of PEM text. Throws an Error if the bytes begin like neither. */
export function derOf(bytes: Buffer): Buffer {
  if (bytes[0] === derSequence) return bytes
  const body = block.exec(bytes.toString('latin1'))?.[2]
  if (!body) throw new Error('It is neither DER nor PEM.')
  return Buffer.from(body, 'base64')
}
