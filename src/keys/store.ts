// The keyring's file: its tables, and how a key lies in them, sealed under a version of the KEK (PROTOCOL
// section 3). It knows neither lives nor uses of keys.
import { createPrivateKey, createSecretKey, type KeyObject } from 'node:crypto'
import { chmodSync, closeSync, openSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'
import { u32 } from '../base/bytes.ts'
import { open, seal } from '../base/seal.ts'
import { openSqlite } from '../base/sqlite.ts'
import { bind } from '../base/t2l.ts'
import { type KindName, kindOf } from './kinds.ts'

export type KeyringTables = {
  keyring: { kind: string; epoch: number; kek_version: number; sealed: Uint8Array; made_at: number }
  holders: { node: string; kek_version: number; seen_at: number }
}
export type KeyRow = Pick<KeyringTables['keyring'], 'kind' | 'epoch' | 'kek_version' | 'sealed'>

/** Key-encryption keys by version. */
export type KekSet = ReadonlyMap<number, KeyObject>

const tables = `
  create table if not exists keyring (
    kind text not null, epoch integer not null, kek_version integer not null, sealed blob not null,
    made_at bigint not null, constraint keyring_pk primary key (kind, epoch));
  create table if not exists holders (
    node text primary key not null, kek_version integer not null, seen_at bigint not null);
  create table if not exists destruction (
    id text primary key not null, state text not null, kek_version integer not null, targets text not null,
    seq bigint, begun_at bigint not null, done_at bigint);`

/**
 * Opens (and makes) the file; nobody else may read it, and a deleted key leaves no bytes in free pages.
 * @param lockMsMax how long a call may wait, its thread with it, for another process's write
 */
export function openKeyringFile(file: string, lockMsMax?: number): DatabaseSync {
  if (file !== ':memory:') {
    closeSync(openSync(file, 'a', 0o600)) // SQLite gives its log the mode that the file has when it is made.
    chmodSync(file, 0o600)
  }
  const db = openSqlite(file, lockMsMax)
  db.exec(`pragma secure_delete = on; ${tables}`)
  return db
}

const aadOf = ({ kind, epoch, kek_version }: Omit<KeyRow, 'sealed'>) =>
  bind('keyring', kind, u32(epoch), u32(kek_version))

/** @throws Error if that version of the KEK is not in the set */
export function kekOf(keks: KekSet, version: number): KeyObject {
  const kek = keks.get(version)
  if (kek) return kek
  throw new Error(
    `The keyring needs KEK version ${version}, which is not loaded. ` +
      'If this is a backup from before a "keys destroy", nothing can open it any more.',
  )
}

/** Seals a key's bytes for its row. */
export const sealKey = (keks: KekSet, row: Omit<KeyRow, 'sealed'>, plain: Uint8Array) =>
  seal(kekOf(keks, row.kek_version), plain, aadOf(row))

/** A key's bytes; the caller wipes them. @throws Error if the KEK is not there or is not the right one */
export function openKey(keks: KekSet, row: KeyRow): Buffer {
  const plain = open(kekOf(keks, row.kek_version), row.sealed, aadOf(row))
  if (plain) return plain
  throw new Error(`Key ${row.kind}/${row.epoch} does not open under KEK version ${row.kek_version}.`)
}

/** As `openKey`, as an object whose bytes stay with OpenSSL. */
export function importKey(keks: KekSet, row: KeyRow): KeyObject {
  const plain = openKey(keks, row)
  try {
    return kindOf(row.kind as KindName).type === 'secret'
      ? createSecretKey(plain)
      : createPrivateKey({ key: plain, format: 'der', type: 'pkcs8' })
  } finally {
    plain.fill(0)
  }
}

/** All rows, or those of one key. */
export function readKeys(db: DatabaseSync, of?: { kind: KindName; epoch: number }): KeyRow[] {
  const columns = 'select kind, epoch, kek_version, sealed from keyring'
  const rows = of
    ? db.prepare(`${columns} where kind = ? and epoch = ?`).all(of.kind, of.epoch)
    : db.prepare(`${columns} order by kind, epoch`).all()
  return rows.map((row) => ({
    kind: String(row['kind']),
    epoch: Number(row['epoch']),
    kek_version: Number(row['kek_version']),
    sealed: row['sealed'] as Uint8Array,
  }))
}
