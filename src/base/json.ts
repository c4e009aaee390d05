// JSON as we accept it: RFC 8259, and no object may name a member twice (PROTOCOL section 1).

const tokens = /"(?:[^"\\]|\\.)*"|[{}[\],:]/g

/** Parses JSON text; undefined if it is not JSON or an object has two members of one name. */
export function parseJson(text: string): { value: unknown } | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined // Not JSON; where and why is the sender's to find, not ours to echo.
  }
  return hasDuplicateMember(text) ? undefined : { value }
}

/** `text` must be valid JSON: then a string just before a colon is a member's name. */
function hasDuplicateMember(text: string): boolean {
  const open: (Set<string> | undefined)[] = []
  let lastString = ''
  for (const [token] of text.matchAll(tokens)) {
    if (token === '{') open.push(new Set())
    else if (token === '[') open.push(undefined)
    else if (token === '}' || token === ']') open.pop()
    else if (token === ':') {
      const name = lastString.includes('\\') ? (JSON.parse(lastString) as string) : lastString.slice(1, -1)
      const names = open.at(-1)
      if (names?.has(name)) return true
      names?.add(name)
    } else if (token !== ',') lastString = token
  }
  return false
}
