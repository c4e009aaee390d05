// `vouchsafe directory sign`: the operator's offline act that lets readers trust this gateway's keys.
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { describeDirectory } from '../../plugins/directory.ts'
import { createTokenHolders } from '../../plugins/token-holders.ts'
import { printVkey } from '../base/vkey.ts'
import { signDirectory } from '../channel/directory.ts'
import { loadKeks } from '../keys/kek.ts'
import { Keyring } from '../keys/keyring.ts'
import type { CommandContext } from './context.ts'

const help = `vouchsafe directory sign: signs the directory of recipient and token keys for 7 days

  vouchsafe directory sign --key certs/dev/directory.key

Writes VOUCHSAFE_DATA/directory.jwt, which a gateway in production mode serves and reads again each minute.
The ledger's public key is read from VOUCHSAFE_CERTS/ledger.pub.`

export async function runDirectory(args: string[], io: CommandContext): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { help: { type: 'boolean' }, key: { type: 'string' } },
  })
  if (values.help || positionals[0] !== 'sign' || !values.key) {
    io.out(help)
    return values.help ? 0 : 64
  }
  const { config, clock } = io
  const keyring = await Keyring.open({
    file: join(io.dataDir, 'keyring.db'),
    keks: () => loadKeks(io.certsDir),
    clock,
  })
  try {
    const tokens = createTokenHolders({ keyring, issuer: config.VOUCHSAFE_ORIGIN, clock })
    const ledgerKey = createPublicKey(readFileSync(join(io.certsDir, 'ledger.pub')))
    const ledgerVkey = printVkey(new URL(config.VOUCHSAFE_ORIGIN).hostname, ledgerKey)
    const content = describeDirectory({
      keyring,
      tokens,
      ledgerVkey,
      minFirmware: config.MIN_FIRMWARE,
      clock,
    })
    const jws = signDirectory(content, createPrivateKey(readFileSync(values.key)))
    const file = join(io.dataDir, 'directory.jwt')
    writeFileSync(`${file}.new`, `${jws}\n`)
    renameSync(`${file}.new`, file)
    const { recipients, tokenKeys, exp } = content
    io.out(`${file}: ${recipients.length} recipient keys, ${tokenKeys.length} token keys, seq ${content.seq}`)
    io.out(`It ends ${new Date(exp * 1000).toISOString()}; sign it again two days before.`)
    return 0
  } finally {
    await keyring.close()
  }
}
