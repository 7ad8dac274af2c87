import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type OutgoingHttpHeaders } from 'node:http2';
import { test } from 'node:test';
import {
  create,
  type DescField,
  type DescMessage,
  type DescMethod,
  type Message,
  ScalarType,
  toBinary,
} from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import { discover, getStatus, listNamespaces, register } from '../support/client.js';
import { Dice } from '../support/dice.js';
import { eventually, startServer } from '../support/server.js';
import { framed, METHODS, pathOf, sendRaw } from '../support/wire.js';

const FRAMES = 20_000;
const SEED = 20_260;
/** A connection sends no more, since HTTP/2 cuts one off that has reset many streams. */
const FRAMES_PER_CONNECTION = 250;
const CONNECTIONS = 8;
const AT_ONCE = 50;

/** A request as it goes out. */
interface Frame {
  readonly headers: OutgoingHttpHeaders;
  readonly body: Buffer;
}

/** The methods that create something. Whatever is flipped in a request of theirs, no name in it is one. */
const CREATING = new Set(['Register', 'PublishConfig']);
const NO_NAME = '/ / / /';
const NAMES = ['', 'pay', 'p1', 'default', 'app.yaml', '__proto__', 'é💥', 'a'.repeat(300), NO_NAME];
const INTEGERS = [0n, -1n, 1n, 15n, 2n ** 31n - 1n, -(2n ** 31n), 2n ** 63n - 1n, -(2n ** 63n)];

/** Makes requests of which none may store anything. */
class Fuzzer {
  constructor(private readonly dice: Dice) {}

  frame(): Frame {
    const { dice } = this;
    const method = dice.pick(METHODS);
    const message = this.#message(method);
    const path = { ':path': pathOf(method) };
    const kinds: (() => [body: Buffer, headers?: OutgoingHttpHeaders])[] = [
      () => [this.#bytes(64)],
      () => [framed(this.#bytes(256))],
      () => [framed(message)],
      () => [framed(this.#flipped(message))],
      () => [framed(this.#cut(message))],
      () => [this.#cut(framed(message))],
      () => [Buffer.concat([message, this.#message(method)].map((one) => framed(this.#flipped(one))))],
      () => [framed(message, 0, dice.pick([0, 1, message.length + 1, 2 ** 21, 2 ** 21 + 1, 2 ** 32 - 1]))],
      () => [framed(message, dice.pick([1, 2, 255]))],
      () => [framed(message, 1), { 'grpc-encoding': dice.pick(['gzip', 'deflate', 'snappy', '__proto__']) }],
      () => [framed(message), { 'grpc-timeout': dice.pick(['0n', '1m', '-1S', 'S', '99999999H', '1']) }],
      () => [framed(message), { 'content-type': dice.pick(['', 'text/html', 'application/grpc-web', 'application/']) }],
      () => [framed(message), { ':path': dice.pick(['/', '//', '/__proto__/constructor', `${path[':path']}s`]) }],
      () => [framed(message), { ':method': dice.pick(['PUT', 'DELETE', 'OPTIONS']) }],
    ];
    const [body, headers] = dice.pick(kinds)();
    return { headers: { ...path, ...headers }, body };
  }

  #message({ input, name }: DescMethod): Buffer {
    return Buffer.from(toBinary(input, this.#filled(input, CREATING.has(name) ? [NO_NAME] : NAMES)));
  }

  #filled(message: DescMessage, texts: readonly string[]): Message {
    const fields = message.members
      .filter(() => this.dice.chance(0.7))
      .map((member) => {
        if (member.kind === 'field') return [member.localName, this.#value(member, texts)];
        const field = this.dice.pick(member.fields);
        return [member.localName, { case: field.localName, value: this.#value(field, texts) }];
      });
    return create(message, Object.fromEntries(fields) as Record<string, unknown>);
  }

  #value(field: DescField, texts: readonly string[]): unknown {
    if (field.fieldKind === 'list') return [this.#single(field, texts), this.#single(field, texts)];
    if (field.fieldKind === 'map') return { [this.dice.pick(texts)]: this.#single(field, texts) };
    return this.#single(field, texts);
  }

  #single(field: DescField, texts: readonly string[]): unknown {
    if (field.message) return this.#filled(field.message, texts);
    if (field.scalar === ScalarType.STRING) return this.dice.pick(texts);
    if (field.scalar === ScalarType.BYTES) return Buffer.from(this.dice.pick(texts));
    if (field.scalar === ScalarType.BOOL) return this.dice.chance(0.5);
    const integer = this.dice.pick(INTEGERS);
    return field.scalar === ScalarType.INT64 ? integer : Number(BigInt.asIntN(32, integer));
  }

  #bytes(lengthMax: number): Buffer {
    return Buffer.from(Array.from({ length: this.dice.between(0, lengthMax) }, () => this.dice.between(0, 256)));
  }

  #cut(bytes: Buffer): Buffer {
    return bytes.subarray(0, this.dice.between(0, bytes.length));
  }

  /** One to four bits are not what they were. */
  #flipped(bytes: Buffer): Buffer {
    const flipped = Buffer.from(bytes);
    for (let bits = this.dice.between(1, 5); bits >= 1 && bytes.length > 0; bits--) {
      const at = Math.floor(this.dice.between(0, bytes.length));
      flipped[at]! ^= 1 << this.dice.between(0, 8);
    }
    return flipped;
  }
}

/** Sends frames over one connection, and counts the answers by what they say. */
async function sendFrames(address: string, frames: readonly Frame[], answers: Map<string, number>): Promise<void> {
  const session = connect(`http://${address}`);
  const left = frames.values();
  const sendThem = async (): Promise<void> => {
    for (const { headers, body } of left) {
      const answer = await sendRaw(session, headers, body);
      assert.ok(answer[':status'], `no answer to ${JSON.stringify(headers)} ${body.toString('hex')}`);
      const said = 'grpc-status' in answer ? status[Number(answer['grpc-status'])]! : 'cut by us, or not gRPC';
      answers.set(said, (answers.get(said) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, sendThem));
  session.close();
  await once(session, 'close');
}

test('20,000 fuzzed frames leave the server serving, and nothing of them is stored', async (t) => {
  const server = await startServer(t);
  const fuzzer = new Fuzzer(new Dice(SEED));
  const answers = new Map<string, number>();
  let left = FRAMES;
  const sendSome = async (): Promise<void> => {
    while (left > 0) {
      const frames = Array.from({ length: Math.min(left, FRAMES_PER_CONNECTION) }, () => fuzzer.frame());
      left -= frames.length;
      await sendFrames(server.address, frames, answers);
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, sendSome));
  t.diagnostic(JSON.stringify(Object.fromEntries(answers)));
  for (const said of ['OK', 'INVALID_ARGUMENT', 'NOT_FOUND', 'RESOURCE_EXHAUSTED', 'UNIMPLEMENTED'])
    assert.ok(answers.get(said)! > 100, `few frames came to ${said}`);
  assert.equal(answers.get('UNKNOWN'), undefined, 'a handler threw');

  const { counts } = await eventually(async () => {
    const answer = await getStatus(server);
    return answer.counts?.watches === 0 ? answer : undefined;
  });
  assert.deepEqual([counts?.instances, counts?.configs, counts?.tombstones], [0, 0, 0]);
  assert.deepEqual((await listNamespaces(server)).namespaces, []);
  await register(server, { instance: { service: 'pay', id: 'p1' } });
  assert.deepEqual(
    (await discover(server, { service: 'pay' })).instances.map(({ id }) => id),
    ['p1'],
  );
  assert.equal(server.process.exitCode, null);
  assert.doesNotMatch(server.log.join('\n'), /internal error/);
});
