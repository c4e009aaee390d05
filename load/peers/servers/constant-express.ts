// A constant answer to a verify request on Express, as it comes.
import { createServer } from 'node:https'
import express from 'express'
import { announce, listen, readConfig, type Told, tlsOf } from './serving.ts'

const told = readConfig<Told & { answer: string }>()
const answer = JSON.parse(told.answer) as unknown

const app = express()
app.use(express.json())
app.post('/v1/verify', (_, response) => {
  response.json(answer)
})
announce(await listen(createServer(tlsOf(told), app)))
