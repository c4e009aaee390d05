// Turns the knobs of the mocked bureau over mTLS, as a test or the demo does.
import { request } from 'node:https'

export type BureauKnobs = ReturnType<typeof createKnobs>

/** @param options.url origin of the mock; `tls` a client certificate of the bureau CA */
export function createKnobs(options: { url: string; tls: { ca: Buffer; cert: Buffer; key: Buffer } }) {
  function call(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
    return new Promise((resolve, reject) => {
      const headers = body === undefined ? {} : { 'content-type': 'application/json' }
      const url = new URL(path, options.url)
      const sent = request(url, { method, headers, agent: false, ...options.tls }, (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk) => chunks.push(chunk))
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          if (response.statusCode === 200) resolve(JSON.parse(text) as Record<string, unknown>)
          else reject(new Error(`The bureau mock answered ${method} ${path} with ${response.statusCode}.`))
        })
      })
      sent.on('error', reject)
      sent.end(body === undefined ? undefined : JSON.stringify(body))
    })
  }
  return {
    setFaults: (faults: object) => call('POST', '/faults', faults),
    clearFaults: () => call('DELETE', '/faults'),
    setStatus: (number: string, status: string) => call('POST', '/people/status', { number, status }),
    seen: (number?: string) => call('GET', number ? `/seen?number=${number}` : '/seen'),
  }
}
