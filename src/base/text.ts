// Numbers and bytes in lines of text, each in exactly one form: what the ledger's public formats are made of.

const decimalPattern = /^(0|[1-9][0-9]{0,15})$/
const controlPattern = /[^\P{Cc}\u007f-\u009f]/u

/** Parses a decimal without leading zeros; undefined unless it is a safe integer that is not negative. */
export function parseDecimal(text: string): number | undefined {
  const value = decimalPattern.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(value) ? value : undefined
}

/** Decodes padded base64 (RFC 4648 section 4) of `bytes` bytes or any number; undefined unless canonical. */
export function parseBase64(text: string, bytes?: number): Buffer | undefined {
  const decoded = Buffer.from(text, 'base64')
  if (bytes !== undefined && decoded.length !== bytes) return undefined
  return decoded.toString('base64') === text ? decoded : undefined
}

/** Whether text has a UTF-8 form and no control character (below U+0020) but newlines. */
export const isLines = (text: string) =>
  text.isWellFormed() && !controlPattern.test(text.replaceAll('\n', ''))
