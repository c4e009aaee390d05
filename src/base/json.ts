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
  // Without escapes each member of the text is one colon, and each that was parsed is counted once.
  const isEach = text.includes('\\') ? !hasDuplicateMember(text) : countColons(text) === countMembers(value)
  return isEach ? { value } : undefined
}

function countColons(text: string): number {
  let count = 0
  for (let at = text.indexOf(':'); at >= 0; at = text.indexOf(':', at + 1)) count++
  return count
}

/** Members of all objects in a parsed value, and the colons within its strings and names. */
function countMembers(value: unknown): number {
  let count = 0
  const left = [value] // No recursion: a body may be thousands of arrays deep.
  while (left.length > 0) {
    const one = left.pop()
    if (typeof one === 'string') count += countColons(one)
    else if (Array.isArray(one)) for (const element of one) left.push(element)
    else if (typeof one === 'object' && one !== null) {
      for (const [name, member] of Object.entries(one)) {
        count += 1 + countColons(name)
        left.push(member)
      }
    }
  }
  return count
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
