// Why a card is refused: numbers of PROTOCOL section 7, which never leave in clear.

export const refusal = {
  sodParse: 1,
  sodProfile: 2,
  signerUntrusted: 3,
  signerTime: 4,
  signerRevoked: 5,
  signerUsage: 6,
  attributes: 7,
  messageDigest: 8,
  sodSignature: 9,
  dg1: 10,
  dg14: 11,
  dg15: 12,
  chipKey: 13,
  chipSignature: 14,
  text: 20,
  number: 21,
  birth: 22,
  sex: 23,
  notYetValid: 24,
  expired: 25,
} as const
