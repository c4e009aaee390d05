// RFC 6962 section 2.1: the two hashes of the tree, kept apart by their first byte.
import { sha256 } from '../base/bytes.ts'

const leafPrefix = Buffer.of(0)
const nodePrefix = Buffer.of(1)

/** Hash of one entry's data: SHA-256(0x00 || data). */
export const leafHash = (data: Uint8Array) => sha256(leafPrefix, data)
/** Hash of an inner node: SHA-256(0x01 || left || right). */
export const nodeHash = (left: Uint8Array, right: Uint8Array) => sha256(nodePrefix, left, right)
