import { parseArgs } from 'node:util';
import { didYouMean } from '../base/near.js';
import { faultOfUrl } from './parse.js';
import { type Given, type Source, type Table } from './row.js';

/** The environment of a process. */
export type Environment = Readonly<Record<string, string | undefined>>;

const PREFIX = 'ROLLCALL_';
/** Variables of the command line and of the examples, which may be set in the same shell. */
const OF_CLIENTS = /^ROLLCALL_(?:CLI_\w+|CONTEXTS|SERVERS|CA|TOKEN_FILE)$/;

/** The environment variable of a setting. */
export const variableOf = (setting: string): string => `${PREFIX}${setting.toUpperCase().replaceAll('-', '_')}`;

/** Settings from the command line. Every argument must be a flag of the table; of a repeated flag the last counts. */
export function flags(table: Table, args: readonly string[]): Source {
  const given = new Map<string, Given>();
  const errors = new Set<string>();
  const strays: string[] = [];
  for (const token of tokensOf(table, args)) {
    if (token.kind === 'positional') strays.push(`${JSON.stringify(token.value)}: is not a flag`);
    if (token.kind !== 'option') continue;
    const place = token.rawName;
    const error = flagError(table, token);
    if (error) errors.add(`${place}: ${error}`);
    else given.set(token.name, { text: token.value ?? 'true', place });
  }
  // After a misspelled flag, a stray argument may be its value, and a secret. So it is not printed.
  return {
    name: 'flag',
    find: (setting) => given.get(setting),
    errors: errors.size > 0 ? [...errors] : strays,
    warnings: [],
  };
}

interface FlagToken {
  readonly name: string;
  readonly rawName: string;
  readonly value: string | undefined;
  readonly inlineValue: boolean | undefined;
}

/** Returns what is wrong with a flag, without its value; `undefined` if nothing. */
function flagError(table: Table, { name, rawName, value, inlineValue }: FlagToken): string | undefined {
  if (!rawName.startsWith('--') || !Object.hasOwn(table, name))
    return `is not a setting${didYouMean(
      rawName,
      Object.keys(table).map((known) => `--${known}`),
    )}`;
  if (!table[name]!.value) return inlineValue ? 'takes no value' : undefined;
  if (value === undefined || (!inlineValue && value.startsWith('-')))
    return `needs a value; a value that begins with "-" is written ${rawName}=VALUE`;
  return undefined;
}

/** Splits the arguments without judging them: parseArgs itself would stop at the first error. */
function tokensOf(table: Table, args: readonly string[]) {
  const options = Object.fromEntries(
    Object.entries(table).map(([name, { value }]) => [
      name,
      { type: value ? ('string' as const) : ('boolean' as const) },
    ]),
  );
  const { tokens } = parseArgs({ args: [...args], options, strict: false, allowPositionals: true, tokens: true });
  // "-abc" becomes three tokens of one argument. Only the first is kept: the others may be parts of a value.
  return tokens.filter((token, i) => token.index !== tokens[i - 1]?.index);
}

/**
 * Settings from environment variables. An unknown variable is only a warning: an orchestrator may add variables that
 * begin with the name of the service.
 */
export function variables(table: Table, env: Environment): Source {
  const known = new Set(Object.keys(table).map(variableOf));
  const unknown = Object.keys(env).filter(
    (name) => name.startsWith(PREFIX) && !known.has(name) && !OF_CLIENTS.test(name),
  );
  return {
    name: 'variable',
    find: (setting) => {
      const place = variableOf(setting);
      const text = env[place];
      return text === undefined ? undefined : { text, place };
    },
    errors: [],
    warnings: unknown.map((name) => `${name}: is not a setting and is ignored${didYouMean(name, [...known])}`),
  };
}

/**
 * Settings from the variables that programs with OpenTelemetry share. They count less than the variables and the file of
 * this program, and one that this program cannot use is only a warning: they may be set for all programs of a machine.
 */
export function sharedVariables(env: Environment): Source {
  const warnings: string[] = [];
  const endpoint = sharedEndpoint(env, warnings);
  return { name: 'variable', find: (name) => (name === 'otlp-endpoint' ? endpoint : undefined), errors: [], warnings };
}

function sharedEndpoint(env: Environment, warnings: string[]): Given | undefined {
  const [traces, base] = ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'OTEL_EXPORTER_OTLP_ENDPOINT'];
  const place = env[traces] ? traces : base;
  const url = env[place];
  if (!url || env['OTEL_SDK_DISABLED'] === 'true' || env['OTEL_TRACES_EXPORTER'] === 'none') return undefined;
  const protocol = env['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL'] ?? env['OTEL_EXPORTER_OTLP_PROTOCOL'] ?? '';
  if (protocol === 'grpc') warnings.push(`${place}: is ignored, because traces are sent over HTTP and not over gRPC`);
  else if (faultOfUrl(url)) warnings.push(`${place}: is not a plain URL of HTTP and is ignored`);
  // The variable for traces is the whole URL; the other one is its beginning.
  else return { text: place === traces ? new URL(url).href : `${url.replace(/\/$/, '')}/v1/traces`, place };
  return undefined;
}

/** The defaults of the table: always the last source. An error about a default names the flag that would change it. */
export function defaults(table: Table): Source {
  return {
    name: 'default',
    find: (setting) => {
      const text = table[setting]?.default;
      return text === undefined ? undefined : { text, place: `--${setting}` };
    },
    errors: [],
    warnings: [],
  };
}
