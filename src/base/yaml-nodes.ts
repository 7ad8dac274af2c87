import { loadAll, Schema, type State, Type, YAMLException } from 'js-yaml';
import { FaultAt } from './places.js';
import { splitDocuments } from './yaml-documents.js';

/** The state of the parser. The types of the package leave the tag and the anchor out. */
interface ParserState extends State {
  tag: string | null;
  anchor: string | null;
}

type NodeKind = 'scalar' | 'list' | 'map' | 'alias' | 'empty';

const NO_CHILDREN: readonly (YamlNode | null)[] = [];

/** One value of a YAML document with its place, before any tag is applied. */
export class YamlNode {
  /** The items of a list, or keys and values in turn. `null` is a value that the text leaves out. */
  children = NO_CHILDREN;
  /** The number of values in the node, itself included, as the text has them. */
  written = 1;
  /** The same with every alias replaced by its target. */
  expanded = 1;
  /** The list or the map that an alias names. `undefined` for an alias of a scalar. */
  target: YamlNode | undefined = undefined;

  constructor(
    /** The position in the list of the reader's nodes. */
    readonly id: number,
    readonly kind: NodeKind,
    /** The text of a scalar without quotes. */
    readonly value: string,
    /** The parser began to read here; white space, comments, tag and anchor may come before the value. */
    readonly start: number,
    readonly end: number,
    /** The full name of the tag. `?` for a plain scalar and `undefined` for another node without a tag. */
    public tag: string | undefined,
    public anchor: string | undefined,
  ) {}

  // The parser turns keys into texts, with this method if the object has a tag. The text leads back to the node.
  toString(): string {
    return `n${this.id}`;
  }
  get [Symbol.toStringTag](): string {
    return 'YamlNode';
  }
}

const MERGE_TAG = 'tag:yaml.org,2002:merge';

/** Takes every tag: the rules about tags are applied to the nodes. */
const ANY_TAG = new Schema(
  (['scalar', 'sequence', 'mapping'] as const).map((kind) => new Type('', { kind, multi: true })),
);

/**
 * Parses one document. The parser of js-yaml decides about the syntax, and its listener replaces each value by a node, so
 * that keys, values, tags and places are still known afterwards. `undefined` for a text without a document. Throws FaultAt.
 */
export function parseNodes(text: string, depthMax: number): YamlNode | undefined {
  const reader = new NodeReader();
  const options = {
    schema: ANY_TAG,
    maxDepth: depthMax,
    listener: (event: 'open' | 'close', state: State) => reader[event](state as ParserState),
  };
  try {
    loadAll(text, null, options);
  } catch (error) {
    if (!(error instanceof YAMLException)) throw error;
    throw new FaultAt(error.mark.position, error.reason);
  }
  return reader.finish();
}

/** Parses a text that has one document at most; see `parseNodes`. */
export function parseOnlyDocument(text: string, depthMax: number): YamlNode | undefined {
  const [, second] = splitDocuments(text);
  if (second) throw new FaultAt(second.start, 'a second document begins');
  return parseNodes(text, depthMax);
}

/** Builds nodes from the events of the parser. */
class NodeReader {
  readonly #starts: number[] = [];
  readonly #nodes: YamlNode[] = [];
  /** The nodes by the parser's own lists and maps, which aliases repeat. */
  readonly #byValue = new Map<unknown, YamlNode>();
  readonly #aliases: { node: YamlNode; value: unknown }[] = [];
  #last: YamlNode | undefined;

  open(state: ParserState): void {
    this.#starts.push(state.position);
  }

  close(state: ParserState): void {
    const start = this.#starts.pop()!;
    const last = this.#last;
    if (last && state.result === last && last.start >= start) {
      // The parser looked for a map, found a single value, and closes that value again with the tag and anchor before it.
      last.tag = state.tag ?? last.tag;
      last.anchor = state.anchor ?? last.anchor;
    } else {
      state.result = this.#last = this.#read(start, state);
    }
    // The parser must not merge maps: the keys of its maps are the nodes.
    if (state.tag === MERGE_TAG) state.tag = null;
  }

  #read(start: number, state: ParserState): YamlNode {
    const value: unknown = state.result;
    switch (state.kind) {
      case 'scalar':
        return this.#add('scalar', start, state, String(value));
      case 'sequence':
      case 'mapping': {
        const node = this.#add(state.kind === 'sequence' ? 'list' : 'map', start, state);
        fill(node, Array.isArray(value) ? this.#items(value) : this.#entries(value as object));
        this.#byValue.set(value, node);
        return node;
      }
      default: {
        const node = this.#add(value === null ? 'empty' : 'alias', start, state);
        if (value !== null) this.#aliases.push({ node, value });
        // A target that is not complete holds the alias. It counts once.
        node.expanded = this.#byValue.get(value)?.expanded ?? 1;
        return node;
      }
    }
  }

  #add(kind: NodeKind, start: number, { position, tag, anchor }: ParserState, value = ''): YamlNode {
    const id = this.#nodes.length;
    const node = new YamlNode(id, kind, value, start, position, tag ?? undefined, anchor ?? undefined);
    this.#nodes.push(node);
    return node;
  }

  #items(items: unknown[]): (YamlNode | null)[] {
    return items.map((item) => {
      if (item === null || item instanceof YamlNode) return item;
      // "[key: value]" is a list of a map that the parser does not report.
      const children = this.#entries(item as object);
      const { start, end } = children[0] ?? { start: 0, end: 0 };
      const node = new YamlNode(this.#nodes.length, 'map', '', start, children[1]?.end ?? end, undefined, undefined);
      fill(node, children);
      this.#nodes.push(node);
      return node;
    });
  }

  /** Keys and values in turn. */
  #entries(map: object): (YamlNode | null)[] {
    const children: (YamlNode | null)[] = [];
    for (const [id, value] of Object.entries(map)) {
      children.push(this.#nodes[Number(id.slice(1))] ?? null, value as YamlNode | null);
    }
    return children;
  }

  /** The root of the document. */
  finish(): YamlNode | undefined {
    for (const { node, value } of this.#aliases) {
      const target = value instanceof YamlNode ? value : this.#byValue.get(value);
      node.target = target?.kind === 'list' || target?.kind === 'map' ? target : undefined;
    }
    return this.#last;
  }
}

function fill(node: YamlNode, children: readonly (YamlNode | null)[]): void {
  node.children = children;
  for (const child of children) {
    node.written += child?.written ?? 1;
    node.expanded += child?.expanded ?? 1;
  }
}

/** The offset at which a value begins: the parser reads the space before it, too. */
export function beginningIn(text: string, { start, end }: YamlNode): number {
  return start + /^(?:\s|(?<=\s|^)#[^\n]*|---(?=\s))*/.exec(text.slice(start, end))![0].length;
}

/** The node at a path of keys and positions: the key, unless its value is a scalar. As deep as the path exists. */
export function childAt(root: YamlNode, path: readonly PropertyKey[]): YamlNode {
  let node = root;
  let shown = root;
  for (const part of path) {
    const { children, kind } = node.target ?? node;
    const at = kind === 'list' ? Number(part) : children.findIndex((key, i) => i % 2 === 0 && key?.value === part);
    const [key, value] = kind === 'list' ? [null, children[at]] : [children[at], at < 0 ? null : children[at + 1]];
    const next = value ?? key;
    if (!next) break;
    node = next;
    shown = key && value?.kind !== 'scalar' ? key : next;
  }
  return shown;
}
