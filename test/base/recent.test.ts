// A bounded map: what was used longest ago goes first.
import fc from 'fast-check'
import t from 'tap'
import { RecentMap } from '../../src/base/recent.ts'

const filled = (entriesMax: number, ...keys: string[]) => {
  const map = new RecentMap<string>(entriesMax)
  for (const key of keys) map.set(key, key.toUpperCase())
  return map
}

t.test('what was set longest ago goes first', (t) => {
  const map = filled(3, 'a', 'b', 'c', 'd')
  t.equal(map.get('a'), undefined)
  for (const key of ['b', 'c', 'd']) t.equal(map.get(key), key.toUpperCase())
  t.equal(map.size, 3)
  t.end()
})

t.test('reading counts as use', (t) => {
  const map = filled(3, 'a', 'b', 'c')
  map.get('a')
  map.set('d', 'D')
  t.equal(map.get('a'), 'A')
  t.equal(map.get('b'), undefined)
  t.end()
})

t.test('asking for what is not held uses nothing and keeps nothing', (t) => {
  const map = filled(3, 'a', 'b', 'c')
  for (const key of ['x', '', '__proto__', 'constructor', 'size']) t.equal(map.get(key), undefined, key)
  t.equal(map.size, 3)
  map.set('d', 'D')
  t.equal(map.get('a'), undefined, 'still the oldest')
  t.end()
})

t.test('setting a key again replaces, counts as use and pushes nobody out', (t) => {
  const map = filled(3, 'a', 'b', 'c')
  map.set('a', 'second')
  t.equal(map.size, 3)
  map.set('d', 'D')
  t.equal(map.get('a'), 'second')
  t.equal(map.get('b'), undefined)
  t.end()
})

t.test('values that are false but not undefined are held', (t) => {
  const map = new RecentMap<unknown>(9)
  for (const [i, value] of [0, '', false, null, Number.NaN].entries()) {
    map.set(String(i), value)
    t.same(map.get(String(i)), value)
  }
  t.equal(map.size, 5)
  t.end()
})

t.test('what was deleted is gone and makes room; the others stay', (t) => {
  const map = filled(3, 'a', 'b', 'c')
  map.delete('b')
  map.delete('never there')
  t.same([map.size, map.get('b')], [2, undefined])
  map.set('d', 'D')
  t.same([map.size, map.get('a')], [3, 'A'])
  t.end()
})

t.test('a cleared map is empty and bounded as before', (t) => {
  const map = filled(2, 'a', 'b')
  map.clear()
  t.same([map.size, map.get('a'), map.get('b')], [0, undefined, undefined])
  for (const key of ['c', 'd', 'e']) map.set(key, key)
  t.same([map.size, map.get('c')], [2, undefined])
  t.end()
})

t.test('with room for one only the last is held', (t) => {
  const map = filled(1, 'a', 'b')
  t.same([map.size, map.get('a'), map.get('b')], [1, undefined, 'B'])
  t.end()
})

/** The slow, obvious twin: a list from least to most recently used. */
class Twin {
  entries: [string, number][] = []
  readonly entriesMax: number
  constructor(entriesMax: number) {
    this.entriesMax = entriesMax
  }
  get(key: string) {
    const found = this.entries.find(([known]) => known === key)
    if (found) this.entries = [...this.entries.filter((entry) => entry !== found), found]
    return found?.[1]
  }
  set(key: string, value: number) {
    this.delete(key)
    this.entries = [...this.entries, [key, value] as [string, number]].slice(-this.entriesMax)
  }
  delete(key: string) {
    this.entries = this.entries.filter(([known]) => known !== key)
  }
  clear() {
    this.entries = []
  }
}

t.test('it does what a list would, step by step', (t) => {
  const step = fc.tuple(
    fc.constantFrom('get', 'get', 'set', 'set', 'set', 'delete', 'clear'),
    fc.nat(7),
    fc.nat(),
  )
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), fc.array(step, { maxLength: 80 }), (entriesMax, steps) => {
      const [map, twin] = [new RecentMap<number>(entriesMax), new Twin(entriesMax)]
      return steps.every(([what, number, value]) => {
        const key = `k${number}`
        if (what === 'get' && map.get(key) !== twin.get(key)) return false
        for (const each of [map, twin]) {
          if (what === 'set') each.set(key, value)
          if (what === 'delete') each.delete(key)
          if (what === 'clear') each.clear()
        }
        return map.size === twin.entries.length && map.size <= entriesMax
      })
    }),
  )
  t.end()
})
