import { readFileSync, statSync } from 'node:fs';
import { FaultAt, Lines } from '../base/places.js';
import { beginningIn, parseOnlyDocument, type YamlNode } from '../base/yaml-nodes.js';
import { didYouMean } from '../base/near.js';
import type { Given, Source, Table } from './row.js';

/** A settings file of this size is something else. */
const FILE_BYTES_MAX = 256 * 1_024;
/** No value of a setting is nested; a bound for the parser. */
const DEPTH_MAX = 20;

/** The setting that names the file. It cannot be in it. */
const ITSELF = 'settings';

/**
 * Settings from a file in YAML: a map of names, as the flags have them without dashes. A list is the same as its items with
 * commas between them, and a setting without a value is unset. Places are "FILE:LINE:COLUMN".
 */
export function settingsFile(table: Table, { text: path, place }: Given): Source {
  const read = textOf(path);
  if ('rule' in read) return { name: 'file', find: () => undefined, errors: [`${place}: ${read.rule}`], warnings: [] };
  const content = new FileContent(table, path, read.text);
  return { name: 'file', find: (name) => content.given.get(name), errors: content.errors, warnings: [] };
}

function textOf(path: string): { readonly text: string } | { readonly rule: string } {
  try {
    if (statSync(path).size > FILE_BYTES_MAX)
      return { rule: `must be a file of at most ${FILE_BYTES_MAX} bytes, but is ${JSON.stringify(path)}` };
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path)) };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    const reason = code === 'ERR_ENCODING_INVALID_ENCODED_DATA' ? 'it is not UTF-8' : code;
    return { rule: `must be a file that can be read (${reason}), but is ${JSON.stringify(path)}` };
  }
}

/** The settings of a file, and what is wrong with them. */
class FileContent {
  readonly given = new Map<string, Given>();
  readonly errors: string[] = [];
  readonly #text: string;
  readonly #lines: Lines;

  constructor(
    private readonly table: Table,
    private readonly path: string,
    text: string,
  ) {
    this.#text = text;
    this.#lines = new Lines(text);
    try {
      this.#readRoot(parseOnlyDocument(text, DEPTH_MAX));
    } catch (error) {
      if (!(error instanceof FaultAt)) throw error;
      this.#refuse(error.offset, error.message);
    }
  }

  #readRoot(root: YamlNode | undefined): void {
    if (!root || root.kind === 'empty' || (root.kind === 'scalar' && isNull(root))) return;
    if (root.kind !== 'map')
      return this.#refuse(this.#beginning(root), 'must be a map of settings, such as "grpc-port: 7400"');
    for (let i = 0; i < root.children.length; i += 2) {
      const key = root.children[i];
      if (key?.kind === 'scalar') this.#readSetting(key, root.children[i + 1] ?? undefined);
      else this.#refuse(key ? this.#beginning(key) : this.#beginning(root), 'the name of a setting must be a text');
    }
  }

  #readSetting(key: YamlNode, value: YamlNode | undefined): void {
    const { value: name } = key;
    const at = this.#beginning(key);
    if (name === ITSELF) return this.#refuse(at, 'a settings file cannot name another one');
    if (!Object.hasOwn(this.table, name))
      return this.#refuse(at, `${JSON.stringify(name)} is not a setting${didYouMean(name, Object.keys(this.table))}`);
    if (this.given.has(name)) return this.#refuse(at, `${name} is set twice`);
    const text = textIn(value);
    if (text === undefined)
      return this.#refuse(
        value ? this.#beginning(value) : at,
        `${name} must be a text, a number, a switch or a list of them`,
      );
    this.given.set(name, { text, place: this.#place(value && value.kind !== 'empty' ? this.#beginning(value) : at) });
  }

  #beginning(node: YamlNode): number {
    return beginningIn(this.#text, node);
  }

  #place(offset: number): string {
    const { line, column } = this.#lines.place(offset);
    return `${this.path}:${line}:${column}`;
  }

  #refuse(offset: number, rule: string): void {
    this.errors.push(`${this.#place(offset)}: ${rule}`);
  }
}

/** The text of a value; `undefined` if it is none that a flag could have. */
function textIn(node: YamlNode | undefined): string | undefined {
  if (!node || node.kind === 'empty') return '';
  if (node.kind === 'scalar') return isNull(node) ? '' : node.value;
  if (node.kind !== 'list') return undefined;
  const items = node.children.map((item) => (item?.kind === 'scalar' ? item.value : undefined));
  return items.every((item) => item !== undefined) ? items.join(',') : undefined;
}

/** A plain "null" or "~" means that there is no value. */
const isNull = ({ tag, value }: YamlNode): boolean => tag === '?' && /^(?:~|null)$/i.test(value);
