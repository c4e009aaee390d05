// Headers of every answer, the same for all: no answer is a page, and none is to be framed, sniffed or asked for in the
// clear (OWASP, REST Security Cheat Sheet).
import fp from 'fastify-plugin'

const headers = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
  'x-content-type-options': 'nosniff',
}

export default fp(
  async (app) => {
    app.addHook('onRequest', (_, reply, done) => {
      reply.headers(headers)
      done()
    })
  },
  { name: 'headers' },
)
