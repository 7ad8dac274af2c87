import { readFileSync } from 'node:fs';
import {
  type ClientHttp2Session,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import type { TestContext } from 'node:test';
import {
  createFileRegistry,
  type DescEnum,
  type DescField,
  type DescMessage,
  type DescMethod,
  fromBinary,
} from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import type { Client, ServiceError } from '@grpc/grpc-js';
import { detailsOf } from './server.js';

const image = readFileSync(new URL('../../src/gen/image.binpb', import.meta.url));
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, image));

/** Every method the server speaks, as the image describes them. */
export const METHODS: readonly DescMethod[] = [...registry].flatMap((type) =>
  type.kind === 'service' ? type.methods : [],
);

/** The full name of everything that has one, as the protobuf library names it: 46 values of enums among them. */
export function symbolsOfImage(): string[] {
  const values = (type: DescEnum): string[] =>
    type.values.map(({ name }) => [...type.typeName.split('.').slice(0, -1), name].join('.'));
  return [...registry].flatMap((type) => {
    switch (type.kind) {
      case 'message':
        return [type.typeName, ...[...type.fields, ...type.oneofs].map(({ name }) => `${type.typeName}.${name}`)];
      case 'enum':
        return [type.typeName, ...values(type)];
      case 'service':
        return [type.typeName, ...type.methods.map(({ name }) => `${type.typeName}.${name}`)];
      case 'extension':
        return [type.typeName];
    }
  });
}

/** The path of a method in HTTP/2. */
export const pathOf = (method: DescMethod): string => `/${method.parent.typeName}/${method.name}`;

/** The fields that lead from a request to one somewhere in it, itself last. */
export type Place = readonly DescField[];

/** Every place in a message. */
export function placesIn(message: DescMessage, before: Place = []): Place[] {
  return message.fields.flatMap((field) => {
    const place = [...before, field];
    return [place, ...(field.message ? placesIn(field.message, place) : [])];
  });
}

/** What a call with certain bytes came to. */
export interface Outcome {
  readonly code: number;
  readonly reason: string;
  readonly fields: readonly string[];
}

/** Longer than any wait of the server. */
const ANSWER_MAX_MS = 15_000;

/** Calls a method of any kind with one message, given as bytes, and tells how it ends; a first answer is an end. */
export function send(client: Client, path: string, message: Uint8Array): Promise<Outcome> {
  const asItIs = (bytes: Uint8Array): Buffer => Buffer.from(bytes);
  const stream = client.makeBidiStreamRequest(path, asItIs, asItIs, { deadline: Date.now() + ANSWER_MAX_MS });
  return new Promise((resolve) => {
    const succeed = (): void => {
      resolve({ code: 0, reason: '', fields: [] });
      stream.cancel();
    };
    stream.on('data', succeed);
    stream.on('end', succeed);
    stream.on('error', (error: ServiceError) => {
      const { reason, fields } = detailsOf(error);
      resolve({ code: error.code, reason, fields });
    });
    stream.end(message);
  });
}

/** Puts the prefix of gRPC before a message; `flag` and `length` are true unless they are given. */
export function framed(message: Uint8Array, flag = 0, length = message.length): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(flag);
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, message]);
}

/** Opens a connection of HTTP/2, which ends with the test. The server may be killed first, which is no error. */
export function openSession(t: TestContext, address: string): ClientHttp2Session {
  const session = connect(`http://${address}`);
  session.on('error', () => undefined);
  t.after(() => session.destroy());
  return session;
}

/** Sends a request as it is and resolves to the headers and trailers of the answer; the first message ends the call. */
export function sendRaw(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body: Uint8Array,
): Promise<IncomingHttpHeaders> {
  const stream = session.request({
    ':method': 'POST',
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  const answer: IncomingHttpHeaders = {};
  const take = (headers: IncomingHttpHeaders): void => void Object.assign(answer, headers);
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no answer to ${JSON.stringify(headers)}`)), ANSWER_MAX_MS);
    stream.on('response', take);
    stream.on('trailers', take);
    stream.on('data', () => stream.close(constants.NGHTTP2_CANCEL));
    // The server may cut a request that it has refused; what it said stands in the headers.
    stream.on('error', () => undefined);
    stream.on('close', () => {
      clearTimeout(late);
      resolve(answer);
    });
    stream.end(body);
  });
}
