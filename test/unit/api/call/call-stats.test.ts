import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CallStats } from '../../../../src/api/call/call-stats.js';
import { type Dispatcher } from '../../../../src/api/call/dispatcher.js';
import type { BidiStreamMethod, ServerStreamMethod, UnaryMethod } from '../../../../src/api/call/method.js';
import type { Sink } from '../../../../src/api/call/sink.js';
import { RollcallError } from '../../../../src/model/errors.js';
import { callOf, dispatcherIn } from '../../../support/call.js';
import { World } from '../../../sim/world.js';

const INFO = { path: '/t.Test/Do', audience: 'public', permission: 'read', readOnly: true } as const;
const unary = (invoke: UnaryMethod['invoke']): UnaryMethod => ({ ...INFO, kind: 'UNARY', invoke });

function scene(): { world: World; dispatcher: Dispatcher; numbers: () => Record<string, number> } {
  const world = new World();
  const dispatcher = dispatcherIn(world);
  return { world, dispatcher, numbers: () => numbersOf(dispatcher.stats) };
}

/** Every number that is not 0, by its name and the labels that tell calls apart. */
function numbersOf(stats: CallStats): Record<string, number> {
  const numbers: Record<string, number> = {};
  for (const { name, read } of stats.metrics()) {
    for (const { labels, value, suffix = '' } of read()) {
      const told = ['transport', 'grpc_code', 'reason', 'le'].flatMap((label) => labels[label] ?? []).join(' ');
      if (value > 0) numbers[`${name.replace('grpc_server_', '')}${suffix} ${told}`.trim()] = value;
    }
  }
  return numbers;
}

const call = (dispatcher: Dispatcher, method: UnaryMethod, fields = {}): void =>
  dispatcher.unary(method, new Uint8Array(), callOf(method, fields), () => undefined);

test('unary calls count by protocol and code, with the time until their answer', async () => {
  const { world, dispatcher, numbers } = scene();
  let answer: UnaryMethod['invoke'] = () => new Uint8Array();
  const method = unary((...args) => answer(...args));
  call(dispatcher, method);
  call(dispatcher, method, { transport: 'http' });
  answer = () => {
    throw new RollcallError('INSTANCE_NOT_FOUND', 'no');
  };
  call(dispatcher, method);
  answer = () => world.sleep(30).then(() => new Uint8Array());
  call(dispatcher, method);
  assert.equal(numbers()['started_total grpc'], 3);
  assert.equal(numbers()['handled_total grpc OK'], 1, 'one waits');
  await world.run(100);
  const all = numbers();
  assert.equal(all['handled_total grpc OK'], 2);
  assert.equal(all['handled_total http OK'], 1);
  assert.equal(all['handled_total grpc NotFound'], 1);
  assert.equal(all['rollcall_call_errors_total INSTANCE_NOT_FOUND'], 1);
  assert.equal(all['msg_received_total grpc'], 3);
  assert.equal(all['msg_sent_total grpc'], 2);
  assert.equal(all['handling_seconds_bucket grpc 0.025'], 2);
  assert.equal(all['handling_seconds_bucket grpc 0.05'], 3);
  assert.ok(Math.abs(all['handling_seconds_sum grpc']! - 0.03) < 1e-9);
});

test('a request that could not be read counts as a call that failed, without a message', () => {
  const { dispatcher, numbers } = scene();
  dispatcher.refuse(callOf(unary(() => new Uint8Array())), new RollcallError('REQUEST_TOO_LARGE', 'no'));
  assert.deepEqual(numbers(), {
    'started_total grpc': 1,
    'handled_total grpc ResourceExhausted': 1,
    'rollcall_call_errors_total REQUEST_TOO_LARGE': 1,
  });
});

test('a stream counts its messages while it is open, and how it ended: by its client, by an error, or with OK', () => {
  const { dispatcher, numbers } = scene();
  const sinks: Sink[] = [];
  const method: ServerStreamMethod = { ...INFO, kind: 'SERVER_STREAM', invoke: (_, __, sink) => void sinks.push(sink) };
  const hangUps = [0, 1, 2].map(() => {
    let closed = (): void => undefined;
    dispatcher.serverStream(method, new Uint8Array(), callOf(method), {
      write: () => 1,
      end: () => closed(),
      onClosed: (listener) => (closed = listener),
      onReleased: () => undefined,
    });
    return () => closed();
  });
  for (const sink of sinks) sink.write(new Uint8Array());
  assert.deepEqual(numbers(), { 'started_total grpc': 3, 'msg_received_total grpc': 3, 'msg_sent_total grpc': 3 });
  hangUps[0]!();
  sinks[1]!.fail(new RollcallError('STREAM_AGE', 'old'));
  sinks[2]!.complete();
  const { 'handled_total grpc Canceled': cancelled, ...all } = numbers();
  assert.equal(cancelled, 1);
  assert.equal(all['handled_total grpc Unavailable'], 1);
  assert.equal(all['handled_total grpc OK'], 1);
});

test('each request of a stream of requests counts, and each response', async () => {
  const { world, dispatcher, numbers } = scene();
  const echo: BidiStreamMethod = { ...INFO, kind: 'BIDI_STREAM', invoke: (requests) => requests };
  async function* three(): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < 3; i++) yield await Promise.resolve(new Uint8Array());
  }
  let closed = (): void => undefined;
  dispatcher.bidiStream(echo, three(), callOf(echo), {
    write: (_, onTaken) => (setImmediate(onTaken), 1),
    end: () => closed(),
    onClosed: (listener) => (closed = listener),
    onReleased: () => undefined,
  });
  for (let turn = 0; turn < 10; turn++) await world.run(turn);
  assert.deepEqual(numbers(), {
    'started_total grpc': 1,
    'handled_total grpc OK': 1,
    'msg_received_total grpc': 3,
    'msg_sent_total grpc': 3,
  });
});
