// Decorates `sockets`: who has used which open connection, so that a connection ends with the admission of its
// owner (PROTOCOL sections 0.5, 12). Owns one subscription to the registry's changes, ended on close.
import type { Socket } from 'node:net'
import fp from 'fastify-plugin'
import type { Change } from '../src/registry/changes.ts'
import type { RegistryReader } from '../src/registry/reader.ts'

type Kind = 'carrier' | 'device'

declare module 'fastify' {
  interface FastifyInstance {
    sockets: {
      /** Called once the owner is known for certain: a token or certificate was checked. */
      belongs(socket: Socket, kind: Kind, id: string): void
      /** How many connections of an owner are open. */
      count(kind: Kind, id: string): number
    }
  }
}

type Standing = { status: string }
export type RegistryNews = Pick<RegistryReader, 'onChange'> & {
  carrier(id: string): Promise<Standing | undefined>
  device(id: Buffer): Promise<Standing | undefined>
}

export default fp<{ registry: RegistryNews }>(
  async (app, { registry }) => {
    const socketsOf = new Map<string, Set<Socket>>()
    const ownersOf = new WeakMap<Socket, Set<string>>()

    function forget(socket: Socket): void {
      for (const owner of ownersOf.get(socket) ?? []) {
        const sockets = socketsOf.get(owner)
        sockets?.delete(socket)
        if (sockets?.size === 0) socketsOf.delete(owner)
      }
    }

    function belongs(socket: Socket, kind: Kind, id: string): void {
      const owner = `${kind}/${id}`
      let owners = ownersOf.get(socket)
      if (owners?.has(owner) || socket.destroyed) return
      if (!owners) {
        owners = new Set()
        ownersOf.set(socket, owners)
        socket.once('close', () => forget(socket))
      }
      owners.add(owner)
      const sockets = socketsOf.get(owner) ?? new Set()
      socketsOf.set(owner, sockets.add(socket))
    }

    async function cutOff({ kind, subject }: Change): Promise<void> {
      const sockets = socketsOf.get(`${kind}/${subject}`)
      if (!sockets || (kind !== 'carrier' && kind !== 'device')) return
      const record =
        kind === 'carrier'
          ? await registry.carrier(subject)
          : await registry.device(Buffer.from(subject, 'base64url'))
      if (record?.status !== 'active') for (const socket of sockets) socket.destroy()
    }

    const stop = registry.onChange((change) => {
      // A registry that cannot be read soon refuses every request of these sockets: nothing is let through.
      cutOff(change).catch((err) => app.log.error({ err }, 'sockets not closed'))
    })
    app.decorate('sockets', {
      belongs,
      count: (kind: Kind, id: string) => socketsOf.get(`${kind}/${id}`)?.size ?? 0,
    })
    app.addHook('onClose', async () => stop())
  },
  { name: 'sockets', dependencies: ['errors'] },
)
