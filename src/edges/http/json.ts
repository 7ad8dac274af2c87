import {
  createFileRegistry,
  type DescMessage,
  type DescMethod,
  type FileRegistry,
  fromBinary,
  fromJson,
  type JsonObject,
  type JsonValue,
  toBinary,
  toJson,
} from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { type Encoded, Pieces } from '../../api/call/message.js';
import { decodeUtf8 } from '../../base/utf8.js';
import { invalidRequest, RollcallError } from '../../model/errors.js';
import { faultsOf } from './json-faults.js';

/** The types of a method's messages. */
export type MessageTypes = Pick<DescMethod, 'input' | 'output'>;

/**
 * Turns messages into the JSON of protobuf and back, by the image of all protos. The API knows bytes only, so that every
 * protocol shares its decoders and what it has encoded.
 */
export class Json {
  readonly #registry: FileRegistry;
  readonly #types = new Map<string, MessageTypes>();
  /** The JSON of a shared piece without its braces, for as long as the piece lives. */
  readonly #shared = new WeakMap<Uint8Array, Buffer>();

  constructor(image: Uint8Array) {
    this.#registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, image));
    for (const type of this.#registry) {
      if (type.kind !== 'service') continue;
      for (const method of type.methods) this.#types.set(`/${type.typeName}/${method.name}`, method);
    }
  }

  /** The message types of a method by its path. */
  typesOf(path: string): MessageTypes {
    const types = this.#types.get(path);
    if (!types) throw new Error(`the image has no method ${path}`);
    return types;
  }

  /** The bytes of a message given as the text of JSON. Throws MALFORMED_REQUEST or INVALID_REQUEST. No text at all is an empty message. */
  bytesOfText(type: DescMessage, text: Uint8Array): Uint8Array {
    if (text.length === 0) return NOTHING;
    let value: JsonValue;
    try {
      value = JSON.parse(decodeUtf8(text)) as JsonValue;
    } catch (cause) {
      throw notThisMessage(`the request is not JSON: ${(cause as Error).message}`, cause);
    }
    return this.bytesOf(type, value);
  }

  /** The bytes of a message given as a value of JSON. Throws INVALID_REQUEST with every field that is not of its type. */
  bytesOf(type: DescMessage, value: JsonValue): Uint8Array {
    try {
      return toBinary(type, fromJson(type, value, { registry: this.#registry }));
    } catch (cause) {
      const faults = faultsOf(type, value, this.#registry);
      if (faults.length > 0 && faults[0]!.field !== '') throw invalidRequest(faults);
      throw notThisMessage(`the request is not a ${type.name}: ${(cause as Error).message}`, cause);
    }
  }

  /** A message as a value of JSON. */
  valueOf(type: DescMessage, bytes: Uint8Array): JsonObject {
    return toJson(type, fromBinary(type, bytes), { registry: this.#registry }) as JsonObject;
  }

  /** A message as the text of JSON. A piece that many calls share is turned into text once. */
  textOf(type: DescMessage, message: Encoded): Buffer {
    if (message instanceof Pieces) return this.joined(type, message.shared, this.valueOf(type, message.own));
    return Buffer.from(JSON.stringify(this.valueOf(type, message)));
  }

  /** The text of a message in pieces, of which the own one is given as a value. */
  joined(type: DescMessage, shared: Uint8Array, own: JsonObject): Buffer {
    const first = this.#fieldsOf(type, shared);
    const second = Buffer.from(JSON.stringify(own).slice(1, -1));
    return Buffer.concat([OPEN, first, ...(first.length > 0 && second.length > 0 ? [COMMA] : []), second, CLOSE]);
  }

  /** The value of a google.protobuf.Any as JSON, `undefined` if its type is not in the image. */
  detail(typeName: string, bytes: Uint8Array): JsonObject | undefined {
    const type = this.#registry.getMessage(typeName);
    return type && this.valueOf(type, bytes);
  }

  #fieldsOf(type: DescMessage, shared: Uint8Array): Buffer {
    let fields = this.#shared.get(shared);
    if (!fields) {
      fields = Buffer.from(JSON.stringify(this.valueOf(type, shared)).slice(1, -1));
      this.#shared.set(shared, fields);
    }
    return fields;
  }
}

function notThisMessage(text: string, cause: unknown): RollcallError {
  return new RollcallError('MALFORMED_REQUEST', text, { cause });
}

const NOTHING = new Uint8Array(0);
const OPEN = Buffer.from('{');
const COMMA = Buffer.from(',');
const CLOSE = Buffer.from('}');
