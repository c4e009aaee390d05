// RFC 6962 section 2.1: the two hashes of the tree, kept apart by their first byte, made over a scratch of our own.
import { sha256 } from '../base/bytes.ts'

const hashBytes = 32
const node = Buffer.alloc(1 + 2 * hashBytes)
node[0] = 1
let scratch = Buffer.alloc(1024) // Its first byte is the leaf's prefix, 0.

/** Hash of one entry's data: SHA-256(0x00 || data). */
export function leafHash(data: Uint8Array): Buffer {
  if (data.length >= scratch.length) scratch = Buffer.alloc(data.length + 1)
  scratch.set(data, 1)
  return sha256(scratch.subarray(0, data.length + 1))
}

/** Hash of an inner node: SHA-256(0x01 || left || right), of two hashes. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  node.set(left, 1)
  node.set(right, 1 + hashBytes)
  return sha256(node)
}
