// A constant answer to a verify request on bare node:https: what the body, JSON and TLS alone cost.
import { createServer } from 'node:https'
import { announce, listen, readConfig, type Told, tlsOf } from './serving.ts'

const told = readConfig<Told & { answer: string }>()
const { answer } = told
const headers = {
  'content-type': 'application/json; charset=utf-8',
  'content-length': Buffer.byteLength(answer),
}

const server = createServer(tlsOf(told), (request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    JSON.parse(Buffer.concat(chunks).toString())
    response.writeHead(200, headers).end(answer)
  })
})
announce(await listen(server))
