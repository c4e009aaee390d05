// A constant answer to a verify request on Fastify, as it comes.
import Fastify from 'fastify'
import { announce, readConfig, type Told, tlsOf } from './serving.ts'

const told = readConfig<Told & { answer: string }>()
const answer = JSON.parse(told.answer) as unknown

const app = Fastify({ https: tlsOf(told) })
app.post('/v1/verify', async () => answer)
const address = await app.listen({ port: 0, host: '127.0.0.1' })
announce(address.replace('127.0.0.1', 'localhost'))
