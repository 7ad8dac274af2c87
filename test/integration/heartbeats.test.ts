import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HeartbeatItem, type RejectedHeartbeat, RejectionReason } from '../../src/gen/rollcall/v1/heartbeat.js';
import { Health, Liveness, ReportedState } from '../../src/gen/rollcall/v1/instance.js';
import {
  HeartbeatResponse,
  StreamHeartbeatsRequest,
  type StreamHeartbeatsResponse,
} from '../../src/gen/rollcall/v1/registry_service.js';
import { instanceId, namespace, required, type Rule, runId, scope } from '../support/bad-values.js';
import { deregister, discover, getInstance, heartbeat, register } from '../support/client.js';
import { detailsOf, failure, type ServerProcess, startServer } from '../support/server.js';

const { REJECTION_REASON_INVALID: INVALID, REJECTION_REASON_DEREGISTERED: DEREGISTERED } = RejectionReason;
const { REJECTION_REASON_NOT_REGISTERED: NOT_REGISTERED } = RejectionReason;
const INVALID_ARGUMENT = 3;
const FAILED_PRECONDITION = 9;

const pay = (id: string, more: object = {}): object => ({ service: 'pay', id, address: '10.0.0.7', port: 80, ...more });

/** Sends the bytes of items as one Heartbeat, whatever they are. */
function heartbeatOf(server: ServerProcess, items: readonly Uint8Array[]): Promise<HeartbeatResponse> {
  const bytes = Buffer.concat(
    items.map((item) => {
      assert.ok(item.length < 128);
      return Buffer.concat([Buffer.from([0x0a, item.length]), item]);
    }),
  );
  return new Promise((resolve, reject) => {
    server.registry.makeUnaryRequest(
      '/rollcall.v1.RegistryService/Heartbeat',
      (given: Buffer) => given,
      (answer: Buffer) => HeartbeatResponse.decode(answer),
      bytes,
      (error, answer) => (error ? reject(error) : resolve(answer!)),
    );
  });
}

const brief = (rejected: readonly RejectedHeartbeat[]): unknown[] =>
  rejected.map(({ index, service, id, reason }) => [index, service, id, reason]);

const RULES: Record<string, Rule> = {
  namespace,
  service: scope,
  id: instanceId,
  incarnation: runId,
};

test('an item that breaks a rule is rejected alone, with its fields named, and its neighbors count', async (t) => {
  const server = await startServer(t);
  await register(server, { instance: pay('p1') });
  const bad = Object.entries(RULES).flatMap(([field, rule]) =>
    [...rule(field), ...(field === 'namespace' ? [] : required(field))].map(({ value }) => ({
      field,
      item: { service: 'pay', id: 'p1', [field]: value },
    })),
  );
  assert.ok(bad.length > 50);
  const instances = bad.flatMap(({ item }) => [{ service: 'pay', id: 'p1' }, item]);
  const { rejected } = await heartbeat(server, { instances });
  assert.deepEqual(
    rejected.map(({ index, reason }) => [index, reason]),
    bad.map((_, i) => [2 * i + 1, INVALID]),
    'exactly the bad ones',
  );
  rejected.forEach(({ message }, i) => assert.ok(message.startsWith(`${bad[i]!.field}: `), message));
});

test('the names in a rejection have up to 128 characters, and a thousand rejections fit into an answer', async (t) => {
  const server = await startServer(t);
  const [one] = (await heartbeat(server, { instances: [{ service: '💥'.repeat(200), id: '/'.repeat(200) }] })).rejected;
  assert.deepEqual([one!.service, one!.id], ['💥'.repeat(128), '/'.repeat(128)]);
  const instances = Array.from({ length: 1_000 }, () => ({ service: '💥'.repeat(130), id: '/'.repeat(130) }));
  const answer = await heartbeat(server, { instances });
  assert.equal(answer.rejected.length, 1_000);
  assert.ok(HeartbeatResponse.encode(answer).finish().length < 3 * 1_024 * 1_024);
});

test('an item whose bytes do not decode is rejected alone, whatever its bytes claim', async (t) => {
  const server = await startServer(t);
  await register(server, { instance: pay('p1') });
  const good = HeartbeatItem.encode(HeartbeatItem.fromPartial({ service: 'pay', id: 'p1' })).finish();
  const bad = {
    'a string beyond the end of the item': '1240706179',
    'a string as long as all that follows': '127f',
    'a tag of 0': '00',
    'an end of a group': '0c',
    'a group that is not closed': '0b',
    'a tag that is cut': '92',
    'a length that is cut': '12ff',
    'an unknown wire type': '0f',
    'text that is not UTF-8': '1203ff8081',
    'a lone surrogate': '1203eda080',
    'a report beyond the end of the item': '2a7f0801',
    'a report that does not decode': '2a01ff',
  };
  for (const [what, hex] of Object.entries(bad)) {
    const { rejected } = await heartbeatOf(server, [good, Buffer.from(hex, 'hex'), good, good]);
    assert.deepEqual(brief(rejected), [[1, '', '', INVALID]], what);
    assert.match(rejected[0]!.message, /^does not decode$|is required/, what);
  }
  const last = await heartbeatOf(server, [good, Buffer.from('1240', 'hex')]);
  assert.deepEqual(brief(last.rejected), [[1, '', '', INVALID]]);
});

test('only no items, or too many, refuse the request', async (t) => {
  const server = await startServer(t);
  const items = (count: number): object[] => Array.from({ length: count }, () => ({ service: 'pay', id: 'p1' }));
  for (const count of [0, 1_001]) {
    const error = await failure(heartbeat(server, { instances: items(count) }));
    assert.deepEqual([error.code, detailsOf(error).fields], [INVALID_ARGUMENT, ['instances']]);
  }
  assert.equal((await heartbeat(server, { instances: items(1_000) })).rejected.length, 1_000);
});

test('a stream goes on after an item that is rejected', async (t) => {
  const server = await startServer(t);
  await register(server, { instance: pay('p1') });
  const stream = server.registry.streamHeartbeats();
  const answers: StreamHeartbeatsResponse[] = [];
  const ended = new Promise((resolve, reject) => stream.on('end', resolve).on('error', reject));
  stream.on('data', (answer: StreamHeartbeatsResponse) => answers.push(answer));
  for (const service of ['/', 'pay', '/', 'pay'])
    stream.write(
      StreamHeartbeatsRequest.fromPartial({
        instances: [
          { service: 'pay', id: 'p1' },
          { service, id: 'p1' },
        ],
      }),
    );
  stream.end();
  await ended;
  assert.deepEqual(
    answers.map(({ rejected }) => brief(rejected)),
    [[[1, '/', 'p1', INVALID]], [], [[1, '/', 'p1', INVALID]], []],
  );
});

test('what is wrong with a report never costs the heartbeat: notes are cut, unknown states ignored, with a warning', async (t) => {
  const server = await startServer(t);
  await register(server, { instance: pay('p1') });
  const { REPORTED_STATE_DEGRADED: DEGRADED, REPORTED_STATE_DRAINING: DRAINING } = ReportedState;
  const beat = async (reported: object): Promise<readonly string[]> => {
    const { rejected, warnings } = await heartbeat(server, { instances: [{ service: 'pay', id: 'p1', reported }] });
    assert.deepEqual(rejected, []);
    return warnings;
  };
  const stored = async (): Promise<unknown[]> => {
    const { instance } = await getInstance(server, { service: 'pay', id: 'p1' });
    return [instance?.reported?.state, instance?.reported?.note];
  };
  const [long] = await beat({ state: DEGRADED, note: `${'é'.repeat(127)}💥` });
  assert.match(long!, /^instances\[0\]\.reported\.note was cut: .* 256 bytes/);
  assert.deepEqual(await stored(), [DEGRADED, 'é'.repeat(127)], 'cut between two characters');
  const [control] = await beat({ state: DRAINING, note: 'a\0b\x1bc\nd\te' });
  assert.match(control!, /control characters/);
  assert.deepEqual(await stored(), [DRAINING, 'abc\nd\te']);
  const [unknown] = await beat({ state: 99, note: 'abc\nd\te' });
  assert.match(unknown!, /^instances\[0\]\.reported\.state is not known to this server \(99\)/);
  assert.deepEqual(await stored(), [DRAINING, 'abc\nd\te']);
  assert.deepEqual(await beat({ state: DRAINING, note: 'abc\nd\te' }), []);
  const instances = Array.from({ length: 50 }, () => ({ service: 'pay', id: 'p1', reported: { state: 99 } }));
  assert.equal((await heartbeat(server, { instances })).warnings.length, 10);
});

test('a report in a heartbeat acts for a STATIC instance', async (t) => {
  const server = await startServer(t);
  const liveness = Liveness.LIVENESS_STATIC;
  await register(server, { instance: { service: 'db', id: 'main', address: '10.0.0.9', port: 5432, liveness } });
  const beat = (reported: object): Promise<HeartbeatResponse> =>
    heartbeat(server, { instances: [{ service: 'db', id: 'main', reported }] });
  assert.deepEqual((await beat({ state: ReportedState.REPORTED_STATE_DRAINING })).rejected, []);
  const { instance } = await getInstance(server, { service: 'db', id: 'main' });
  assert.equal(instance?.health, Health.HEALTH_DRAINING);
  assert.equal((await discover(server, { service: 'db' })).hiddenCount, 1);
  assert.deepEqual((await beat({ state: ReportedState.REPORTED_STATE_HEALTHY })).rejected, []);
  assert.equal((await discover(server, { service: 'db' })).instances.length, 1);
});

test('I3: a goodbye sticks: the incarnation is told to stop, and cannot register again', async (t) => {
  const server = await startServer(t);
  await register(server, { instance: pay('p1'), incarnation: 'run-1' });
  const { revision } = await deregister(server, { service: 'pay', id: 'p1' });
  const beat = async (incarnation?: string): Promise<unknown> =>
    (await heartbeat(server, { instances: [{ service: 'pay', id: 'p1', ...(incarnation && { incarnation }) }] }))
      .rejected[0]?.reason;
  assert.equal(await beat('run-1'), DEREGISTERED);
  assert.equal(await beat(), NOT_REGISTERED, 'it may come from the next process');
  assert.equal(await beat('run-2'), NOT_REGISTERED);
  const { rejected } = await heartbeat(server, { instances: [{ service: 'pay', id: 'p1', incarnation: 'run-1' }] });
  assert.match(rejected[0]!.message, /this run .* was deregistered: stop/);
  for (const replacesRevision of [undefined, 0n, revision - 1n]) {
    const request = {
      instance: pay('p1'),
      incarnation: 'run-1',
      ...(replacesRevision !== undefined && { replacesRevision }),
    };
    const error = await failure(register(server, request));
    assert.deepEqual([error.code, detailsOf(error).reason], [FAILED_PRECONDITION, 'DEREGISTERED']);
    assert.equal(detailsOf(error).metadata.get('revision'), String(revision));
    assert.ok(Date.parse(detailsOf(error).metadata.get('time')!) > 0);
  }
  assert.equal((await discover(server, { service: 'pay' })).instances.length, 0);
  const undone = await register(server, { instance: pay('p1'), incarnation: 'run-1', replacesRevision: revision });
  assert.equal(undone.instance?.incarnation, 'run-1');
  assert.equal(await beat('run-1'), undefined, 'the way back from a slip of an operator');
});

test('I3: after a goodbye a new incarnation is welcome, and so is a Register without one', async (t) => {
  const server = await startServer(t);
  await register(server, { instance: pay('p1'), incarnation: 'run-1' });
  await deregister(server, { service: 'pay', id: 'p1', incarnation: 'run-1' });
  const next = await register(server, { instance: pay('p1'), incarnation: 'run-2' });
  assert.equal(next.instance?.incarnation, 'run-2');
  await deregister(server, { service: 'pay', id: 'p1' });
  const drawn = await register(server, { instance: pay('p1') });
  assert.ok(drawn.instance?.incarnation && !['run-1', 'run-2'].includes(drawn.instance.incarnation));
});
