import { CommandFailed, Exit } from '../../exits.js';
import { filesOf } from './archive.js';
import type { Conversion, ConvertOptions, Found } from './found.js';

/** A namespace of an application: OWNER/APP/ENVIRONMENT/APP+CLUSTER+NAMESPACE, as the portal of Apollo exports it. */
const NAMESPACE_FILE = /^(?:[^/]+\/)?[^/]+\/([^/]+)\/([^/+]+)\+([^/+]+)\+([^/+]+)$/;
/** A namespace as the application defines it: APP+NAMESPACE.appnamespace.metadata. */
const DEFINITION_FILE = /(?:^|\/)[^/]+\.appnamespace\.metadata$/;
const METADATA_FILE = /\.metadata$/;
const DEFAULT_CLUSTER = 'default';
/** The key of the only item of a namespace that is one file. */
const WHOLE = 'content';

/** An item of a namespace. One without a key is a comment or an empty line. */
interface Item {
  readonly key: string;
  readonly value?: string;
  readonly comment?: string;
  readonly lineNum: number;
}

/** A namespace as its application defines it. A public one is read by other applications too. */
interface Definition {
  readonly name: string;
  readonly appId: string;
  readonly isPublic: boolean;
}

/** Reads the archive that the portal of Apollo exports, of one environment: each namespace of an application becomes a config. */
export function fromApollo(archive: string, { environment }: ConvertOptions): Conversion {
  const files = filesOf(archive);
  const found: Found[] = [];
  const report: string[] = [];
  const publicOnes = publicNamespaces(files);
  const environments = new Set<string>();
  for (const [path, content] of files) {
    if (METADATA_FILE.test(path)) continue;
    const [, of = '', app = '', cluster = '', file = ''] = NAMESPACE_FILE.exec(path) ?? [];
    if (of === '') {
      report.push(`${path}: is no namespace of an application; left out`);
      continue;
    }
    environments.add(of);
    if (environment !== undefined && of !== environment) continue;
    const group = cluster === DEFAULT_CLUSTER ? app : `${app}.${cluster}`;
    if (group !== app)
      report.push(`${path}: its cluster ${cluster} is the group ${group}; programs read it before ${app}`);
    const owner = publicOnes.get(file.replace(/\.properties$/, ''));
    if (owner !== undefined && owner !== app)
      report.push(
        `${group}/${file}: is associated with that of ${owner}; programs read ${owner}/${file} first, then this one`,
      );
    const text = textOf(file, content.toString());
    if (text === '') report.push(`${group}/${file}: it is empty`);
    found.push({ group, key: file, content: Buffer.from(text) });
  }
  if (environment === undefined && environments.size > 1)
    throw new CommandFailed(
      `${archive}: has configs of several environments (${[...environments].sort().join(', ')}); choose one with --environment`,
      Exit.USAGE,
    );
  if (environment !== undefined && !environments.has(environment))
    throw new CommandFailed(
      `${archive}: has no environment ${environment}, but ${[...environments].sort().join(', ') || 'none at all'}`,
      Exit.USAGE,
    );
  report.push(
    'an export has the items as they were edited, released or not; gray releases, histories and rights are in none',
  );
  return { found, report };
}

/** The application that defines each public namespace. */
function publicNamespaces(files: ReadonlyMap<string, Buffer>): ReadonlyMap<string, string> {
  const owners = new Map<string, string>();
  for (const [path, content] of files) {
    if (!DEFINITION_FILE.test(path)) continue;
    const { name, appId, isPublic } = parsed(content.toString()) as Partial<Definition>;
    if (isPublic && name !== undefined && appId !== undefined) owners.set(name, appId);
  }
  return owners;
}

/** The text of a namespace. Newer portals write its items as JSON, older ones the text itself. */
function textOf(file: string, text: string): string {
  const items = parsed(text);
  const isItem = (one: unknown): one is Item =>
    typeof (one as Item | null)?.key === 'string' && typeof (one as Item).lineNum === 'number';
  const isProperties = file.endsWith('.properties');
  if (!Array.isArray(items) || !items.every(isItem) || (items.length === 0 && !isProperties)) return text;
  if (!isProperties) return items.find(({ key }) => key === WHOLE)?.value ?? '';
  const inOrder = [...items].sort((a, b) => a.lineNum - b.lineNum);
  return inOrder.map((item) => `${linesOf(item)}\n`).join('');
}

function linesOf({ key, value = '', comment = '' }: Item): string {
  const remark = comment === '' ? '' : comment.replace(/^(?!\s*[#!])/gm, '# ');
  if (key === '') return remark;
  const entry = `${escaped(key, /[\s:=#!\\]/g)} = ${escaped(value, /\\|^ |[\n\r\t\f]/g)}`;
  return remark === '' ? entry : `${remark}\n${entry}`;
}

/** Escapes what readers of properties would take for something else. */
function escaped(text: string, special: RegExp): string {
  const names: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\f': '\\f' };
  return text.replace(special, (one) => names[one] ?? `\\${one}`);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}
