// Certificates on record: whose key may be certified, revoked for good, and listed by their end.
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { dayMs } from '../../src/base/clock.ts'
import { admitCarrier, expelCarrier } from '../../src/registry/carriers.ts'
import {
  assertCertifiable,
  listCertificates,
  recordCertificate,
  revokeCertificate,
  revokedSerials,
} from '../../src/registry/certificates.ts'
import { openRegistry } from '../../src/registry/schema.ts'

const by = { operator: 'lin.qiao', nowMs: Date.UTC(2026, 10, 24) }
const keyHash = Buffer.alloc(32, 1)
const of = (serial: string, over = {}) => {
  return { serial, carrier: 'swift-crane', keyHash, notAfterMs: by.nowMs + 90 * dayMs, ...by, ...over }
}

async function openTest(t: Test) {
  const db = await openRegistry(join(t.testdir(), 'registry.db'))
  t.teardown(() => db.destroy())
  for (const id of ['swift-crane', 'river-post'])
    await admitCarrier(db, { id, name: 'X', outlets: [], ...by })
  return db
}

t.test(
  'a key may be certified again for its carrier, never for another, and never once revoked',
  async (t) => {
    const db = await openTest(t)
    await recordCertificate(db, of('AA'))
    await recordCertificate(db, of('BB', { notAfterMs: by.nowMs + dayMs }))
    await t.rejects(recordCertificate(db, of('CC', { carrier: 'river-post' })), /make a new key/)
    await t.rejects(
      recordCertificate(db, of('CC', { carrier: 'nobody', keyHash: Buffer.alloc(32, 2) })),
      /is unknown/,
    )
    t.match(
      await listCertificates(db),
      [{ serial: 'BB' }, { serial: 'AA', status: 'active' }],
      'by their end',
    )
    const { carrier } = await revokeCertificate(db, { serial: 'BB', reason: 'key lost', ...by })
    t.equal(carrier, 'swift-crane')
    await t.rejects(revokeCertificate(db, { serial: 'BB', reason: 'key lost', ...by }), /revoked already/)
    await t.rejects(revokeCertificate(db, { serial: 'DD', reason: 'key lost', ...by }), /is unknown/)
    await t.rejects(revokeCertificate(db, { serial: 'AA', reason: 'a\nb', ...by }), /control character/)
    await t.rejects(assertCertifiable(db, { carrier: 'swift-crane', keyHash }), /make a new key/)
    t.same([...(await revokedSerials(db, by.nowMs))], ['BB'])
    t.same(
      [...(await revokedSerials(db, by.nowMs + dayMs))],
      [],
      'once it has ended by itself it is of no use',
    )
    await expelCarrier(db, { id: 'river-post', reason: 'x', ...by })
    await t.rejects(
      recordCertificate(db, of('EE', { carrier: 'river-post', keyHash: Buffer.alloc(32, 3) })),
      /expelled/,
    )
    t.same(await listCertificates(db, 'river-post'), [])
  },
)
