import { isIP } from 'node:net';
import { parseArgs } from 'node:util';
import { LOG_LEVELS, type LogLevel } from '../telemetry/telemetry.js';

/** The server's own settings, checked and complete. */
export interface Settings {
  readonly host: string;
  /** 0: any free port; the start line says which. */
  readonly grpcPort: number;
  readonly dataDir: string;
  readonly logLevel: LogLevel;
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
  'etcd-endpoints': { value: 'A,B,C', help: 'the endpoints of etcd', notYet: 'the etcd store is not there yet' },
  'etcd-prefix': {
    value: 'PREFIX',
    help: 'what all keys in etcd begin with',
    notYet: 'the etcd store is not there yet',
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
  if (value('store') === 'etcd') refuse('store', 'the etcd store is not there yet; use embedded');
  else if (value('store') !== 'embedded')
    refuse('store', `must be embedded or etcd, not ${JSON.stringify(value('store'))}`);
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
  if (value('data-dir') === '') refuse('data-dir', 'must not be empty');
  if (wrong.length > 0) throw new BadSettings(wrong.join('\n'));
  return {
    settings: { host, grpcPort: Number(port), dataDir: value('data-dir'), logLevel: logLevel! },
    warnings: unknownVariables(env),
  };
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
