// The little HTTP that the gateway speaks as a client beside the bureau: a text out, a short text back, within a
// deadline of our own. It knows nobody in particular.
import { Agent } from 'undici'
import { within } from './deadline.ts'

/** What came back, whatever it was; `type` is the content type as sent, empty if none was. */
export type TextReply = { status: number; type: string; text: string }
export type PostText = (url: string, body: string) => Promise<TextReply>

/**
 * Runs `work` for at most `ms`. The timer is our own: undici's fire late, and an abort does not free a request
 * that waits for a connection.
 * @throws Error after `ms`; what `work` then still does is aborted and its end not heard
 */
export function withDeadline<T>(ms: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController()
  const late = () => {
    const error = new Error(`no answer within ${ms} ms`)
    abort.abort(error)
    return error
  }
  return within(ms, work(abort.signal), { late })
}

/** Posts over connections that are kept; answers beyond `bytesMax` and all redirections are errors. */
export function openPoster({ deadlineMs, bytesMax }: { deadlineMs: number; bytesMax: number }): {
  postText: PostText
  close(): Promise<void>
} {
  const agent = new Agent({ connect: { timeout: deadlineMs }, maxResponseSize: bytesMax })
  const postText: PostText = (url, body) =>
    withDeadline(deadlineMs, async (signal) => {
      const { origin, pathname } = new URL(url)
      const headers = { 'content-type': 'text/plain; charset=utf-8' }
      const response = await agent.request({
        ...{ origin, path: pathname, method: 'POST', headers, body, signal },
      })
      const type = response.headers['content-type']
      const text = await response.body.text()
      return { status: response.statusCode, type: typeof type === 'string' ? type : '', text }
    })
  return { postText, close: () => agent.destroy() }
}

/** What a GET brought back; no bytes unless the status is 200. */
export type BytesReply = { status: number; bytes: Buffer }
export type FetchBytes = (url: string) => Promise<BytesReply>

/**
 * Gets bytes by http: or https:, of a server that may be slow or hostile: no redirection is followed, what is longer
 * than `bytesMax` or not whole within `deadlineMs` is an Error, and no connection is kept for the next time.
 */
export function openGetter({ deadlineMs, bytesMax }: { deadlineMs: number; bytesMax: number }): {
  getBytes: FetchBytes
  close(): Promise<void>
} {
  const agent = new Agent({ connect: { timeout: deadlineMs }, maxResponseSize: bytesMax, pipelining: 0 })
  const getBytes: FetchBytes = (url) =>
    withDeadline(deadlineMs, async (signal) => {
      const { origin, pathname, search } = new URL(url)
      const { statusCode, body } = await agent.request({
        ...{ origin, path: pathname + search, method: 'GET', signal },
      })
      if (statusCode === 200) return { status: statusCode, bytes: Buffer.from(await body.bytes()) }
      body.on('error', () => {}) // Thrown away unread: how it ends is nobody's business.
      body.destroy()
      return { status: statusCode, bytes: Buffer.alloc(0) }
    })
  return { getBytes, close: () => agent.destroy() }
}
