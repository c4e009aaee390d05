// PEM armour around DER (RFC 7468): one block in a file.
import { readFileSync } from 'node:fs'

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
