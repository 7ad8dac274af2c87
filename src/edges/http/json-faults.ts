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

/**
 * Finds out which fields of a JSON value are not of their type. The reader of the library stops at the first one, and names
 * its type rather than the field.
 */
export function faultsOf(type: DescMessage, value: JsonValue, registry: FileRegistry, path = ''): Violation[] {
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    return [{ field: path, description: 'must be an object' }];
  return Object.entries(value).flatMap(([key, one]) => {
    const field = type.fields.find(({ name, jsonName }) => name === key || jsonName === key);
    const name = path === '' ? (field?.name ?? key) : `${path}.${field?.name ?? key}`;
    if (!field) return [{ field: name, description: `is not a field of ${type.name}` }];
    return isTaken(type, key, one, registry) ? [] : faultsOfField(field, one, registry, name);
  });
}

function isTaken(type: DescMessage, key: string, value: JsonValue, registry: FileRegistry): boolean {
  try {
    fromJson(type, { [key]: value }, { registry });
    return true;
  } catch {
    return false;
  }
}

function faultsOfField(field: DescField, value: JsonValue, registry: FileRegistry, path: string): Violation[] {
  const { message, fieldKind } = field;
  const wanted = [{ field: path, description: `must be ${expected(field)}` }];
  if (fieldKind === 'map' || !message || VALUE_MESSAGES.has(message.typeName)) return wanted;
  if (fieldKind !== 'list') return faultsOf(message, value, registry, path);
  if (!Array.isArray(value)) return wanted;
  return value.flatMap((one, i) => faultsOf(message, one, registry, `${path}[${i}]`));
}

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
