import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Failure } from '../../../../src/api/call/failure.js';
import type { BidiStreamMethod, ServerStreamMethod } from '../../../../src/api/call/method.js';
import type { StreamTransport } from '../../../../src/api/call/sink.js';
import { LIMITS } from '../../../../src/model/limits.js';
import { callOf, dispatcherIn } from '../../../support/call.js';
import { World } from '../../../sim/world.js';

const AGE_MS = 1_200_000;
const INFO = { path: '/t.Test/Do', audience: 'public', permission: 'read', readOnly: true } as const;
const WATCH: ServerStreamMethod = { ...INFO, kind: 'SERVER_STREAM', invoke: () => undefined };
const UNARY = { ...INFO, kind: 'UNARY', invoke: () => new Uint8Array() } as const;
const BEATS: BidiStreamMethod = {
  ...INFO,
  kind: 'BIDI_STREAM',
  invoke: (requests) => requests as AsyncGenerator<Uint8Array>,
};

/** One stream of a client. */
interface Opened {
  /** How the server ended it: the failure, "OK", or `undefined` while it is open. */
  ended: Failure | 'OK' | undefined;
  /** The virtual time of the end. */
  endedAtMs: number;
  /** The client hangs up. */
  close(): void;
  /** The network has taken the last bytes. */
  release(): void;
}

class Scene {
  readonly world = new World();
  fraction = 0;
  readonly dispatcher = dispatcherIn(this.world, {
    random: { id: () => 'id', fraction: () => this.fraction },
    streamAgeMs: AGE_MS,
  });

  watch(connection = 'a'): Opened {
    const { opened, transport } = this.#transport();
    this.dispatcher.serverStream(WATCH, new Uint8Array(), callOf(WATCH, { connection }), transport);
    return opened;
  }

  /** A stream of heartbeats whose client sends nothing. */
  beats(connection = 'a'): Opened {
    const { opened, transport } = this.#transport();
    const never: AsyncIterable<Uint8Array> = {
      [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => undefined) }),
    };
    this.dispatcher.bidiStream(BEATS, never, callOf(BEATS, { connection }), transport);
    return opened;
  }

  #transport(): { opened: Opened; transport: StreamTransport } {
    const listeners: (() => void)[] = [];
    let release = (): void => undefined;
    const finish = (): void => listeners.forEach((listener) => listener());
    const close = (): void => (finish(), release());
    const opened: Opened = { ended: undefined, endedAtMs: 0, close, release: () => release() };
    const end = (failure?: Failure): void => {
      opened.ended = failure ?? 'OK';
      opened.endedAtMs = this.world.now;
      finish();
    };
    const transport = {
      write: () => 0,
      end,
      onClosed: (listener: () => void) => void listeners.push(listener),
      onReleased: (listener: () => void) => void (release = listener),
    };
    return { opened, transport };
  }
}

const reasonOf = ({ ended }: Opened): string | undefined =>
  ended === undefined || ended === 'OK' ? ended : ended.error.reason;

test('a stream ends with STREAM_AGE at its age, and at most a quarter later', async () => {
  const scene = new Scene();
  const first = scene.watch();
  scene.fraction = 0.5;
  const second = scene.beats();
  scene.fraction = 0.999;
  const third = scene.watch();
  await scene.world.run(AGE_MS - 1);
  assert.deepEqual([first, second, third].map(reasonOf), [undefined, undefined, undefined]);
  await scene.world.run(AGE_MS * 1.25 + 1);
  assert.deepEqual([first, second, third].map(reasonOf), ['STREAM_AGE', 'STREAM_AGE', 'STREAM_AGE']);
  assert.deepEqual(
    [first, second, third].map(({ endedAtMs }) => endedAtMs),
    [AGE_MS, AGE_MS * 1.125, AGE_MS * 1.25],
  );
  assert.equal(scene.dispatcher.openStreams, 0);
  const { code, error } = first.ended as Failure;
  assert.deepEqual([code, error.retryAfterMs], [14, 200]);
});

test('one connection has room for unary calls: further streams of any kind are refused', () => {
  const scene = new Scene();
  const limit = LIMITS.STREAMS_PER_CONNECTION.value;
  const streams = Array.from({ length: limit }, (_, i) => (i % 2 === 0 ? scene.watch() : scene.beats()));
  assert.equal(streams.filter(({ ended }) => ended !== undefined).length, 0);
  const more = [scene.watch(), scene.watch()];
  assert.deepEqual(more.map(reasonOf), ['TOO_MANY_WATCHES', 'TOO_MANY_WATCHES']);
  const { message } = more[0]!.ended as Failure;
  assert.match(message, /several services in one call, or open another channel/);
  assert.equal(scene.dispatcher.openStreams, limit);
  assert.equal(scene.watch('b').ended, undefined, 'another connection');
  let answered: Failure | undefined | 'no' = 'no';
  scene.dispatcher.unary(
    UNARY,
    new Uint8Array(),
    callOf(UNARY, { connection: 'a' }),
    (failure) => (answered = failure),
  );
  assert.equal(answered, undefined);
});

test('a stream that its client closed makes room, and is not ended by its age', async () => {
  const scene = new Scene();
  const streams = Array.from({ length: LIMITS.STREAMS_PER_CONNECTION.value }, () => scene.watch());
  streams[0]!.close();
  assert.equal(scene.watch().ended, undefined);
  assert.equal(reasonOf(scene.watch()), 'TOO_MANY_WATCHES');
  await scene.world.run(AGE_MS * 1.25 + 1);
  assert.equal(streams[0]!.ended, undefined);
  assert.equal(reasonOf(streams[1]!), 'STREAM_AGE');
});

test('a stream that the server ended takes a place of its connection until its last bytes are gone', async () => {
  const scene = new Scene();
  const streams = Array.from({ length: LIMITS.STREAMS_PER_CONNECTION.value }, () => scene.watch());
  await scene.world.run(AGE_MS * 1.25 + 1);
  assert.deepEqual([scene.dispatcher.openStreams, reasonOf(streams[0]!)], [0, 'STREAM_AGE']);
  const refused = scene.watch();
  assert.equal(reasonOf(refused), 'TOO_MANY_WATCHES');
  refused.release();
  streams[0]!.release();
  streams[0]!.release();
  assert.deepEqual([scene.watch(), scene.watch()].map(reasonOf), [undefined, 'TOO_MANY_WATCHES']);
});
