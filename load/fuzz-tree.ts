// A tree of DER that can be bent and printed again, right or wrong: what the fuzzer turns over. No check is made here.
import fc from 'fast-check'
import { Der, readDer } from '../src/base/der.ts'

type Length = 'minimal' | 'long' | 'indefinite'
export type Node = { tag: number; length: Length; body: Buffer; children: Node[] | undefined }

const constructedBit = 0x20

/** The tree of strict DER; a primitive is a leaf, whatever lies in it. */
export function treeOf(der: Buffer | Der): Node {
  const element = der instanceof Der ? der : readDer(der)
  const constructed = (element.tag & constructedBit) !== 0
  const children = constructed ? element.split().map(treeOf) : undefined
  return { tag: element.tag, length: 'minimal', body: Buffer.from(element.body), children }
}

export function printTree(node: Node): Buffer {
  const body = node.children ? Buffer.concat(node.children.map(printTree)) : node.body
  if (node.length === 'indefinite') {
    return Buffer.concat([Buffer.of(node.tag, 0x80), body, Buffer.alloc(2)])
  }
  const hex = body.length.toString(16)
  const size = Buffer.from(hex.length % 2 ? `0${hex}` : hex, 'hex')
  const isShort = body.length < 0x80 && node.length === 'minimal'
  const head = isShort ? Buffer.of(body.length) : Buffer.concat([Buffer.of(0x80 | size.length), size])
  return Buffer.concat([Buffer.of(node.tag), head, body])
}

const nodesOf = (node: Node): Node[] => [node, ...(node.children ?? []).flatMap(nodesOf)]

const kinds = [
  ...['delete', 'double', 'swap', 'tag', 'body', 'append', 'splice', 'wrap', 'flatten', 'flip'],
  ...['long', 'indefinite', 'empty', 'deep'],
] as const

/** One change: which node, what is done to it, and with what. */
export type Change = { at: number; kind: (typeof kinds)[number]; with: number; bytes: Uint8Array }

export const changes = fc.array(
  fc.record({
    at: fc.nat(1000),
    kind: fc.constantFrom(...kinds),
    with: fc.nat(1000),
    bytes: fc.uint8Array({ maxLength: 40 }),
  }),
  { minLength: 1, maxLength: 4 },
)

const clone = (node: Node): Node => ({ ...node, children: node.children?.map(clone) })
const pick = <T>(list: readonly T[], at: number): T => list[at % list.length] as T

/** Bends a tree in place; the root stays. */
export function bend(root: Node, change: Change): void {
  const parents = nodesOf(root).filter((node) => node.children?.length)
  const parent = pick(parents.length > 0 ? parents : [root], change.at)
  const list = parent.children ?? []
  const at = list.length > 0 ? change.with % list.length : 0
  const node = list[at] ?? root
  const bytes = Buffer.from(change.bytes)
  switch (change.kind) {
    case 'delete':
      list.splice(at, 1)
      break
    case 'double':
      if (list[at]) list.splice(at, 0, clone(node))
      break
    case 'swap':
      list.push(...list.splice(at, 1))
      break
    case 'splice':
      if (list[at]) list[at] = clone(pick(nodesOf(root), change.at + change.with))
      break
    default:
      bendNode(node, change.kind, { bytes, with: change.with })
  }
}

function bendNode(node: Node, kind: Change['kind'], given: { bytes: Buffer; with: number }): void {
  const inner = clone(node)
  const wrap = (times: number) => {
    let wrapped = inner
    for (let i = 0; i < times; i++) {
      wrapped = { tag: 0x30, length: 'minimal', body: Buffer.alloc(0), children: [wrapped] }
    }
    Object.assign(node, wrapped)
  }
  const setBody = (body: Buffer) => Object.assign(node, { body, children: undefined })
  if (kind === 'tag') node.tag = given.bytes[0] ?? given.with & 0xff
  else if (kind === 'body') setBody(given.bytes)
  else if (kind === 'empty') setBody(Buffer.alloc(0))
  else if (kind === 'append') setBody(Buffer.concat([bodyOf(node), given.bytes]))
  else if (kind === 'flatten') setBody(bodyOf(node))
  else if (kind === 'long' || kind === 'indefinite') node.length = kind
  else if (kind === 'wrap') wrap(1)
  else if (kind === 'deep') wrap(given.with % 40)
  else if (kind === 'flip') {
    const body = bodyOf(node)
    if (body.length > 0) {
      const at = given.with % body.length
      body.writeUInt8(body.readUInt8(at) ^ (1 << ((given.bytes[0] ?? 0) & 7)), at)
    }
    setBody(body)
  }
}

const bodyOf = (node: Node) =>
  Buffer.from(node.children ? Buffer.concat(node.children.map(printTree)) : node.body)
