import { isLoopbackHost } from '../base/hosts.js';
import { type Reading } from './row.js';
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

/** A rule for --store etcd: a setting needs another one. */
const etcdNeeds = (setting: SettingName, needed: SettingName): CrossRule =>
  rule(['store', setting, needed], (values) =>
    findIf(
      values.store === 'etcd' && values[setting] !== undefined && values[needed] === undefined,
      setting,
      `needs --${needed}`,
    ),
  );

const ETCD_ONLY = (Object.keys(ROWS) as SettingName[]).filter((name) => name.startsWith('etcd-'));

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
  etcdNeeds('etcd-user', 'etcd-password-file'),
  etcdNeeds('etcd-password-file', 'etcd-user'),
  rule(['host', 'insecure'], ({ host, insecure }) =>
    findIf(
      !isLoopbackHost(host) && !insecure,
      'host',
      `${host} is no address of loopback, so other machines may reach it, and there is no TLS and no authentication yet; add --insecure to allow it`,
    ),
  ),
];

/** Settings that can be used, but that a person should know about. */
const DOUBTS: readonly CrossRule[] = [
  rule(['host'], ({ host }) =>
    findIf(
      !isLoopbackHost(host),
      'host',
      `the server listens on ${host} without TLS and authentication; any client that reaches it can do anything`,
    ),
  ),
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
