// node:sqlite behind Kysely.
import type { DatabaseSync, SQLInputValue } from 'node:sqlite'
import { Kysely, SqliteDialect } from 'kysely'

/** A Kysely over an open handle. Never use the handle while a Kysely transaction awaits on it. */
export function kyselyOver<Tables>(database: DatabaseSync): Kysely<Tables> {
  // Kysely asks for a driver shaped like better-sqlite3; node:sqlite needs only this much.
  const driver = {
    close: () => database.close(),
    prepare(text: string) {
      const statement = database.prepare(text)
      const bind = (values: readonly unknown[]) => values as SQLInputValue[]
      return {
        reader: statement.columns().length > 0,
        all: (values: readonly unknown[]) => statement.all(...bind(values)),
        run: (values: readonly unknown[]) => statement.run(...bind(values)),
        iterate: (values: readonly unknown[]) => statement.iterate(...bind(values)),
      }
    },
  }
  return new Kysely<Tables>({ dialect: new SqliteDialect({ database: driver as never }) })
}
