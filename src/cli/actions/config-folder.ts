import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { dump, load } from 'js-yaml';
import { ConfigFormat } from '../../gen/rollcall/v1/config.js';
import { formatName, inferFormat } from '../../model/config-format.js';
import { formatNamed } from '../contents.js';
import { CommandFailed, Exit } from '../exits.js';

/** The file of a group that says what its files cannot. */
export const CONTROL_FILE = '.rollcall.yaml';
/** The longest name of a file on common systems. */
const FILE_NAME_BYTES = 255;

/** A fact about a config that its file does not say. */
export interface ConfigFacts {
  /** The key, if the path of the file is another one. */
  readonly key?: string;
  /** The format, if the key does not say it. */
  readonly format?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** A config as files have it. */
export interface FileConfig extends ConfigFacts {
  readonly group: string;
  readonly key: string;
  readonly content: Buffer;
}

/** The keys that are the folder of another key, and other folders above keys. */
export function foldersOf(keys: Iterable<string>): ReadonlySet<string> {
  const folders = new Set<string>();
  for (const key of keys)
    for (let at = key.indexOf('/'); at >= 0; at = key.indexOf('/', at + 1)) folders.add(key.slice(0, at));
  return folders;
}

/** Why a key cannot be the path of a file among others that have some folders; `undefined` if it can. */
export function faultOfKey(key: string, folders: ReadonlySet<string>): string | undefined {
  const segments = key.split('/');
  if (segments.some((segment) => Buffer.byteLength(segment) > FILE_NAME_BYTES))
    return `a part of it is longer than ${FILE_NAME_BYTES} bytes`;
  if (segments.some((segment) => segment === '' || segment === '.' || segment === '..'))
    return 'a part of it is empty, "." or ".."';
  if (segments.some((segment) => segment === CONTROL_FILE || segment.startsWith('..')))
    return 'it is the name of a file that the command line uses';
  if (folders.has(key)) return 'it is the folder of another key';
  return undefined;
}

/** A name of a file for a key that cannot be one. */
export const escaped = (key: string): string =>
  `%${Buffer.from(key).toString('hex').slice(0, 120)}-${fingerprint(key)}`;

/** A short number that differs for keys whose escaped names would be cut to the same text. */
function fingerprint(text: string): string {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash.toString(16).padStart(8, '0');
}

/** The name of a format that the key does not say by itself; `undefined` if it does. */
export function formatToNote(key: string, format: ConfigFormat): string | undefined {
  return inferFormat(key, false) === format ? undefined : formatName(format);
}

/** The number of a format that a control file names. Throws CommandFailed. */
export function formatIn(name: string | undefined, place: string): ConfigFormat {
  if (name === undefined) return ConfigFormat.CONFIG_FORMAT_UNSPECIFIED;
  const found = formatNamed(name);
  if (found === undefined) throw new CommandFailed(`${place}: ${JSON.stringify(name)} is no format`, Exit.USAGE);
  return found;
}

/** Writes the configs of one group below a folder. */
export function writeGroup(folder: string, configs: readonly FileConfig[]): void {
  const folders = foldersOf(configs.map(({ key }) => key));
  const facts: Record<string, ConfigFacts> = {};
  for (const { key, content, format, labels } of configs) {
    const isPath = faultOfKey(key, folders) === undefined;
    const name = isPath ? key : escaped(key);
    const path = join(folder, ...name.split('/'));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content, { flag: 'wx' });
    const noted: ConfigFacts = {
      ...(!isPath && { key }),
      ...(format !== undefined && { format }),
      ...(labels && Object.keys(labels).length > 0 && { labels }),
    };
    if (Object.keys(noted).length > 0) facts[name] = noted;
  }
  if (Object.keys(facts).length > 0)
    writeFileSync(join(folder, CONTROL_FILE), dump({ configs: facts }, { sortKeys: true, lineWidth: -1 }));
}

/** The configs below a folder of groups, and the files that were left out because their names begin with a dot. */
export function readGroups(folder: string): { configs: FileConfig[]; ignored: string[] } {
  const configs: FileConfig[] = [];
  const ignored: string[] = [];
  for (const group of groupsIn(folder)) {
    const of = join(folder, group);
    if (group.startsWith('.') || !lstatSync(of).isDirectory()) {
      ignored.push(group);
      continue;
    }
    const facts = controlOf(of);
    for (const path of filesBelow(of)) {
      const name = relative(of, path).split(sep).join('/');
      if (name === CONTROL_FILE) continue;
      if (name.split('/').some((part) => part.startsWith('.')) || !lstatSync(path).isFile()) {
        ignored.push(`${group}/${name}`);
        continue;
      }
      configs.push({ key: name, ...facts[name], group, content: readFileSync(path) });
    }
  }
  return { configs, ignored };
}

function groupsIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch (error) {
    throw new CommandFailed(
      `${folder}: the folder cannot be read (${(error as NodeJS.ErrnoException).code})`,
      Exit.USAGE,
    );
  }
}

const filesBelow = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => !lstatSync(path).isDirectory())
    .sort();

function controlOf(folder: string): Readonly<Record<string, ConfigFacts>> {
  const path = join(folder, CONTROL_FILE);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
  const value = load(text) as { configs?: Record<string, ConfigFacts> } | null;
  if (value === null || typeof value !== 'object' || typeof value.configs !== 'object')
    throw new CommandFailed(`${path}: must have "configs", with an entry for each file`, Exit.USAGE);
  return value.configs;
}
