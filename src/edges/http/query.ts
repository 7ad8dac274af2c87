import { type DescField, type DescMessage, type JsonObject, type JsonValue, ScalarType } from '@bufbuild/protobuf';
import { invalidRequest, type Violation } from '../../model/errors.js';
import { VALUE_MESSAGES } from './json-faults.js';

/** Where a parameter puts its value: the object that holds the field. */
type Holder = Record<string, JsonValue>;

/**
 * The JSON of a message whose fields are the parameters of a URL: `service=pay&filter.tags=blue&filter.tags=v2`. Names are
 * those of the proto or of JSON, joined by dots; what follows the name of a map is the key. A repeated scalar takes one
 * element from each parameter; a repeated message has one element. Throws INVALID_REQUEST, which names every parameter
 * that is no field.
 */
export function jsonOfQuery(type: DescMessage, query: URLSearchParams, given: JsonObject = {}): JsonObject {
  const json: Holder = { ...given };
  const violations: Violation[] = [];
  for (const [name, value] of query) {
    const description = place(type, name.split('.'), value, json);
    if (description !== undefined) violations.push({ field: name, description });
  }
  if (violations.length > 0) throw invalidRequest(violations);
  return json;
}

/** Puts a value where its name says. Returns the rule that it breaks, if it does. */
function place(type: DescMessage, [head, ...rest]: readonly string[], value: string, into: Holder): string | undefined {
  const field = type.fields.find(({ name, jsonName }) => name === head || jsonName === head);
  if (!field) return `is not a field of ${type.name}`;
  const key = field.jsonName;
  if (field.fieldKind === 'map') {
    if (rest.length === 0) return `needs the key, such as ${field.name}.zone`;
    const entries = (into[key] ??= Object.create(null) as JsonObject) as Holder;
    const name = rest.join('.');
    if (Object.hasOwn(entries, name)) return 'is given twice';
    entries[name] = value;
    return undefined;
  }
  const message = field.message;
  if (message && !VALUE_MESSAGES.has(message.typeName)) {
    if (rest.length === 0) return `is a message: give its fields, such as ${field.name}.${message.fields[0]?.name}`;
    const list = field.fieldKind === 'list';
    const holder = (into[key] ??= list ? [{}] : {});
    return place(message, rest, value, (list ? (holder as JsonValue[])[0] : holder) as Holder);
  }
  if (rest.length > 0) return 'has no fields of its own';
  const scalar = valueOf(field, value);
  if (scalar === undefined) return 'must be true or false';
  if (field.fieldKind === 'list') ((into[key] ??= []) as JsonValue[]).push(scalar);
  else if (key in into) return 'is given twice';
  else into[key] = scalar;
  return undefined;
}

/**
 * A text as the JSON of a scalar. Numbers may be texts in the JSON of protobuf. A switch without a value is on. The word of
 * an enum may be short: "yaml" for CONFIG_FORMAT_YAML.
 */
function valueOf(field: DescField, text: string): JsonValue | undefined {
  if (field.scalar === ScalarType.BOOL) return SWITCH.get(text);
  const { values = [], sharedPrefix = '' } = field.enum ?? {};
  const long = `${sharedPrefix}${text}`.toUpperCase();
  return values.some(({ name }) => name === long) ? long : text;
}

const SWITCH: ReadonlyMap<string, boolean> = new Map([
  ['', true],
  ['true', true],
  ['false', false],
]);
