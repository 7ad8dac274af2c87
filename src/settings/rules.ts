import { isLoopbackHost } from '../base/hosts.js';
import { type Reading } from './row.js';
import { faultOf, fitsClients, type PemFile, type PemFiles, type PemPart } from '../tls/pem.js';
import { ROWS, type SettingName, type SettingValues } from './table.js';

/** A finding about settings: the setting to change, and the text that follows its place. */
interface Finding {
  readonly setting: SettingName;
  readonly text: string;
}

/** A rule that concerns several settings. */
interface CrossRule {
  /** The settings that the rule reads. The rule is skipped if one of them breaks its own rule. */
  readonly reads: readonly SettingName[];
  /** Returns what is wrong. A text must not contain the value of a secret setting. */
  readonly check: (values: SettingValues, changed: ReadonlySet<SettingName>) => readonly Finding[];
}

/** The settings that name a file of PEM text. */
type PemSetting = {
  [Name in SettingName]: SettingValues[Name] extends PemFile | undefined ? Name : never;
}[SettingName];

type Read<Name extends SettingName> = Pick<SettingValues, Name>;

/** Makes a rule whose check can read only the settings that it names. */
function rule<Name extends SettingName>(
  reads: readonly Name[],
  check: (values: Read<Name>, changed: ReadonlySet<SettingName>) => readonly Finding[],
): CrossRule {
  return { reads, check };
}

/** One finding if something is wrong, none otherwise. */
const findIf = (wrong: boolean, setting: SettingName, text: string): readonly Finding[] =>
  wrong ? [{ setting, text }] : [];

/** A finding if a setting is given without another one. */
const missing = (values: SettingValues, setting: SettingName, needed: SettingName): readonly Finding[] =>
  findIf(values[setting] !== undefined && values[needed] === undefined, setting, `needs --${needed}`);

/** A rule: a setting needs another one. */
const needs = (setting: SettingName, needed: SettingName): CrossRule =>
  rule([setting, needed], (values) => missing(values as SettingValues, setting, needed));

/** A rule for --store etcd: a setting needs another one. */
const etcdNeeds = (setting: SettingName, needed: SettingName): CrossRule =>
  rule(['store', setting, needed], (values) =>
    values.store === 'etcd' ? missing(values as SettingValues, setting, needed) : [],
  );

/** A rule: files that are used together fit together. */
const fits = (names: Readonly<Partial<Record<PemPart, PemSetting>>>): CrossRule =>
  rule(Object.values(names), (values) => {
    const files = Object.entries(names).flatMap(([part, name]) => (values[name] ? [[part, values[name]]] : []));
    const fault = faultOf(Object.fromEntries(files) as PemFiles);
    return fault ? [{ setting: names[fault.part]!, text: fault.rule }] : [];
  });

const ETCD_ONLY = (Object.keys(ROWS) as SettingName[]).filter((name) => /^(etcd|peer)-/.test(name));

/** The rules that concern several settings. A broken rule is an error. */
const RULES: readonly CrossRule[] = [
  rule(['store'], ({ store }, changed) =>
    ETCD_ONLY.flatMap((name) => findIf(store === 'embedded' && changed.has(name), name, 'is only for --store etcd')),
  ),
  rule(['store', 'data-dir'], (values) =>
    findIf(values.store === 'embedded' && values['data-dir'] === '', 'data-dir', 'must not be empty'),
  ),
  rule(['store', 'etcd-endpoints'], (values) =>
    findIf(
      values.store === 'etcd' && values['etcd-endpoints'] === undefined,
      'etcd-endpoints',
      'is required for --store etcd',
    ),
  ),
  rule(['store', 'etcd-endpoints', 'etcd-ca', 'etcd-cert'], (values) =>
    findIf(
      values.store === 'etcd' &&
        (values['etcd-ca'] ?? values['etcd-cert']) !== undefined &&
        !!values['etcd-endpoints']?.[0]?.startsWith('http:'),
      'etcd-endpoints',
      'must be https, because certificates are set',
    ),
  ),
  rule(['grpc-port', 'http-port'], (values) =>
    findIf(
      values['grpc-port'] === 65_535 && values['http-port'] === undefined,
      'http-port',
      'must be set, because the port after --grpc-port 65535 does not exist',
    ),
  ),
  rule(['grpc-port', 'http-port'], (values) =>
    findIf(
      values['grpc-port'] !== 0 && values['grpc-port'] === values['http-port'],
      'http-port',
      'must differ from --grpc-port',
    ),
  ),
  etcdNeeds('etcd-cert', 'etcd-key'),
  etcdNeeds('etcd-key', 'etcd-cert'),
  fits({ cert: 'etcd-cert', key: 'etcd-key', ca: 'etcd-ca' }),
  needs('tls-cert', 'tls-key'),
  needs('tls-key', 'tls-cert'),
  needs('tls-client-ca', 'tls-cert'),
  needs('tls-crl', 'tls-client-ca'),
  needs('peer-ca', 'tls-cert'),
  needs('peer-name', 'tls-cert'),
  fits({ cert: 'tls-cert', key: 'tls-key', ca: 'tls-client-ca', crl: 'tls-crl' }),
  fits({ ca: 'peer-ca' }),
  fits({ ca: 'check-ca' }),
  rule(['tls-client-certs', 'tls-client-ca'], (values) =>
    findIf(
      values['tls-client-certs'] !== 'none' && values['tls-client-ca'] === undefined,
      'tls-client-certs',
      'needs --tls-client-ca',
    ),
  ),
  rule(['tls-client-certs', 'tls-client-ca', 'store'], (values) =>
    findIf(
      values.store === 'embedded' && values['tls-client-certs'] === 'none' && values['tls-client-ca'] !== undefined,
      'tls-client-ca',
      'verifies nobody: set --tls-client-certs to optional or required',
    ),
  ),
  rule(['store', 'tls-cert'], (values) =>
    findIf(
      values.store === 'etcd' && values['tls-cert'] !== undefined && !fitsClients(values['tls-cert']),
      'tls-cert',
      'must have the extended key usage clientAuth beside serverAuth, because this server shows it to the other servers of the cluster',
    ),
  ),
  rule(['audit-required', 'audit-log'], (values) =>
    findIf(
      values['audit-required'] === true && values['audit-log'] === undefined,
      'audit-required',
      'needs --audit-log',
    ),
  ),
  etcdNeeds('etcd-user', 'etcd-password-file'),
  etcdNeeds('etcd-password-file', 'etcd-user'),
  rule(['host', 'access', 'tls-cert', 'insecure'], (values) =>
    findIf(
      insecurityOf(values) !== undefined && !values.insecure,
      'host',
      `${values.host} is no address of loopback, so other machines may reach it: give --access and --tls-cert, or allow it with --insecure`,
    ),
  ),
];

/** Why a server is not safe from other machines that reach it; `undefined` if it is. */
export function insecurityOf({
  host,
  access,
  'tls-cert': cert,
}: Read<'host' | 'access' | 'tls-cert'>): string | undefined {
  if (isLoopbackHost(host) || (access !== undefined && cert)) return undefined;
  const listens = `the server listens on ${host}`;
  if (access !== undefined) return `${listens} without TLS; tokens and contents can be read on the way`;
  return `${listens} without ${cert ? '' : 'TLS and '}access control; any client that reaches it can do anything`;
}

/** Settings that can be used, but that a person should know about. */
const DOUBTS: readonly CrossRule[] = [
  rule(['host', 'access', 'tls-cert'], (values) => {
    const text = insecurityOf(values);
    return text === undefined ? [] : [{ setting: 'host', text }];
  }),
];

/** Checks the rules that concern several settings. Returns everything that is wrong, each with its place. */
export const crossErrors = (reading: Reading<typeof ROWS>): readonly string[] => findings(RULES, reading);

/** Returns what a person should know about settings that can be used, each with its place. */
export const doubts = (reading: Reading<typeof ROWS>): readonly string[] => findings(DOUBTS, reading);

function findings(rules: readonly CrossRule[], { values, changed, origins }: Reading<typeof ROWS>): string[] {
  return rules
    .filter(({ reads }) => reads.every((name) => Object.hasOwn(values, name)))
    .flatMap(({ check }) => check(values as SettingValues, changed)) // as: what a rule reads is there
    .map(({ setting, text }) => `${origins[setting]?.place ?? `--${setting}`}: ${text}`);
}
