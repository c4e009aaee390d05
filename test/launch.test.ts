// The launcher: where it keeps what V8 compiled, whatever the environment says of it.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const launcher = fileURLToPath(new URL('../src/launch.js', import.meta.url))
const own = fileURLToPath(new URL('../node_modules/.cache/vouchsafe', import.meta.url))
const tell = `data:text/javascript,process.on('exit',()=>console.log('kept in '+process.env.NODE_COMPILE_CACHE))`

/** Which folder a command run by the launcher has, with this in its environment. */
function folderWith(environment: Record<string, string>): string {
  const args = ['--import', tell, launcher, '--help']
  const said = execFileSync(process.execPath, args, { env: environment, encoding: 'utf8' })
  return /^kept in (.*)$/m.exec(said)?.[1] ?? said
}

t.test('the cache is in the own folder, unless another one is named', (t) => {
  t.equal(folderWith({}), own)
  t.equal(folderWith({ NODE_COMPILE_CACHE: '' }), own, 'an empty name is none')
  const named = t.testdir()
  t.equal(folderWith({ NODE_COMPILE_CACHE: named }), named)
  t.end()
})
