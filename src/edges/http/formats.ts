import type { DescMessage } from '@bufbuild/protobuf';
import { type Encoded } from '../../api/call/message.js';
import type { Json } from './json.js';

/** How the messages of an exchange are written. */
export interface Format {
  readonly name: 'json' | 'proto';
  /** The bytes of a request. Throws MALFORMED_REQUEST. */
  read(type: DescMessage, body: Uint8Array): Uint8Array;
  /** A response in this format. */
  write(type: DescMessage, message: Encoded): Encoded;
}

/** Both formats, by name. */
export type Formats = Readonly<Record<Format['name'], Format>>;

/** Binary messages pass as they are: the API encodes and decodes them. */
const PROTO: Format = { name: 'proto', read: (_, body) => body, write: (_, message) => message };

/** Makes the formats. */
export function formatsOf(json: Json): Formats {
  return {
    proto: PROTO,
    json: {
      name: 'json',
      read: (type, body) => json.bytesOfText(type, body),
      write: (type, message) => json.textOf(type, message),
    },
  };
}
