import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from '../client/connection.js';
import { attributeOf, type Context, contextNamed, CONTEXT_KEYS, type ContextKey, readContexts } from './contexts.js';
import { CommandFailed, Exit } from './exits.js';

/** The server that `npm start` starts. */
const DEFAULT_SERVER = 'localhost:7400';
/** How long the command that prints a token may take. */
const TOKEN_COMMAND_MAX_MS = 10_000;
/** A token is asked for again after this, because it may have ended. */
const TOKEN_KEPT_MS = 60_000;

/** The flags of every command that calls a server, by the name of the key that they give. */
export const REACH_FLAGS: readonly (readonly [flags: string, help: string])[] = [
  ['-s, --server <addresses>', `HOST:PORT of the servers, separated by commas (default: ${DEFAULT_SERVER})`],
  ['--tls', 'use TLS, also without --ca: the authorities of the system then verify the server'],
  ['--ca <file>', 'authorities (PEM) that verify the server; implies --tls'],
  ['--cert <file>', 'certificate (PEM) to show; needs --key'],
  ['--key <file>', 'private key (PEM) of --cert'],
  ['--server-name <name>', 'name in the certificate of the server, if it is not the host that is called'],
  ['--token-file <file>', 'file with the token to show'],
  ['--token-command <command>', 'command that prints the token to show'],
  ['--context <name>', 'context to use; see "rollcall context"'],
];

/** The variable of a key, such as ROLLCALL_CLI_SERVER: the settings of a server have other names. */
export const variableOf = (key: ContextKey | 'context'): string =>
  `ROLLCALL_CLI_${key.toUpperCase().replace(/-/g, '_')}`;

/** Each key as a flag gives it, else its variable, else the context in use. */
export function contextOf(flags: Readonly<Record<string, unknown>>, env: NodeJS.ProcessEnv = process.env): Context {
  const flag = (key: string): string | undefined => {
    const given = flags[attributeOf(key)];
    return typeof given === 'string' || typeof given === 'boolean' ? String(given) : undefined;
  };
  const { current, contexts } = readContexts();
  const name = flag('context') || env[variableOf('context')] || current;
  const context = name === '' ? {} : contextNamed(contexts, name);
  const own = CONTEXT_KEYS.map((key) => [key, flag(key) || env[variableOf(key)]] as const).filter(([, value]) => value);
  const given: Context = Object.fromEntries(own);
  // Of the two ways to give a token, the nearer one counts.
  const { 'token-file': file, 'token-command': command, ...rest } = context;
  const hasToken = given['token-file'] !== undefined || given['token-command'] !== undefined;
  const kept = {
    ...(file !== undefined && { 'token-file': file }),
    ...(command !== undefined && { 'token-command': command }),
  };
  return { ...rest, ...(!hasToken && kept), ...given };
}

/** How the servers of a context are reached. Throws CommandFailed for files that cannot be read. */
export function reachOf(context: Context): ConnectionOptions {
  const { server = DEFAULT_SERVER, ca, cert, key, tls } = context;
  if ((cert === undefined) !== (key === undefined))
    throw new CommandFailed('--cert and --key are needed together', Exit.USAGE);
  const addresses = server.split(',').map((address) => address.trim());
  for (const address of addresses)
    if (!/^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}$/.test(address))
      throw new CommandFailed(`--server: ${JSON.stringify(address)} must be HOST:PORT`, Exit.USAGE);
    else if (Number(/\d+$/.exec(address)![0]) > 65_535)
      throw new CommandFailed(`--server: the port of ${JSON.stringify(address)} must be 1 to 65535`, Exit.USAGE);
  const isTls = ca !== undefined || cert !== undefined || tls === 'true';
  return {
    addresses,
    tls: isTls
      ? {
          ca: ca === undefined ? undefined : file('--ca', ca),
          cert: cert === undefined ? undefined : file('--cert', cert),
          key: key === undefined ? undefined : file('--key', key),
          serverName: context['server-name'],
        }
      : undefined,
    token: tokenOf(context),
  };
}

function file(flag: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new CommandFailed(`${flag}: ${path} cannot be read (${(error as NodeJS.ErrnoException).code})`, Exit.USAGE);
  }
}

/** Reads the token, and reads it again while a command runs for long: it may be renewed. */
function tokenOf(context: Context): (() => string) | undefined {
  const { 'token-file': path, 'token-command': command } = context;
  if (path !== undefined && command !== undefined)
    throw new CommandFailed('--token-file and --token-command cannot be given together', Exit.USAGE);
  if (path === undefined && command === undefined) return undefined;
  const read = (): string =>
    (path !== undefined ? file('--token-file', path).toString('utf8') : outputOf(command!)).trim();
  let kept: { readonly token: string; readonly atMs: number } | undefined;
  return () => {
    if (!kept || performance.now() - kept.atMs > TOKEN_KEPT_MS) kept = { token: read(), atMs: performance.now() };
    return kept.token;
  };
}

function outputOf(command: string): string {
  try {
    return execFileSync('/bin/sh', ['-c', command], {
      encoding: 'utf8',
      timeout: TOKEN_COMMAND_MAX_MS,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  } catch (error) {
    throw new CommandFailed(`--token-command failed: ${(error as Error).message}`, Exit.USAGE);
  }
}
