// oidc-provider as a token service for back ends: client credentials and introspection for a client that signs
// assertions (private_key_jwt, ES256), and introspection for one known by its certificate (tls_client_auth), as carriers
// are at the gateway. Tokens are opaque: it introspects no others, and signs none then.
import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:https'
import type { TLSSocket } from 'node:tls'
import Provider, { type Configuration } from 'oidc-provider'
import { keepInMap, keepInRedis } from './oidc-adapters.ts'
import { announce, fileOf, listen, readConfig, type Told, tlsOf } from './serving.ts'

/**
 * `jwk`: public half of the key that the client signs its assertions with. `redis`: where it keeps tokens, and which
 * assertions were used; in a Map of its own without one.
 */
type Settings = Told & { client: string; jwk: object; carrier: string; redis?: string }

const settings = readConfig<Settings>()
const kept = settings.redis === undefined ? keepInMap() : keepInRedis(settings.redis)

type Seen = { pem: string; names: string }
/** The certificate of a connection does not change: taken from it once. */
const certificates = new WeakMap<object, Seen>()

function certificateOf(socket: TLSSocket): Seen | undefined {
  const known = certificates.get(socket)
  if (known) return known
  const certificate = socket.getPeerX509Certificate()
  if (!certificate) return undefined
  const seen = { pem: certificate.toString(), names: certificate.subjectAltName ?? '' }
  certificates.set(socket, seen)
  return seen
}

const signingKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })
/** For clients that sign nobody in: there is one key, and it is ES256. */
const withoutSignIn = {
  redirect_uris: [],
  response_types: [],
  id_token_signed_response_alg: 'ES256' as const,
}
const configuration: Configuration = {
  adapter: kept.adapter,
  clients: [
    {
      client_id: settings.client,
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      jwks: { keys: [settings.jwk] },
      grant_types: ['client_credentials'],
      ...withoutSignIn,
    },
    {
      client_id: settings.carrier,
      token_endpoint_auth_method: 'tls_client_auth',
      tls_client_auth_san_uri: `urn:vouchsafe:carrier:${settings.carrier}`,
      grant_types: [],
      ...withoutSignIn,
    },
  ],
  clientAuthMethods: ['private_key_jwt', 'tls_client_auth'],
  jwks: { keys: [{ ...signingKey, alg: 'ES256', use: 'sig' }] },
  ttl: { ClientCredentials: 43_200 },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      getCertificate: (ctx) => certificateOf(ctx.socket as TLSSocket)?.pem,
      certificateAuthorized: (ctx) => (ctx.socket as TLSSocket).authorized,
      certificateSubjectMatches: (ctx, _, expected) =>
        certificateOf(ctx.socket as TLSSocket)?.names === `URI:${expected}`,
    },
  },
}

const server = createServer({
  ...tlsOf(settings),
  ca: fileOf(settings, 'carrier-ca.crt'),
  requestCert: true,
  rejectUnauthorized: true,
})
const url = await listen(server)
server.on('request', new Provider(url, configuration).callback())
announce(url, kept.close)
