// The ledger as anyone may read it: checkpoint and hash tiles on the device listener, at the paths of
// c2sp.org/tlog-tiles. Entry bundles say more than hashes do: they are on the operator listener, for auditors.
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { GatewayError } from '../base/errors.ts'
import type { LedgerReading } from '../ledger/reading.ts'
import { hasBundle, hasTile, parseBundlePath, parseTilePath } from '../ledger/tile.ts'
import { problems } from './schemas.ts'

export type LedgerRoutes = { ledger: LedgerReading }

const tilePrefix = '/ledger/tile/'
const bundlePrefix = `${tilePrefix}entries/`
/** A tile never changes: a year, the longest that caches are known to honour (RFC 9111 section 1.2.2). */
const forEver = 'max-age=31536000, immutable'
const octets = 'application/octet-stream'

const bytesResponse = (description: string) => ({
  description,
  content: { [octets]: { schema: Type.String({ format: 'binary' }) } },
})

/** The path below `tile/` as it was sent: the router has decoded its own copy, and tiles have only one name. */
function pathBelow(request: FastifyRequest): string {
  const path = (request.raw.url ?? '').split('?', 1)[0] as string
  if (!path.startsWith(tilePrefix)) throw new GatewayError('malformed', 'tile_path')
  return path.slice(tilePrefix.length)
}

const notShown = () => new GatewayError('not_found', 'not_published')

function giveBytes(reply: FastifyReply, scope: 'public' | 'private', bytes: Buffer): FastifyReply {
  return reply.type(octets).header('cache-control', `${scope}, ${forEver}`).send(bytes)
}

/** Checkpoint and hash tiles, for anyone. */
export const ledgerRoutes: FastifyPluginAsync<LedgerRoutes> = async (app, { ledger }) => {
  app.get(
    '/ledger/checkpoint',
    {
      schema: {
        summary: 'The newest published checkpoint (c2sp.org/tlog-checkpoint)',
        response: {
          200: { content: { 'text/plain': { schema: Type.String() } } },
          ...problems(404, 500, 503),
        },
      },
    },
    async (_, reply) => {
      const { size, note } = ledger.checkpoint()
      if (size === 0) throw new GatewayError('not_found', 'no_checkpoint')
      return reply.type('text/plain; charset=utf-8').header('cache-control', 'public, max-age=1').send(note)
    },
  )

  app.get(
    `${tilePrefix}*`,
    {
      schema: {
        summary: 'Hashes of a tile, <L>/<N> or <L>/<N>.p/<W> (c2sp.org/tlog-tiles)',
        response: { 200: bytesResponse('Up to 256 hashes'), ...problems(400, 404, 500, 503) },
      },
    },
    async (request, reply) => {
      const path = pathBelow(request)
      if (parseBundlePath(path)) throw notShown()
      const tile = parseTilePath(path)
      if (!tile) throw new GatewayError('malformed', 'tile_path')
      if (!hasTile(tile, ledger.checkpoint().size)) throw notShown()
      return giveBytes(reply, 'public', ledger.readTile(tile.level, tile.n, tile.width))
    },
  )
}

/** Entry bundles, for auditors. */
export const bundleRoutes: FastifyPluginAsync<LedgerRoutes> = async (app, { ledger }) => {
  app.get(
    `${bundlePrefix}*`,
    {
      schema: {
        summary: 'Entries of a bundle, <N> or <N>.p/<W> (c2sp.org/tlog-tiles)',
        security: [{ operator: ['admin', 'auditor'] }],
        response: { 200: bytesResponse('Up to 256 entries'), ...problems(400, 401, 403, 404, 500, 503) },
      },
    },
    async (request, reply) => {
      const bundle = parseBundlePath(pathBelow(request))
      if (!bundle) throw new GatewayError('malformed', 'bundle_path')
      if (!hasBundle(bundle, ledger.checkpoint().size)) throw notShown()
      return giveBytes(reply, 'private', ledger.readBundle(bundle.n, bundle.width))
    },
  )
}
