import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Client } from '../client/client.js';
import { Code } from '../model/errors.js';
import type { CallName } from './json.js';
import { contextOf, REACH_FLAGS, reachOf } from './reach.js';
import { CommandFailed, Exit, type ExitCode } from './exits.js';
import { type Format, FORMATS } from './output.js';

/** A command that calls a server, while it runs. */
export interface Session<Flags> {
  readonly client: Client;
  readonly flags: Flags;
  readonly namespace: string;
  readonly format: Format;
  /** Aborted when the user ends the command. */
  readonly signal: AbortSignal;
  /** Prints the answer to a call: as canonical JSON or YAML of protobuf, or what `asTable` makes for a person. */
  readonly show: (call: CallName, answer: unknown, asTable: () => string) => Promise<void>;
  /** Prints text for a person; nothing where the output is for a program. */
  readonly say: (text: string) => void;
}

/** The flags of every command that calls a server. */
interface CommonFlags {
  readonly output: Format;
  readonly namespace?: string;
}

/** Makes a command one that calls a server: adds the flags, and runs `run` with a client. */
export function remote<Flags>(
  command: Command,
  run: (session: Session<Flags>, ...args: string[]) => Promise<void>,
): Command {
  command.optionsGroup('How the server is reached:');
  for (const [flags, help] of REACH_FLAGS) command.option(flags, help);
  command.optionsGroup('Output and scope:');
  command.option('-n, --namespace <name>', 'namespace (default: "default")');
  command.addOption(new Option('-o, --output <format>', 'form of the output').choices(FORMATS).default('table'));
  return command.action(async (...params: unknown[]) => {
    const flags = command.opts<Flags & CommonFlags>();
    refuseEmpty(command);
    const context = contextOf(flags as Record<string, unknown>);
    const options = reachOf(context);
    process.noDeprecation = true; // Node's hints on names in TLS are for authors
    const { Client } = await import('../client/client.js'); // the library of gRPC takes 0.1 s: help does without
    const client = new Client(options);
    const stop = new AbortController();
    const stopOnce = (): void => (stop.signal.aborted ? process.exit(Exit.SIGNAL) : stop.abort());
    process.on('SIGINT', stopOnce).on('SIGTERM', stopOnce);
    const args = params.slice(0, command.registeredArguments.length) as string[];
    const { output: format } = flags;
    try {
      await run(
        {
          client,
          flags,
          namespace: context.namespace ?? 'default',
          format,
          signal: stop.signal,
          show: (call, answer, asTable) => show(format, call, answer, asTable),
          say: (text) => void (format === 'table' && process.stdout.write(text)),
        },
        ...args,
      );
    } catch (error) {
      throw await inWords(error, options.addresses);
    } finally {
      await client.close();
    }
  });
}

/** An empty value is that of a variable which a script has not set. It must not count as a flag that was not given. */
function refuseEmpty(command: Command): void {
  const flags = command.opts<Record<string, unknown>>();
  for (const option of command.options) {
    const name = option.attributeName();
    if (flags[name] === '' && command.getOptionValueSource(name) === 'cli')
      throw new CommandFailed(`${option.long} must not be empty`, Exit.USAGE);
  }
  for (const [i, { required }] of command.registeredArguments.entries())
    if (!required && command.args[i] === '')
      throw new CommandFailed(`${command.registeredArguments[i]!.name()} must not be empty`, Exit.USAGE);
}

async function show(format: Format, call: CallName, answer: unknown, asTable: () => string): Promise<void> {
  if (format === 'table') return void process.stdout.write(asTable());
  const { jsonOf } = await import('./json.js');
  const value = jsonOf(call, answer);
  if (format === 'json') return void process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
  const { dump } = await import('js-yaml');
  process.stdout.write(dump(value, { lineWidth: -1 }));
}

/** The codes of gRPC that have an exit code of their own. */
const EXITS: Readonly<Record<number, ExitCode>> = {
  [Code.INVALID_ARGUMENT]: Exit.USAGE,
  [Code.NOT_FOUND]: Exit.NOT_FOUND,
  [Code.PERMISSION_DENIED]: Exit.DENIED,
  [Code.ABORTED]: Exit.CONFLICT,
  [Code.UNAUTHENTICATED]: Exit.DENIED,
};

/** The error of a call as one that ends a command. */
async function inWords(error: unknown, addresses: readonly string[]): Promise<unknown> {
  const { CallError } = await import('../client/call-error.js');
  if (!(error instanceof CallError)) return error;
  if (error.isUnreachable) {
    const hint = 'is it running? --server says where, and --ca or --tls are needed for a server with TLS';
    return new CommandFailed(
      `no server answers at ${addresses.join(', ')} (${error.message}); ${hint}`,
      Exit.UNREACHABLE,
    );
  }
  const reason = error.reason === '' ? '' : ` (${error.reason})`;
  return new CommandFailed(`${error.message}${reason}`, EXITS[error.code] ?? Exit.FAILED);
}

/** Reads a whole number of a flag. */
export const wholeNumber =
  (min: number, max: number) =>
  (text: string): number => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
    if (!(value >= min && value <= max))
      throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
    return value;
  };

/** Collects "key=value" of a flag that may be repeated. */
export function keyValue(text: string, before: Readonly<Record<string, string>> = {}): Record<string, string> {
  const at = text.indexOf('=');
  if (at <= 0) throw new InvalidArgumentError('It must be KEY=VALUE.');
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

/** Collects the values of a flag that may be repeated. */
export const several = (text: string, before: readonly string[] = []): string[] => [...before, text];
