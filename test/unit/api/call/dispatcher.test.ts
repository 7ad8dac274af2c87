import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CallObserver, type Dispatcher } from '../../../../src/api/call/dispatcher.js';
import type { Failure } from '../../../../src/api/call/failure.js';
import type { Gate } from '../../../../src/api/call/gates.js';
import { type Encoded, sizeOf, whole } from '../../../../src/api/call/message.js';
import type { BidiStreamMethod, ServerStreamMethod, UnaryMethod } from '../../../../src/api/call/method.js';
import { RollcallError } from '../../../../src/model/errors.js';
import { callOf, dispatcherIn } from '../../../support/call.js';
import { World } from '../../../sim/world.js';

const INFO = { path: '/t.Test/Do', audience: 'public', permission: 'read', readOnly: true } as const;
const ANSWER = new Uint8Array([1]);
const REQUEST = new Uint8Array();

const method = (invoke: UnaryMethod['invoke']): UnaryMethod => ({ ...INFO, kind: 'UNARY', invoke });
const refuse = (): never => {
  throw new RollcallError('FENCED', 'refused');
};

/** A dispatcher on a virtual clock, and the outcomes that its observer saw: a reason, or OK. */
function stage(gates: readonly Gate[] = []): { dispatcher: Dispatcher; world: World; seen: string[] } {
  const world = new World();
  const seen: string[] = [];
  const observer: CallObserver = {
    ended: (call, failure) => void seen.push(`${call.requestId} ${failure?.error.reason ?? 'OK'}`),
  };
  const dispatcher = dispatcherIn(world, {
    random: { id: () => 'id', fraction: () => 0.5 },
    gates,
    observers: [observer],
  });
  return { dispatcher, world, seen };
}

/** Runs a unary call; `answered` tells whether the answer came in the same turn. */
function run(dispatcher: Dispatcher, one: UnaryMethod): { now: boolean; answer: Promise<string> } {
  let now = true;
  let answered = false;
  const answer = new Promise<string>((resolve) => {
    dispatcher.unary(one, REQUEST, callOf(one), (failure, response) => {
      answered = true;
      resolve(failure ? failure.error.reason : response === ANSWER ? 'OK' : 'other');
    });
  });
  now = answered;
  return { now, answer };
}

test('a call that waits for nothing is answered in the same turn, and its observers are notified before', async () => {
  const gate: Gate = { name: 'sync', admit: () => undefined };
  const { dispatcher, seen } = stage([gate]);
  const { now, answer } = run(
    dispatcher,
    method(() => ANSWER),
  );
  assert.equal(now, true);
  assert.deepEqual(seen, ['r1 OK']);
  assert.equal(await answer, 'OK');
});

test('gates are asked in their order, and the first refusal ends the call before it is decoded', async () => {
  const asked: string[] = [];
  const gate = (name: string, admit: Gate['admit'] = () => undefined): Gate => ({
    name,
    admit: (call) => {
      asked.push(name);
      return admit(call);
    },
  });
  const later = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const gates = [gate('first'), gate('waits', later), gate('third', refuse), gate('fourth')];
  const { dispatcher, seen } = stage(gates);
  let invoked = false;
  const { now, answer } = run(
    dispatcher,
    method(() => {
      invoked = true;
      return ANSWER;
    }),
  );
  assert.equal(now, false);
  assert.equal(await answer, 'FENCED');
  assert.deepEqual(asked, ['first', 'waits', 'third']);
  assert.equal(invoked, false);
  assert.deepEqual(seen, ['r1 FENCED']);
});

test('an error that is not a RollcallError is INTERNAL with an id, and its text is not sent', async () => {
  const { dispatcher } = stage();
  const failed = new Promise<Failure>((resolve) => {
    const one = method(() => {
      throw new Error('a secret');
    });
    dispatcher.unary(one, REQUEST, callOf(one), (failure) => resolve(failure!));
  });
  const { code, message } = await failed;
  assert.deepEqual([code, message], [13, 'internal error id']);
});

test('a unary call is given up after 10 s, and a late answer is dropped', async () => {
  const { dispatcher, world, seen } = stage();
  let finish = (): void => undefined;
  const { answer } = run(
    dispatcher,
    method(() => new Promise((resolve) => (finish = () => resolve(ANSWER)))),
  );
  await world.run(10_001);
  assert.equal(await answer, 'TIMED_OUT');
  finish();
  await world.run(10_100);
  assert.deepEqual(seen, ['r1 TIMED_OUT']);
});

/** The transport of a stream that keeps what it is sent. */
function transport(): {
  sent: string[];
  open: boolean;
  close: () => void;
  of: Parameters<Dispatcher['serverStream']>[3];
} {
  const state = {
    sent: [] as string[],
    open: true,
    close: (): void => undefined,
    of: {
      write: (message: Encoded, onTaken: () => void) => {
        state.sent.push(`message ${whole(message)[0]}`);
        setImmediate(onTaken);
        return sizeOf(message);
      },
      end: (failure?: Failure) => {
        state.sent.push(failure ? failure.error.reason : 'end');
        state.close();
      },
      onClosed: () => undefined,
      onReleased: (listener: () => void) =>
        void (state.close = () => {
          state.open = false;
          listener();
        }),
    },
  };
  return state;
}

test('a call that was answered while a gate was asked is not made any more', async () => {
  let admit: () => void = () => undefined;
  const gate: Gate = { name: 'slow', admit: () => new Promise((resolve) => (admit = resolve)) };
  const { dispatcher, world } = stage([gate]);
  let invoked = 0;
  const one = method(() => {
    invoked++;
    return ANSWER;
  });
  const over = new AbortController();
  const call = callOf(one, { signal: over.signal });
  const answers: string[] = [];
  dispatcher.unary(one, REQUEST, call, (failure) => {
    answers.push(failure?.error.reason ?? 'OK');
    over.abort(); // as an edge does when it has answered
  });
  await world.run(10_001);
  assert.deepEqual(answers, ['TIMED_OUT']);
  admit();
  await world.run(10_002);
  assert.deepEqual([answers, invoked], [['TIMED_OUT'], 0]);
});

test('when the server drains, open streams end with SHUTTING_DOWN, new ones are refused, and unary calls go on', async () => {
  const { dispatcher, seen } = stage();
  const watch: ServerStreamMethod = {
    ...INFO,
    kind: 'SERVER_STREAM',
    invoke: (_, __, sink) => void sink.write(ANSWER),
  };
  const first = transport();
  dispatcher.serverStream(watch, REQUEST, callOf(watch), first.of);
  assert.equal(dispatcher.openStreams, 1);
  dispatcher.drain();
  assert.deepEqual(first.sent, ['message 1', 'SHUTTING_DOWN']);
  const second = transport();
  dispatcher.serverStream(watch, REQUEST, callOf(watch), second.of);
  assert.deepEqual(second.sent, ['SHUTTING_DOWN']);
  assert.equal(dispatcher.openStreams, 0);
  const { answer } = run(
    dispatcher,
    method(() => ANSWER),
  );
  assert.equal(await answer, 'OK');
  assert.deepEqual(seen, ['r1 SHUTTING_DOWN', 'r1 SHUTTING_DOWN', 'r1 OK']);
});

test('a bidirectional stream answers each request before it reads the next, and ends when the requests end', async () => {
  const { dispatcher } = stage();
  const order: string[] = [];
  async function* requests(): AsyncGenerator<Uint8Array> {
    for (let i = 1; i <= 3; i++) {
      order.push(`read ${i}`);
      yield new Uint8Array([i]);
    }
  }
  const echo: BidiStreamMethod = {
    ...INFO,
    kind: 'BIDI_STREAM',
    invoke: async function* (given) {
      for await (const bytes of given) {
        order.push(`answer ${bytes[0]}`);
        yield bytes;
      }
    },
  };
  const stream = transport();
  const ended = new Promise<void>((resolve) => {
    const { of } = stream;
    stream.of = {
      ...of,
      end: (failure) => {
        of.end(failure);
        resolve();
      },
    };
  });
  dispatcher.bidiStream(echo, requests(), callOf(echo), stream.of);
  await ended;
  assert.deepEqual(order, ['read 1', 'answer 1', 'read 2', 'answer 2', 'read 3', 'answer 3']);
  assert.deepEqual(stream.sent, ['message 1', 'message 2', 'message 3', 'end']);
});
