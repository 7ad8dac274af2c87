import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { parseArgs } from 'node:util';
import { LOG_LEVELS, type LogLevel } from '../telemetry/telemetry.js';

/** The server's own settings, checked and complete. */
export interface Settings {
  readonly host: string;
  /** 0: any free port; the start line says which. */
  readonly grpcPort: number;
  readonly store: StoreSettings;
  /** Where the other servers of the cluster reach this one. Undefined: where it listens. */
  readonly advertise: string | undefined;
  /** The name of the node. Undefined: what is advertised. */
  readonly node: string | undefined;
  /** How long the instances of a protected service stay silent before they are removed, in milliseconds. */
  readonly protectedRemovalMs: number;
  readonly logLevel: LogLevel;
}

/** Where state is kept. */
export type StoreSettings = { readonly kind: 'embedded'; readonly dataDir: string } | EtcdSettings;

/** How to reach etcd, with the files that were named already read. */
export interface EtcdSettings {
  readonly kind: 'etcd';
  /** URLs, all of them http or all https. */
  readonly endpoints: readonly string[];
  /** What all keys begin with. */
  readonly prefix: string;
  readonly tls: { readonly ca?: Buffer; readonly cert?: Buffer; readonly key?: Buffer };
  readonly user: { readonly name: string; readonly password: string } | undefined;
}

/** One setting: its flag is `--name`, its variable `ROLLCALL_NAME` in upper case with "_" for "-". */
interface SettingRule {
  /** What stands behind the flag in the help. Undefined: the flag takes no value. */
  readonly value?: string;
  readonly default?: string;
  readonly help: string;
  /** The setting is known, and what it asks for is not there yet: said when it is used. */
  readonly notYet?: string;
}

/** Every setting. */
export const SETTINGS: Readonly<Record<string, SettingRule>> = {
  host: {
    value: 'HOST',
    default: '127.0.0.1',
    help: 'the address to listen on; anything but loopback needs --insecure',
  },
  'grpc-port': { value: 'PORT', default: '7400', help: 'the port for gRPC, 0 to 65535; 0 picks a free one' },
  'http-port': { value: 'PORT', help: 'the port for HTTP', notYet: 'HTTP is not served yet' },
  store: { value: 'embedded|etcd', default: 'embedded', help: 'where state is kept' },
  'etcd-endpoints': { value: 'A,B,C', help: 'the URLs of etcd, such as http://10.0.0.1:2379; required for etcd' },
  'etcd-prefix': {
    value: 'PREFIX',
    default: 'rollcall/',
    help: 'what all keys in etcd begin with: printable ASCII, up to 128 characters',
  },
  'etcd-ca': { value: 'FILE', help: 'the certificates (PEM) that etcd is trusted by; unset: those of the system' },
  'etcd-cert': { value: 'FILE', help: 'the certificate (PEM) that this server shows to etcd; needs --etcd-key' },
  'etcd-key': { value: 'FILE', help: 'the private key (PEM) of --etcd-cert' },
  'etcd-user': { value: 'NAME', help: 'the user of an etcd with authentication; needs --etcd-password-file' },
  'etcd-password-file': { value: 'FILE', help: 'the file that holds the password of --etcd-user' },
  advertise: {
    value: 'HOST:PORT',
    help: 'where the other servers on the same etcd reach this one; unset: the host and port that it listens on',
  },
  node: { value: 'NAME', help: 'the name of this node, the same after each start; unset: what is advertised' },
  'protected-removal-hours': {
    value: 'HOURS',
    default: '24',
    help: 'how long the instances of a protected service stay silent before they are removed, 1 to 8760: time for people to look',
  },
  'data-dir': { value: 'FOLDER', default: './data', help: 'the folder of the embedded store, for one server alone' },
  settings: { value: 'FILE', help: 'a file of settings', notYet: 'a settings file is not read yet' },
  'log-level': {
    value: LOG_LEVELS.join('|'),
    default: 'info',
    help: 'how much is logged, as JSON lines on standard error',
  },
  insecure: { help: 'listen beyond loopback without TLS and authentication' },
};

/** Settings that cannot be used: the text names each, its rule and where it came from. */
export class BadSettings extends Error {
  override readonly name = 'BadSettings';
}

/** What was read: the settings, and what a person should know about how they were given. */
export interface ReadSettings {
  readonly settings: Settings;
  readonly warnings: readonly string[];
}

const variableOf = (name: string): string => `ROLLCALL_${name.toUpperCase().replaceAll('-', '_')}`;

/** Reads the settings from flags, then variables, then defaults. Throws BadSettings with everything that is wrong. */
export function readSettings(args: readonly string[], env: Readonly<Record<string, string | undefined>>): ReadSettings {
  const flags = parseFlags(args);
  const wrong: string[] = [];
  const value = (name: string): string => flags[name] ?? env[variableOf(name)] ?? SETTINGS[name]!.default ?? '';
  const place = (name: string): string =>
    flags[name] === undefined && env[variableOf(name)] !== undefined ? variableOf(name) : `--${name}`;
  const refuse = (name: string, rule: string): void => void wrong.push(`${place(name)}: ${rule}`);

  for (const [name, { notYet }] of Object.entries(SETTINGS)) if (notYet && value(name) !== '') refuse(name, notYet);
  const store = storeOf(value, refuse);
  const port = value('grpc-port');
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535)
    refuse('grpc-port', `must be a number from 0 to 65535, not ${JSON.stringify(port)}`);
  const logLevel = LOG_LEVELS.find((level) => level === value('log-level'));
  if (!logLevel)
    refuse('log-level', `must be one of ${LOG_LEVELS.join(', ')}, not ${JSON.stringify(value('log-level'))}`);
  const host = value('host');
  const insecure = value('insecure');
  if (!['', 'true', 'false'].includes(insecure))
    refuse('insecure', `must be true or false, not ${JSON.stringify(insecure)}`);
  if (host === '') refuse('host', 'must not be empty');
  else if (!isLoopback(host) && insecure !== 'true') {
    refuse(
      'host',
      `${host} is reachable from other machines, and there is no TLS and no authentication yet: add --insecure if you mean it`,
    );
  }
  const advertise = value('advertise');
  const [, advertisedPort] = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})$/.exec(advertise) ?? [];
  if (advertise !== '' && !(Number(advertisedPort) >= 1 && Number(advertisedPort) <= 65_535))
    refuse('advertise', `must be HOST:PORT with a port from 1 to 65535, not ${JSON.stringify(advertise)}`);
  const hours = value('protected-removal-hours');
  if (!/^\d{1,4}$/.test(hours) || Number(hours) < 1 || Number(hours) > 8_760)
    refuse('protected-removal-hours', `must be a whole number from 1 to 8760, not ${JSON.stringify(hours)}`);
  if (value('node').length > 128) refuse('node', 'must be up to 128 characters');
  if (wrong.length > 0) throw new BadSettings(wrong.join('\n'));
  return {
    settings: {
      host,
      grpcPort: Number(port),
      store: store!,
      advertise: advertise || undefined,
      node: value('node') || undefined,
      protectedRemovalMs: Number(hours) * 3_600_000,
      logLevel: logLevel!,
    },
    warnings: [
      ...unknownVariables(env),
      ...(isLoopback(host)
        ? []
        : [`listening on ${host} without TLS and authentication: whoever reaches it may do anything`]),
    ],
  };
}

type Value = (name: string) => string;
type Refuse = (name: string, rule: string) => void;

function storeOf(value: Value, refuse: Refuse): StoreSettings | undefined {
  const kind = value('store');
  if (kind === 'etcd') return etcdOf(value, refuse);
  if (kind !== 'embedded') return void refuse('store', `must be embedded or etcd, not ${JSON.stringify(kind)}`);
  for (const name of Object.keys(SETTINGS).filter((other) => other.startsWith('etcd-'))) {
    if (value(name) !== (SETTINGS[name]!.default ?? '')) refuse(name, 'is for --store etcd');
  }
  if (value('data-dir') === '') refuse('data-dir', 'must not be empty');
  return { kind, dataDir: value('data-dir') };
}

function etcdOf(value: Value, refuse: Refuse): EtcdSettings {
  const endpoints = value('etcd-endpoints')
    .split(',')
    .map((endpoint) => endpoint.trim())
    .filter((endpoint) => endpoint !== '');
  if (endpoints.length === 0) refuse('etcd-endpoints', 'is required for --store etcd');
  const wrong = endpoints.find((endpoint) => !/^https?:\/\/[^/\s]+:\d{1,5}$/.test(endpoint));
  if (wrong !== undefined)
    refuse('etcd-endpoints', `must be URLs such as http://10.0.0.1:2379, not ${JSON.stringify(wrong)}`);
  const secure = endpoints.filter((endpoint) => endpoint.startsWith('https:')).length;
  if (secure > 0 && secure < endpoints.length) refuse('etcd-endpoints', 'must all be http or all https');
  const prefix = value('etcd-prefix');
  if (!/^[!-~]{1,128}$/.test(prefix)) refuse('etcd-prefix', 'must be 1 to 128 printable ASCII characters');
  const ca = fileOf('etcd-ca', value, refuse);
  const cert = fileOf('etcd-cert', value, refuse);
  const key = fileOf('etcd-key', value, refuse);
  if ((cert === undefined) !== (key === undefined)) refuse('etcd-cert', '--etcd-cert and --etcd-key need one another');
  if ((ca ?? cert) && secure === 0) refuse('etcd-endpoints', 'must be https to be used with certificates');
  const name = value('etcd-user');
  const password = fileOf('etcd-password-file', value, refuse)?.toString('utf8').trimEnd();
  if ((name === '') !== (password === undefined))
    refuse('etcd-user', '--etcd-user and --etcd-password-file need one another');
  return {
    kind: 'etcd',
    endpoints,
    prefix,
    tls: { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) },
    user: name === '' || password === undefined ? undefined : { name, password },
  };
}

function fileOf(name: string, value: Value, refuse: Refuse): Buffer | undefined {
  if (value(name) === '') return undefined;
  try {
    return readFileSync(value(name));
  } catch (error) {
    return void refuse(name, `cannot be read: ${(error as Error).message}`);
  }
}

/** The help of `serve`. */
export function settingsHelp(): string {
  const lines = Object.entries(SETTINGS).map(([name, { value, default: unset, help, notYet }]) => {
    const flag = `  --${name}${value ? ` ${value}` : ''}`;
    const notes = [unset ? `default ${unset}` : '', notYet ? `not there yet` : ''].filter(Boolean).join('; ');
    return `${flag}\n        ${help}${notes ? ` (${notes})` : ''}`;
  });
  return lines.join('\n');
}

function parseFlags(args: readonly string[]): Record<string, string | undefined> {
  const options = Object.fromEntries(
    Object.entries(SETTINGS).map(([name, { value }]) => [
      name,
      { type: value ? ('string' as const) : ('boolean' as const) },
    ]),
  );
  try {
    const { values } = parseArgs({ args: [...args], options, strict: true, allowPositionals: false });
    return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)]));
  } catch (error) {
    throw new BadSettings((error as Error).message);
  }
}

/** Only warned about: an orchestrator may put variables of its own under the name of the service. */
function unknownVariables(env: Readonly<Record<string, string | undefined>>): string[] {
  const known = new Set(Object.keys(SETTINGS).map(variableOf));
  const unknown = Object.keys(env).filter((name) => name.startsWith('ROLLCALL_') && !known.has(name));
  return unknown.map((name) => `the variable ${name} is not a setting and is ignored`);
}

function isLoopback(host: string): boolean {
  if (host === 'localhost') return true;
  return isIP(host) === 4 ? host.startsWith('127.') : host === '::1';
}
