import { isLoopbackHost } from '../base/hosts.js';
import { type LogLevel } from '../telemetry/telemetry.js';
import type { PemFile, PemFiles } from '../tls/pem.js';
import { settingsFile } from './file.js';
import { type Origin, readRows, type Setting, type Table } from './row.js';
import { crossErrors, doubts, insecurityOf } from './rules.js';
import { defaults, type Environment, flags, sharedVariables, variables } from './sources.js';
import { type CLIENT_CERTIFICATES, ROWS, type SettingName, type SettingValues } from './table.js';

/** The settings of the server, checked and complete. */
export interface Settings {
  readonly host: string;
  /** 0 for any free port; the start line says which. */
  readonly grpcPort: number;
  /** 0 for any free port; `undefined` if HTTP is off. */
  readonly httpPort: number | undefined;
  /** Names by which HTTP requests may call this server; empty if the address that it listens on decides. */
  readonly httpHosts: readonly string[];
  /** Origins of web pages that may call the HTTP port. */
  readonly httpCorsOrigins: readonly string[];
  /** Proxies whose word counts for the address of a client. */
  readonly trustedProxies: SettingValues['trusted-proxies'];
  readonly store: StoreSettings;
  /** `undefined` if clients speak without TLS. */
  readonly tls: TlsSettings | undefined;
  /** The path of the access file; `undefined` if every caller may do everything. */
  readonly access: string | undefined;
  /** How long the keys of an issuer of JWTs count after they were read, in milliseconds. */
  readonly jwtKeysMaxMs: number;
  readonly audit: AuditSettings;
  /** Why the server is not safe from other machines that reach it; `undefined` if it is. */
  readonly insecure: string | undefined;
  /** Where the other servers of the cluster reach this one. `undefined` if at the address that it listens on. */
  readonly advertise: string | undefined;
  /** The name of the node. `undefined` if it is the advertised address. */
  readonly node: string | undefined;
  /** The time after which the protection of a service ends in any case, in milliseconds. */
  readonly protectionMaxMs: number;
  /** The least age at which a stream ends, in milliseconds. */
  readonly streamAgeMs: number;
  /** Where traces are sent. `undefined` if none are recorded. */
  readonly traces: TraceSettings | undefined;
  /** How instances are probed for their health checks. `undefined` if this server probes none. */
  readonly checks: CheckSettings | undefined;
  readonly logLevel: LogLevel;
}

/** How instances are probed for their health checks. */
export interface CheckSettings {
  /** Only addresses from which instances registered are probed. */
  readonly onlyRegistrants: boolean;
  /** Networks that may be probed. `undefined`: private ones, and those of this machine. */
  readonly networks: readonly string[] | undefined;
  readonly ports: string;
  /** True if addresses of this machine may be probed. */
  readonly loopback: boolean;
  readonly ca: PemFile | undefined;
  readonly openMax: number;
}

/** The audit. */
export interface AuditSettings {
  /** The path of its file, or "stderr"; `undefined` if it is kept in memory alone. */
  readonly log: string | undefined;
  readonly calls: 'writes' | 'all';
  /** Decisions are refused while the audit cannot be written. */
  readonly required: boolean;
}

/** TLS towards clients and peers. */
export interface TlsSettings {
  /** The pair of this server, and how the certificates of clients are verified. */
  readonly files: PemFiles;
  readonly clientCertificates: (typeof CLIENT_CERTIFICATES)[number];
  /** The authorities of the other servers. `undefined` if those of the system. */
  readonly peerCa: PemFile | undefined;
  /** The name in the certificates of the other servers. `undefined` if the host at which each is reached. */
  readonly peerName: string | undefined;
}

/** How traces are recorded. */
export interface TraceSettings {
  /** The URL to which spans are posted. */
  readonly url: string;
  /** The share of the calls that begin a trace, from 0 to 1. */
  readonly share: number;
}

/** Where state is kept. */
export type StoreSettings = { readonly kind: 'embedded'; readonly dataDir: string } | EtcdSettings;

/** How to reach etcd. The files that the settings name have been read. */
export interface EtcdSettings {
  readonly kind: 'etcd';
  /** URLs, all of them http or all https. */
  readonly endpoints: readonly string[];
  /** The prefix of all keys. */
  readonly prefix: string;
  /** Empty if etcd is reached without TLS, or with the authorities of the system. */
  readonly tls: PemFiles;
  readonly user: { readonly name: string; readonly password: string } | undefined;
}

/** Every setting by name, in the order of the help. */
export const SETTINGS: Table = ROWS;

/** Settings that cannot be used. Each line of the message names a flag, a variable or a place in the file, and the rule that it breaks. */
export class BadSettings extends Error {
  override readonly name = 'BadSettings';
}

/** The settings, and where they come from. */
export interface ReadSettings {
  readonly settings: Settings;
  /** Notes for a person about the way in which the settings were given. */
  readonly warnings: readonly string[];
  /** Where each setting comes from. A setting that no source gives is absent. */
  readonly origins: Readonly<Partial<Record<SettingName, Origin>>>;
  /** The text of each setting; empty if it is unset. */
  readonly texts: Readonly<Record<SettingName, string>>;
}

/**
 * Reads the settings. A flag wins over its variable, a variable over the settings file, and the file over the default. Throws
 * BadSettings with all errors.
 */
export function readSettings(args: readonly string[], env: Environment): ReadSettings {
  const own = [flags(ROWS, args), variables(ROWS, env)];
  const named = own.map((source) => source.find('settings')).find((given) => given !== undefined);
  const file = named && named.text !== '' ? [settingsFile(ROWS, named)] : [];
  const reading = readRows(ROWS, [...own, ...file, sharedVariables(env), defaults(ROWS)]);
  const errors = [...reading.errors, ...crossErrors(reading)];
  if (errors.length > 0) throw new BadSettings(errors.join('\n'));
  return {
    settings: settingsOf(reading.values as SettingValues), // as: without errors every value is there
    warnings: [...reading.warnings, ...doubts(reading)],
    origins: reading.origins,
    texts: reading.texts,
  };
}

const HOUR_MS = 3_600_000;

function settingsOf(values: SettingValues): Settings {
  return {
    host: values.host,
    grpcPort: values['grpc-port'],
    httpPort: httpPortOf(values),
    httpHosts: values['http-hosts'],
    httpCorsOrigins: values['http-cors-origins'],
    trustedProxies: values['trusted-proxies'],
    store: values.store === 'etcd' ? etcdOf(values) : { kind: 'embedded', dataDir: values['data-dir'] },
    tls: tlsOf(values),
    access: values.access,
    jwtKeysMaxMs: values['jwt-keys-max-hours'] * HOUR_MS,
    audit: { log: values['audit-log'], calls: values.audit, required: values['audit-required'] === true },
    insecure: insecurityOf(values),
    advertise: values.advertise,
    node: values.node,
    protectionMaxMs: values['protection-max-hours'] * HOUR_MS,
    streamAgeMs: values['stream-age-seconds'] * 1_000,
    traces: tracesOf(values),
    checks: checksOf(values),
    logLevel: values['log-level'],
  };
}

function checksOf(values: SettingValues): CheckSettings | undefined {
  const loopback = isLoopbackHost(values.host);
  const word = values.checks ?? (loopback || values.access !== undefined ? 'on' : 'registered-address');
  if (word === 'off') return undefined;
  return {
    ...{ loopback, onlyRegistrants: word === 'registered-address', networks: values['check-networks'] },
    ...{ ports: values['check-ports'], ca: values['check-ca'], openMax: values['check-open-max'] },
  };
}

function tracesOf({ 'otlp-endpoint': endpoint, 'trace-share': share }: SettingValues): TraceSettings | undefined {
  if (endpoint === undefined) return undefined;
  const hasPath = /^https?:\/\/[^/]+\//i.test(endpoint);
  return { url: hasPath ? endpoint : `${endpoint}/v1/traces`, share };
}

function tlsOf(values: SettingValues): TlsSettings | undefined {
  const { 'tls-cert': cert, 'tls-key': key, 'tls-client-ca': ca, 'tls-crl': crl } = values;
  if (!cert || !key) return undefined;
  return {
    files: { cert, key, ...(ca && { ca }), ...(crl && { crl }) },
    clientCertificates: values['tls-client-certs'],
    peerCa: values['peer-ca'] ?? ca,
    peerName: values['peer-name'],
  };
}

/** Several servers on one machine differ in one flag: the port for HTTP follows the one for gRPC. */
function httpPortOf({ 'grpc-port': grpc, 'http-port': http }: SettingValues): number | undefined {
  if (http === 'off') return undefined;
  return http ?? (grpc === 0 ? 0 : grpc + 1);
}

function etcdOf(values: SettingValues): EtcdSettings {
  const { 'etcd-ca': ca, 'etcd-cert': cert, 'etcd-key': key } = values;
  const { 'etcd-user': name, 'etcd-password-file': password } = values;
  return {
    kind: 'etcd',
    endpoints: values['etcd-endpoints']!, // a rule requires it for etcd
    prefix: values['etcd-prefix'],
    tls: { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) },
    user: name === undefined || password === undefined ? undefined : { name, password },
  };
}

/** The help of all settings: two lines each. */
export function settingsHelp(): string {
  return Object.entries(SETTINGS)
    .map(([name, row]) => `  --${name}${row.value ? ` ${row.value}` : ''}\n        ${helpOf(row)}`)
    .join('\n');
}

function helpOf({ help, default: text }: Setting): string {
  return [help, text && `Default: ${text}.`].filter(Boolean).join(' ');
}
