// The signed directory: which keys a reader may seal to and which ledger to trust (PROTOCOL section 3).
import { type KeyObject, sign, verify } from 'node:crypto'
import { parseBase64url, printBase64url } from '../base/bytes.ts'

export type DirectoryContent = {
  seq: number
  iat: number
  exp: number
  recipients: { id: string; suite: 1; spki: string; notAfter: number }[]
  tokenKeys: { kid: string; spki: string }[]
  ledger: string
  minFirmware: number
}

const header = printBase64url(Buffer.from(JSON.stringify({ alg: 'EdDSA', typ: 'directory+jwt' })))

/** Compact JWS over the content; times in s. */
export function signDirectory(content: DirectoryContent, key: KeyObject): string {
  const signed = `${header}.${printBase64url(Buffer.from(JSON.stringify(content)))}`
  return `${signed}.${printBase64url(sign(null, Buffer.from(signed), key))}`
}

/**
 * Opens a directory for a reader that pins the directory key.
 * @returns undefined if the signature, the type, the time or the sequence is not to be accepted
 */
export function openDirectory(
  jws: string,
  options: { key: KeyObject; nowS: number; lastSeq: number },
): DirectoryContent | undefined {
  const [head, body, signature, ...rest] = jws.split('.')
  if (head !== header || !body || !signature || rest.length > 0) return undefined
  const signatureBytes = parseBase64url(signature, 64)
  if (!signatureBytes || !verify(null, Buffer.from(`${head}.${body}`), options.key, signatureBytes)) {
    return undefined
  }
  const content = JSON.parse(Buffer.from(body, 'base64url').toString()) as DirectoryContent
  const inTime = content.exp > options.nowS && content.exp - content.iat <= 7 * 86_400
  return inTime && content.seq >= options.lastSeq ? content : undefined
}
