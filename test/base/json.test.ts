// JSON as we accept it: duplicates are found at any depth and under any spelling; strings may hold anything.
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
