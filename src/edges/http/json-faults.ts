import {
  type DescField,
  type DescMessage,
  type FileRegistry,
  fromJson,
  type JsonValue,
  ScalarType,
} from '@bufbuild/protobuf';
import type { Violation } from '../../model/errors.js';

/** Messages that are one value in JSON, each with an example. */
export const VALUE_MESSAGES: ReadonlyMap<string, string> = new Map([
  ['google.protobuf.Duration', 'a duration such as "60s" or "1.5s"'],
  ['google.protobuf.Timestamp', 'a time such as "2026-01-31T12:00:00Z"'],
]);

const SCALARS: Readonly<Partial<Record<ScalarType, string>>> = {
  [ScalarType.STRING]: 'a text',
  [ScalarType.BYTES]: 'base64',
  [ScalarType.BOOL]: 'true or false',
  [ScalarType.INT32]: 'a whole number of 32 bits',
  [ScalarType.INT64]: 'a whole number of 64 bits',
  [ScalarType.DOUBLE]: 'a number',
};

/** Faults beyond this number are not looked for: each costs a try to read the field. */
const FAULTS_MAX = 20;
/** Tries to read a field. A value of 2 MiB can have a million. */
const TRIES_MAX = 200;

/** The state of one search. */
interface Search {
  readonly registry: FileRegistry;
  readonly faults: Violation[];
  tries: number;
}

/**
 * Finds out which fields of a JSON value are not of their type, up to a bound. The reader of the library stops at the first
 * one, and names its type rather than the field.
 */
export function faultsOf(type: DescMessage, value: JsonValue, registry: FileRegistry): Violation[] {
  const search: Search = { registry, faults: [], tries: 0 };
  findIn(search, type, value, '');
  return search.faults;
}

const isOver = ({ faults, tries }: Search): boolean => faults.length >= FAULTS_MAX || tries >= TRIES_MAX;

function findIn(search: Search, type: DescMessage, value: JsonValue, path: string): void {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    search.faults.push({ field: path, description: 'must be an object' });
    return;
  }
  for (const key in value) {
    if (isOver(search)) return;
    const field = type.fields.find(({ name, jsonName }) => name === key || jsonName === key);
    const name = cut(path === '' ? (field?.name ?? key) : `${path}.${field?.name ?? key}`);
    if (!field) search.faults.push({ field: name, description: `is not a field of ${type.name}` });
    else if (!isReadable(search, type, { [key]: value[key]! })) findInField(search, field, value[key]!, name);
  }
  for (const { fields } of type.oneofs) {
    // To the reader of the library, null sets a message.
    const isSet = ({ name, jsonName, message }: DescField): boolean => {
      const given = value[jsonName] ?? value[name];
      return given !== undefined && (given !== null || message !== undefined);
    };
    const [first, second] = fields.filter(isSet);
    if (second && !isOver(search))
      search.faults.push({
        field: cut(path === '' ? second.name : `${path}.${second.name}`),
        description: `must not be set beside ${first!.name}`,
      });
  }
}

/** Returns true if a value can be read as a message. */
function isReadable(search: Search, type: DescMessage, value: JsonValue): boolean {
  search.tries++;
  try {
    fromJson(type, value, { registry: search.registry });
    return true;
  } catch {
    return false;
  }
}

function findInField(search: Search, field: DescField, value: JsonValue, path: string): void {
  const { message, fieldKind } = field;
  const wanted = { field: path, description: `must be ${expected(field)}` };
  if (fieldKind === 'map' || !message || VALUE_MESSAGES.has(message.typeName)) search.faults.push(wanted);
  else if (fieldKind !== 'list') findIn(search, message, value, path);
  else if (!Array.isArray(value)) search.faults.push(wanted);
  else {
    for (let i = 0; i < value.length && !isOver(search); i++)
      if (!isReadable(search, message, value[i]!)) findIn(search, message, value[i]!, `${path}[${i}]`);
  }
}

/** The characters of a path that are shown: a client can send a key of any length. */
const PATH_CHARS = 200;
const cut = (path: string): string => (path.length > PATH_CHARS ? `${path.slice(0, PATH_CHARS)}...` : path);

/** The values that a field takes, in words. */
function expected(field: DescField): string {
  const { message, enum: words, scalar, fieldKind } = field;
  const one = message
    ? (VALUE_MESSAGES.get(message.typeName) ?? 'an object')
    : words
      ? `one of ${words.values.map(({ name }) => name).join(', ')}`
      : ((scalar && SCALARS[scalar]) ?? 'a value of its type');
  if (fieldKind === 'list') return `a list, each of it ${one}`;
  return fieldKind === 'map' ? `an object, each value of it ${one}` : one;
}
