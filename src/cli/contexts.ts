import { chmodSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { CommandFailed, Exit } from './exits.js';
import { makeFolder } from './make-folder.js';

/** The settings of a client that a context can have. They name files and hold no secret. */
export const CONTEXT_KEYS = [
  'server',
  'tls',
  'ca',
  'cert',
  'key',
  'server-name',
  'token-file',
  'token-command',
  'namespace',
] as const;
export type ContextKey = (typeof CONTEXT_KEYS)[number];

/** A named place to call. */
export type Context = Readonly<Partial<Record<ContextKey, string>>>;

/** All contexts, and the one that is used. */
export interface Contexts {
  readonly current: string;
  readonly contexts: Readonly<Record<string, Context>>;
}

/** The file of the contexts: it is read and written by its user alone. */
export function contextsFile(env: NodeJS.ProcessEnv = process.env): string {
  const own = env['ROLLCALL_CONTEXTS'];
  return own || join(env['XDG_CONFIG_HOME'] || join(home(), '.config'), 'rollcall', 'contexts.json');
}

/** The home of the user. A user whom the machine does not know, as in a container, has "/", as with container engines. */
function home(): string {
  try {
    return homedir();
  } catch {
    return '/';
  }
}

/** The attribute under which the parser of the command line keeps the flag of a key, such as "tokenFile". */
export const attributeOf = (key: string): string => key.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());

/** A context by its name. Throws CommandFailed. */
export function contextNamed(contexts: Contexts['contexts'], name: string): Context {
  const found = contexts[name];
  if (found) return found;
  const known = Object.keys(contexts).join(', ') || 'there are none';
  throw new CommandFailed(`there is no context ${JSON.stringify(name)}; contexts: ${known}`, Exit.USAGE);
}

/** Reads the contexts. A file that does not exist has none. */
export function readContexts(path = contextsFile()): Contexts {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { current: '', contexts: {} };
    throw new CommandFailed(`${path} cannot be read: ${(error as Error).message}`, Exit.USAGE);
  }
  try {
    return checked(JSON.parse(text));
  } catch (error) {
    throw new CommandFailed(`${path} is no file of contexts: ${(error as Error).message}`, Exit.USAGE);
  }
}

/** Writes the contexts beside the file, and puts them in its place. */
export function writeContexts(contexts: Contexts, path = contextsFile()): void {
  makeFolder(dirname(path), 0o700);
  const beside = `${path}.${process.pid}`;
  writeFileSync(beside, `${JSON.stringify(contexts, undefined, 2)}\n`, { mode: 0o600 });
  chmodSync(beside, 0o600);
  renameSync(beside, path);
}

function checked(value: unknown): Contexts {
  const { current, contexts } = value as Partial<Contexts>;
  if (typeof current !== 'string' || typeof contexts !== 'object') throw new Error('it needs "current" and "contexts"');
  for (const [name, context] of Object.entries(contexts))
    for (const [key, given] of Object.entries(context))
      if (!CONTEXT_KEYS.includes(key as ContextKey) || typeof given !== 'string')
        throw new Error(`"${name}" has ${JSON.stringify(key)}, which is not known or not a text`);
  return { current, contexts };
}
