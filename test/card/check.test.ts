// Rows 7-12 of the order of checks, in both suites.
import t from 'tap'
import { worlds } from '../helpers/cards.ts'
import { testCardChecks } from './contract.ts'

for (const world of worlds) t.test(world.signing.suite.name, async (t) => testCardChecks(t, world))
