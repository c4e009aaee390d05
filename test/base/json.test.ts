// JSON as we accept it: duplicates are found at any depth and under any spelling; strings may hold anything.
import fc from 'fast-check'
import t from 'tap'
import { parseJson } from '../../src/base/json.ts'

t.test('two members of one name are refused, however they are written', (t) => {
  for (const text of [
    '{"a":1,"a":2}',
    '{"a":1,"\\u0061":2}',
    '[{"x":{"b":1,"b":1}}]',
    '{"":0,"":0}',
    '{"a":{"b":1},"a":2}',
    '{"a":":","a":""}',
    '{":":1,":":2}',
    '[[{"a":{"x:y":"z:z"}}],{"b":[":"],"b":[":"]}]',
    '{"__proto__":1,"__proto__":2}',
  ]) {
    t.equal(parseJson(text), undefined, text)
  }
  t.end()
})

t.test('the same name in different objects, and braces in strings, are fine', (t) => {
  for (const text of [
    '{"a":{"a":1}}',
    '[{"a":1},{"a":1}]',
    '{"a":"{\\"b\\":1,\\"b\\":2}"}',
    '{"a":"\\\\","b":"}"}',
    '["a","a"]',
    '{"a:b":"c:d","e":[":",{"f":"::"}]}',
    '{"__proto__":{"a":1}}',
    '0',
  ]) {
    t.same(parseJson(text)?.value, JSON.parse(text), text)
  }
  t.ok(parseJson(`${'['.repeat(4000)}${']'.repeat(4000)}`), 'as deep as a body can be')
  for (const text of ['', '{', '{"a":1,}', 'undefined', "{'a':1}"]) t.equal(parseJson(text), undefined, text)
  t.end()
})

/** JSON text whose objects name members twice now and then; names and strings are full of colons, and have no escapes. */
const textOf = fc.letrec<{ text: string }>((tie) => {
  const word = fc.constantFrom('"a"', '":"', '"a:b"', '""', '"::"', '"__proto__"')
  const member = fc.tuple(word, tie('text')).map(([name, text]) => `${name}:${text}`)
  return {
    text: fc.oneof(
      { maxDepth: 4 },
      fc.oneof(word, fc.constantFrom('0', 'null', 'true')),
      fc.array(member, { maxLength: 3 }).map((members) => `{${members.join(', ')}}`),
      fc.array(tie('text'), { maxLength: 3 }).map((texts) => `[${texts.join()}]`),
    ),
  }
}).text

t.test('texts without escapes are judged as the same beside one, which are read token by token', (t) => {
  let refused = 0
  fc.assert(
    fc.property(textOf, (text) => {
      const [counted, read] = [parseJson(`[${text},"A"]`), parseJson(`[${text},"\\u0041"]`)]
      if (!counted) refused++
      return (counted === undefined) === (read === undefined)
    }),
    { numRuns: 5000, seed: 20261129 },
  )
  t.ok(refused > 50 && refused < 4950, `${refused} of 5000 were refused`)
  t.end()
})
