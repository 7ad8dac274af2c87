import type { YamlNode } from '../../../base/yaml-nodes.js';

const YAML = 'tag:yaml.org,2002:';

/** The texts that YAML 1.1 takes for null, a boolean, a number or a date if they have no quotes. */
const NOT_A_STRING = new RegExp(
  `^(?:${[
    '|~|null|Null|NULL',
    'yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF',
    '[-+]?(?:0b[01_]+|0x[\\da-fA-F_]+|\\d[\\d_]*(?::[0-5]?\\d)*)',
    '[-+]?(?:\\d[\\d_]*(?::[0-5]?\\d)*\\.[\\d_]*(?:[eE][-+]\\d+)?|\\.[\\d_]+(?:[eE][-+]\\d+)?|\\.(?:inf|Inf|INF))',
    '\\.(?:nan|NaN|NAN)',
    '\\d{4}-\\d\\d?-\\d\\d?(?:[Tt \\t][\\d:.+\\-Z \\t]*)?',
  ].join('|')})$`,
);

/** Returns true if a node is text: it has quotes, is a block, has the tag !!str, or looks like nothing else. */
export function isString(node: YamlNode): boolean {
  if (node.tag === '?') return !NOT_A_STRING.test(node.value);
  return node.tag === undefined || node.tag === '!' || node.tag === `${YAML}str`;
}

// Both without the "_" that may be between the digits.
const INTEGER = /^[-+]?(?:0b[01]+|0x[\da-f]+|0o?[0-7]*|[1-9]\d*(?::[0-5]?\d)*)$/i;
const FLOAT = /^\s*[-+]?(?:(?:\d+(?::[0-5]?\d)*(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?|\.?inf|infinity|\.?nan)\s*$/i;
const BOOLEAN = /^(?:yes|no|true|false|on|off)$/i;
const TIMESTAMP =
  /^(\d{4})-(\d\d?)-(\d\d?)(?:(?:[Tt]|[ \t]+)(\d\d?):(\d\d):(\d\d)(?:\.\d*)?(?:[ \t]*(?:Z|[-+]\d\d?(?::?\d\d)?))?)?$/;
const BASE64 = /^(?:[A-Za-z\d+/]{4})*(?:[A-Za-z\d+/]{2}==|[A-Za-z\d+/]{3}=)?$/;

const SCALARS: Readonly<Record<string, (text: string) => boolean>> = {
  str: () => true,
  null: () => true,
  int: (text) => INTEGER.test(text.replaceAll('_', '')),
  float: (text) => FLOAT.test(text.replaceAll('_', '')),
  bool: (text) => BOOLEAN.test(text),
  timestamp: isTimestamp,
  binary: (text) => BASE64.test(text.replace(/\s/g, '')),
};

function isTimestamp(text: string): boolean {
  const match = TIMESTAMP.exec(text);
  if (!match) return false;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match
    .slice(1)
    .map((part) => Number(part ?? 0));
  const date = new Date(Date.UTC(2000, month - 1, day));
  date.setUTCFullYear(year, month - 1, day);
  return date.getUTCMonth() === month - 1 && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60;
}

const COLLECTIONS: Readonly<Record<string, YamlNode['kind']>> = {
  map: 'map',
  set: 'map',
  seq: 'list',
  omap: 'list',
  pairs: 'list',
};

/** A list of maps of one key each, in which a key may be used again. */
export function isListOfPairs(node: YamlNode): boolean {
  return node.tag === `${YAML}omap` || node.tag === `${YAML}pairs`;
}

/** The key that takes over the entries of another map: `<<`. */
export function isMergeKey(node: YamlNode): boolean {
  return node.kind === 'scalar' && (node.tag === `${YAML}merge` || (node.tag === '?' && node.value === '<<'));
}

/** The reason why the tag does not fit the node. `undefined` if it fits, or if there is none. */
export function findTagFault(node: YamlNode): string | undefined {
  const { tag, kind } = node;
  if (tag === undefined || tag === '?' || tag === '!') return undefined;
  const name = tag.startsWith(YAML) ? tag.slice(YAML.length) : '';
  if (Object.hasOwn(SCALARS, name)) {
    if (kind !== 'scalar' && kind !== 'empty') return `!!${name} needs a single value`;
    return SCALARS[name]!(node.value) ? undefined : `the value is no !!${name}`;
  }
  if (!Object.hasOwn(COLLECTIONS, name)) return 'most readers do not know this tag';
  if (COLLECTIONS[name] !== kind) return `!!${name} needs a ${COLLECTIONS[name]}`;
  const isPair = (item: YamlNode | null): boolean => item?.kind === 'map' && item.children.length === 2;
  if (isListOfPairs(node) && !node.children.every(isPair)) return `!!${name} needs a list of maps with one key each`;
  return undefined;
}
