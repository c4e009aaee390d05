// The whole development PKI as data: what there is, who issues it, how long it lasts, who loads it.
// It makes nothing (generate.ts does) and certs/README.md is checked against it. PROTOCOL section 3.
import type { AltNames } from './tls-issuer.ts'

type Common = {
  /** Files are `<name>.key`, `<name>.crt` and so on, by kind. */
  name: string
  what: string
  loadedBy: string
}
export type TlsCa = Common & { kind: 'tls-ca'; commonName: string; lifeDays: number }
export type TlsLeaf = Common & {
  kind: 'tls-leaf'
  issuer: string
  commonName: string
  use: 'server' | 'client'
  names: AltNames
  lifeDays: number
}
export type CardCa = Common & { kind: 'card-ca'; commonName: string; curve: 'P-256' | 'SM2' }
export type CardSigner = Common & {
  kind: 'card-signer'
  issuer: string
  commonName: string
  signsDays: number
}
/** A revocation list is named after its issuer. */
export type Crl = Common & { kind: 'tls-crl' | 'card-crl'; revokes: readonly string[]; lifeDays: number }
/** A key with its public half in a file of its own, to be pinned. Ed25519 where no curve is named. */
export type PinnedKey = Common & { kind: 'pinned-key'; curve?: 'P-256' }
export type PlainKey = Common & { kind: 'p256-key' }
/** Named without version; files are `<name>-<version>.key`. Only version 1 is ever made here. */
export type Kek = Common & { kind: 'kek' }
/** The signed list of card issuers; `trusts` names their CAs, it is signed by the pinned key of its own name. */
export type TrustList = Common & { kind: 'trust-list'; trusts: readonly string[]; lifeDays: number }
export type Entry = TlsCa | TlsLeaf | CardCa | CardSigner | Crl | PinnedKey | PlainKey | Kek | TrustList

const caDays = 5 * 365
const leafDays = 90
const crlDays = 30
const local = { dns: ['localhost'], ip: ['127.0.0.1', '::1'] } as const

const carrier = (id: string): TlsLeaf => ({
  kind: 'tls-leaf',
  name: `carrier-${id}`,
  what: `client certificate of carrier ${id}`,
  loadedBy: `the back end of carrier ${id} (simulator, load)`,
  issuer: 'carrier-ca',
  commonName: id,
  use: 'client',
  names: { uri: [`urn:vouchsafe:carrier:${id}`] },
  lifeDays: leafDays,
})

const cardSigner = (number: number, note: string, suffix: '' | '-sm2' = ''): CardSigner => ({
  kind: 'card-signer',
  name: `card-signer-${number}${suffix}`,
  what: `document signer ${number} of the ${suffix ? 'SM2 ' : ''}cards${note}`,
  loadedBy: 'simulator',
  issuer: `card-issuer${suffix}`,
  commonName: `Document signer ${number}${suffix ? ' SM2' : ''}`,
  signsDays: 90,
})

/** In the order of making: issuers before what they issue, revocation lists after what they name. */
export const hierarchy: readonly Entry[] = [
  {
    kind: 'tls-ca',
    name: 'gateway-ca',
    what: 'CA of the gateway listeners',
    loadedBy: 'everyone who calls the gateway (devices, carriers, simulator, load)',
    commonName: 'Gateway CA',
    lifeDays: caDays,
  },
  {
    kind: 'tls-leaf',
    name: 'gateway',
    what: 'server certificate of the gateway',
    loadedBy: 'gateway, device and carrier listeners',
    issuer: 'gateway-ca',
    commonName: 'localhost',
    use: 'server',
    names: local,
    lifeDays: leafDays,
  },
  {
    kind: 'tls-ca',
    name: 'carrier-ca',
    what: 'CA of the carriers',
    loadedBy: 'gateway, carrier listener',
    commonName: 'Carrier CA',
    lifeDays: caDays,
  },
  carrier('swift-crane'),
  carrier('river-post'),
  {
    kind: 'tls-crl',
    name: 'carrier-ca',
    what: 'revocation list of the carriers',
    loadedBy: 'gateway, carrier listener',
    revokes: [],
    lifeDays: crlDays,
  },
  {
    kind: 'tls-ca',
    name: 'bureau-ca',
    what: 'CA between gateway and bureau',
    loadedBy: 'gateway (to trust the bureau) and bureau mock (to trust the gateway)',
    commonName: 'Bureau CA',
    lifeDays: caDays,
  },
  {
    kind: 'tls-leaf',
    name: 'bureau-server',
    what: 'server certificate of the bureau',
    loadedBy: 'bureau mock',
    issuer: 'bureau-ca',
    commonName: 'bureau',
    use: 'server',
    names: { ...local, dns: ['localhost', 'bureau'] },
    lifeDays: leafDays,
  },
  {
    kind: 'tls-leaf',
    name: 'bureau-client',
    what: 'client certificate of the gateway at the bureau',
    loadedBy: 'gateway, when it asks the bureau',
    issuer: 'bureau-ca',
    commonName: 'gateway',
    use: 'client',
    names: { uri: ['urn:vouchsafe:gateway'] },
    lifeDays: leafDays,
  },
  {
    kind: 'tls-ca',
    name: 'sam-ca',
    what: 'CA of the SAM service and of who may call it',
    loadedBy: 'gateway (to trust the service), SAM mock (to trust gateway and reader), simulator',
    commonName: 'SAM CA',
    lifeDays: caDays,
  },
  {
    kind: 'tls-leaf',
    name: 'sam-server',
    what: 'server certificate of the SAM service',
    loadedBy: 'SAM mock',
    issuer: 'sam-ca',
    commonName: 'sam',
    use: 'server',
    names: { ...local, dns: ['localhost', 'sam'] },
    lifeDays: leafDays,
  },
  {
    kind: 'tls-leaf',
    name: 'sam-client',
    what: 'client certificate of the gateway at the SAM service',
    loadedBy: 'gateway, when it fetches a record',
    issuer: 'sam-ca',
    commonName: 'gateway',
    use: 'client',
    names: { uri: ['urn:vouchsafe:gateway'] },
    lifeDays: leafDays,
  },
  {
    kind: 'tls-leaf',
    name: 'sam-reader',
    what: 'client certificate of a reader at the SAM service, which gives it no record',
    loadedBy: 'simulator, when it reads a card through the SAM',
    issuer: 'sam-ca',
    commonName: 'reader',
    use: 'client',
    names: { uri: ['urn:vouchsafe:sam-reader'] },
    lifeDays: leafDays,
  },
  {
    kind: 'pinned-key',
    name: 'sam-attestation',
    what: 'attestation key of the SAM service',
    loadedBy: '.key: SAM mock; .pub: pinned by the gateway',
    curve: 'P-256',
  },
  {
    kind: 'card-ca',
    name: 'card-issuer',
    what: 'issuer CA of the simulated cards',
    loadedBy: 'gateway, as its anchor for cards',
    commonName: 'Card issuer',
    curve: 'P-256',
  },
  cardSigner(1, ''),
  cardSigner(2, ', revoked from the start'),
  {
    kind: 'card-crl',
    name: 'card-issuer',
    what: 'revocation list of the document signers',
    loadedBy: 'gateway, at each check of a card',
    revokes: ['card-signer-2'],
    lifeDays: crlDays,
  },
  {
    kind: 'card-ca',
    name: 'card-issuer-sm2',
    what: 'issuer CA of the simulated SM2 cards',
    loadedBy: 'gateway, as its anchor for SM2 cards',
    commonName: 'Card issuer SM2',
    curve: 'SM2',
  },
  cardSigner(1, '', '-sm2'),
  cardSigner(2, ', revoked from the start', '-sm2'),
  {
    kind: 'card-crl',
    name: 'card-issuer-sm2',
    what: 'revocation list of the SM2 document signers',
    loadedBy: 'gateway, at each check of an SM2 card',
    revokes: ['card-signer-2-sm2'],
    lifeDays: crlDays,
  },
  {
    kind: 'pinned-key',
    name: 'card-trust',
    what: 'card trust key',
    loadedBy: '.key: whoever signs the list of card issuers (offline); .pub: pinned by the gateway',
  },
  {
    kind: 'trust-list',
    name: 'card-trust',
    what: 'list of the card issuers, signed',
    loadedBy: 'gateway, to know which cards to trust',
    trusts: ['card-issuer', 'card-issuer-sm2'],
    lifeDays: 90,
  },
  {
    kind: 'pinned-key',
    name: 'directory',
    what: 'directory key',
    loadedBy: '.key: whoever signs the directory (offline); .pub: pinned in every reader',
  },
  {
    kind: 'pinned-key',
    name: 'ledger',
    what: 'ledger key',
    loadedBy: '.key: ledger writer; .pub: pinned by whoever checks receipts',
  },
  { kind: 'p256-key', name: 'token', what: 'token key', loadedBy: 'gateway, to sign answer tokens' },
  {
    kind: 'kek',
    name: 'kek',
    what: 'key-encryption key, version 1',
    loadedBy: 'gateway, to open the keyring',
  },
]

const suffixes: Record<Entry['kind'], readonly string[]> = {
  'tls-ca': ['.key', '.crt'],
  'tls-leaf': ['.key', '.crt'],
  'card-ca': ['.key', '.crt'],
  'card-signer': ['.key', '.crt'],
  'tls-crl': ['.crl'],
  'card-crl': ['.crl'],
  'pinned-key': ['.key', '.pub'],
  'trust-list': ['.jwt'],
  'p256-key': ['.key'],
  kek: ['-1.key'],
}

/** Names of the files of an entry, in the order in which they are written. */
export const filesOf = (entry: Entry): string[] => suffixes[entry.kind].map((suffix) => entry.name + suffix)
