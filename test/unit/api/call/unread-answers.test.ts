import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import type { UnaryMethod } from '../../../../src/api/call/method.js';
import { callOf, dispatcherIn } from '../../../support/call.js';
import { World } from '../../../sim/world.js';

const MIB = 1_024 * 1_024;
const INFO = { path: '/t.Test/Do', audience: 'public', permission: 'read', readOnly: true, kind: 'UNARY' } as const;

/** A method whose answer has this many bytes. */
const answering = (bytes: number, readOnly = true): UnaryMethod => ({
  ...{ ...INFO, readOnly },
  invoke: () => new Uint8Array(bytes),
});
/** The same, after a wait. */
const later = (bytes: number): UnaryMethod => ({
  ...INFO,
  invoke: () => new Promise((resolve) => setImmediate(() => resolve(new Uint8Array(bytes)))),
});
const LARGE = answering(3 * MIB);
const SMALL = answering(1_000);

class Answered extends EventEmitter {
  destroyed = false;
  close(): void {
    this.destroyed = true;
    this.emit('close');
  }
}

/** One call of a client. */
interface Called {
  /** OK, the reason of the failure, or `undefined` while it waits. */
  outcome: string | undefined;
  /** The answer as it lies in memory until it is read. */
  readonly held: Answered;
  /** The virtual time at which the server cut the answer. */
  cutAtMs: number | undefined;
  readonly hangUp: AbortController;
}

class Scene {
  readonly world = new World();
  readonly dispatcher = dispatcherIn(this.world);

  call(method: UnaryMethod, connection = 'a'): Called {
    const hangUp = new AbortController();
    const called: Called = { outcome: undefined, held: new Answered(), cutAtMs: undefined, hangUp };
    const call = callOf(method, { connection, signal: hangUp.signal });
    this.dispatcher.unary(method, new Uint8Array(), call, (failure, response) => {
      called.outcome = failure?.error.reason ?? 'OK';
      if (!response) return;
      this.dispatcher.unread.written(call, (response as Uint8Array).length, called.held, () => {
        called.cutAtMs ??= this.world.now;
        called.held.close();
      });
    });
    return called;
  }

  calls(count: number, method: UnaryMethod, connection?: string): Called[] {
    return Array.from({ length: count }, () => this.call(method, connection));
  }

  get heldMiB(): number {
    return this.dispatcher.unsent.bytes / MIB;
  }
}

const answered = (calls: readonly Called[]): number => calls.filter(({ outcome }) => outcome === 'OK').length;

test('reads wait while their connection has 16 MiB of unread answers, and go on one by one as they are read', async () => {
  const scene = new Scene();
  const calls = scene.calls(20, LARGE);
  assert.equal(answered(calls), 6);
  assert.equal(scene.heldMiB, 18);
  for (let read = 0; read < 14; read++) {
    calls[read]!.held.close();
    await scene.world.run(scene.world.now + 1);
    assert.equal(answered(calls), 7 + read);
    assert.equal(scene.heldMiB, 18);
  }
  for (const { held } of calls.slice(14)) held.close();
  assert.equal(scene.heldMiB, 0);
});

test('small answers behind large ones go on, one in each turn of the event loop, once there is room', async () => {
  const scene = new Scene();
  const large = scene.calls(6, LARGE);
  const small = scene.calls(50, SMALL);
  assert.equal(answered(small), 0);
  large[0]!.held.close();
  for (let turn = 0; turn < 50; turn++) await scene.world.run(turn);
  assert.equal(answered(small), 50);
});

test('calls of other connections and writes do not wait', () => {
  const scene = new Scene();
  assert.equal(answered(scene.calls(20, LARGE)), 6);
  assert.equal(answered(scene.calls(20, LARGE, 'b')), 6);
  assert.equal(answered(scene.calls(20, answering(1_000, false))), 20);
});

test('a read that finds no room for 10 s gets UNREAD_ANSWERS, and a client that hung up does not wait', async () => {
  const scene = new Scene();
  scene.calls(6, LARGE);
  const waiting = scene.call(LARGE);
  let invoked = false;
  const gone = scene.call({ ...INFO, invoke: () => ((invoked = true), new Uint8Array()) });
  gone.hangUp.abort();
  await scene.world.run(9_999);
  assert.equal(waiting.outcome, undefined);
  await scene.world.run(10_000);
  assert.equal(waiting.outcome, 'UNREAD_ANSWERS');
  assert.equal(invoked, false);
  assert.equal(gone.outcome, 'CANCELLED');
});

test('all clients together hold 128 MiB and what was being answered; a write that answers is not held up', async () => {
  const scene = new Scene();
  for (let i = 0; i < 40; i++) scene.calls(20, LARGE, `c${i}`);
  assert.ok(scene.heldMiB >= 128 && scene.heldMiB < 132, `${scene.heldMiB} MiB`);
  const waiting = scene.call(SMALL, 'other');
  assert.equal(waiting.outcome, undefined);
  assert.equal(scene.call(answering(1_000, false), 'other').outcome, 'OK');
  await scene.world.run(10_000);
  assert.equal(waiting.outcome, 'UNREAD_ANSWERS');
});

test('the answers of reads that end at once are bounded, too', async () => {
  const scene = new Scene();
  const calls = scene.calls(20, later(3 * MIB));
  await scene.world.run(100);
  assert.equal(answered(calls), 6);
  assert.ok(calls.every(({ outcome }) => outcome === 'OK' || outcome === 'UNREAD_ANSWERS'));
});

test('an answer that is not read for 60 s is cut; for 10 s, if there is no memory for more', async () => {
  const scene = new Scene();
  const alone = scene.call(LARGE);
  await scene.world.run(59_000);
  assert.equal(alone.cutAtMs, undefined);
  await scene.world.run(62_000);
  assert.ok(alone.cutAtMs! >= 60_000);
  assert.equal(scene.heldMiB, 0);
  const begunAtMs = scene.world.now;
  const calls = Array.from({ length: 10 }, (_, i) => scene.calls(20, LARGE, `c${i}`)).flat();
  await scene.world.run(begunAtMs + 9_000);
  assert.ok(calls.every(({ cutAtMs }) => cutAtMs === undefined));
  await scene.world.run(begunAtMs + 12_000);
  assert.ok(scene.heldMiB < 128);
  assert.ok(calls.some(({ cutAtMs }) => cutAtMs !== undefined));
});

test('an answer that was cut no longer counts, whatever its stream does', async () => {
  const scene = new Scene();
  const { held } = scene.call(LARGE);
  held.close = () => undefined;
  await scene.world.run(62_000);
  assert.equal(scene.heldMiB, 0);
  held.emit('close');
  assert.equal(scene.heldMiB, 0);
});
