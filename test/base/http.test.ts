// The gateway as a small HTTP client: bounded in time and size, against servers that are neither.
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { openGetter, openPoster, withDeadline } from '../../src/base/http.ts'

async function serve(t: Test, listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
function open(t: Test, deadlineMs = 1000) {
  const poster = openPoster({ deadlineMs, bytesMax: 1000 })
  t.teardown(() => poster.close())
  return poster.postText
}

t.test('a text goes out and what comes back comes back, over connections that are kept', async (t) => {
  const ports = new Set<number | undefined>()
  const url = await serve(t, async (request, response) => {
    ports.add(request.socket.remotePort)
    const body = (await request.toArray()).join('')
    response.writeHead(409, { 'content-type': 'text/x.tlog.size' })
    response.end(`${request.method} ${request.url} ${request.headers['content-type']} ${body}`)
  })
  const postText = open(t)
  for (let i = 0; i < 6; i++) {
    t.same(await postText(`${url}/a/b?c=d`, 'péché'), {
      status: 409,
      type: 'text/x.tlog.size',
      text: 'POST /a/b text/plain; charset=utf-8 péché',
    })
  }
  t.ok(ports.size < 5, 'connections are kept')
})

t.test('a redirection is an answer like any other', async (t) => {
  const url = await serve(t, (_, response) => response.writeHead(307, { location: '/elsewhere' }).end())
  t.same(await open(t)(url, ''), { status: 307, type: '', text: '' })
})

t.test('the deadline holds whatever the other side does', async (t) => {
  const silent = await serve(t, () => {})
  const slow = await serve(t, (_, response) => {
    response.writeHead(200).write('a')
  })
  for (const url of [silent, slow, 'http://192.0.2.1:9']) {
    const begun = performance.now()
    await t.rejects(open(t, 150)(url, ''))
    t.ok(performance.now() - begun < 300, url)
  }
  await t.rejects(
    withDeadline(20, () => new Promise(() => {})),
    /no answer within 20 ms/,
  )
})

t.test('an answer that is too long, cut or not there is an error', async (t) => {
  const long = await serve(t, (_, response) => response.end('x'.repeat(1001)))
  const endless = await serve(t, (_, response) => {
    const more = setInterval(() => response.write('x'.repeat(100)), 1)
    response.on('close', () => clearInterval(more))
  })
  const cut = await serve(t, (request, response) => {
    response.writeHead(200, { 'content-length': '10' }).write('x')
    setTimeout(() => request.socket.destroy(), 20)
  })
  for (const url of [long, endless, cut, 'http://127.0.0.1:1', 'no url'])
    await t.rejects(open(t)(url, ''), url)
  const fits = await serve(t, (_, response) => response.end('x'.repeat(1000)))
  t.match(await open(t)(fits, ''), { status: 200 })
})

t.test('bytes are got whole and of status 200, or not at all', async (t) => {
  const getter = openGetter({ deadlineMs: 150, bytesMax: 1000 })
  t.teardown(() => getter.close())
  const got: string[] = []
  const good = await serve(t, (request, response) => {
    got.push(`${request.method} ${request.url}`)
    response.end(Buffer.of(0x30, 0xff, 0))
  })
  t.same(await getter.getBytes(`${good}/a/l.crl?x=1`), { status: 200, bytes: Buffer.of(0x30, 0xff, 0) })
  t.same(got, ['GET /a/l.crl?x=1'])
  const moved = await serve(t, (_, response) => response.writeHead(302, { location: good }).end('x'))
  t.same(await getter.getBytes(`${moved}/`), { status: 302, bytes: Buffer.alloc(0) })
  const failing = await serve(t, (_, response) => response.writeHead(500).write('never ends'))
  t.same(await getter.getBytes(`${failing}/`), { status: 500, bytes: Buffer.alloc(0) })
  t.equal(got.length, 1, 'no redirection was followed')
  await t.rejects(getter.getBytes('ftp://127.0.0.1/l.crl'))
})

t.test('a server that hangs, trickles, or never stops costs no more than the deadline', async (t) => {
  const getter = openGetter({ deadlineMs: 150, bytesMax: 1000 })
  t.teardown(() => getter.close())
  const hung = await serve(t, () => {})
  const trickle =
    (bytes: number, everyMs: number): RequestListener =>
    (_, response) => {
      const more = setInterval(() => response.write('x'.repeat(bytes)), everyMs)
      response.on('close', () => clearInterval(more))
    }
  const slow = await serve(t, trickle(1, 20))
  const endless = await serve(t, trickle(500, 1))
  const declared = await serve(t, (_, response) =>
    response.writeHead(200, { 'content-length': 1e9 }).write('x'),
  )
  for (const url of [hung, slow, endless, declared, 'http://192.0.2.1:9']) {
    const begun = performance.now()
    await t.rejects(getter.getBytes(`${url}/`))
    t.ok(performance.now() - begun < 400, url)
  }
})
