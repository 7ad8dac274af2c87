import assert from 'node:assert/strict';
import { test } from 'node:test';
import { anonymous } from '../../../../src/access/principal.js';
import { NO_RIGHTS } from '../../../../src/access/rights.js';
import { auditGate, auditor } from '../../../../src/api/call/auditor.js';
import type { Failure } from '../../../../src/api/call/failure.js';
import type { MethodInfo } from '../../../../src/api/call/method-info.js';
import { Audit, type AuditSink } from '../../../../src/audit/audit.js';
import { systemRandom } from '../../../../src/base/random.js';
import { type Reason, RollcallError } from '../../../../src/model/errors.js';
import { SimProcess } from '../../../sim/process.js';
import { World } from '../../../sim/world.js';
import { callOf } from '../../../support/call.js';

const PUBLISH: MethodInfo = {
  path: '/rollcall.v1.ConfigService/PublishConfig',
  kind: 'UNARY',
  audience: 'public',
  permission: 'config:write',
  readOnly: false,
};
const method = (name: string, permission: MethodInfo['permission'], readOnly = false): MethodInfo => ({
  ...PUBLISH,
  path: `/rollcall.v1.RegistryService/${name}`,
  permission,
  readOnly,
});
const DEREGISTER = method('Deregister', 'register');
const REGISTER = method('Register', 'register');
const BEAT = method('Heartbeat', 'register');
const DISCOVER = method('Discover', 'read', true);
const RELEASE = method('ReleaseProtection', 'operate');
const STATUS = method('GetStatus', 'operate', true);

const failed = (reason: Reason, metadata = {}): Failure =>
  ({ error: new RollcallError(reason, 'no', { metadata }) }) as Failure;

/** An audit on the clock of a world, with the lines that it writes. */
function stage(sink?: Partial<AuditSink>) {
  const world = new World();
  const lines: string[] = [];
  const { clock } = new SimProcess(world);
  const audit = new Audit({
    clock,
    random: systemRandom,
    telemetry: { counters: { add: () => undefined } },
    sink: {
      write: (line) => void lines.push(line),
      isFailing: false,
      reopen: () => undefined,
      close: () => undefined,
      ...sink,
    },
  });
  return { world, audit, lines };
}
const pay = { ...anonymous(() => NO_RIGHTS), name: 'token:pay', kind: 'token' as const };

test('A6: writes, decisions and deregistrations are events whatever their outcome; Register only on demand, beats and reads never', () => {
  for (const [calls, expected] of [
    ['writes', [PUBLISH, DEREGISTER, RELEASE]],
    ['all', [PUBLISH, DEREGISTER, REGISTER, RELEASE]],
  ] as const) {
    const { audit } = stage();
    const observer = auditor(audit, calls);
    for (const one of [PUBLISH, DEREGISTER, REGISTER, BEAT, DISCOVER, RELEASE, STATUS]) {
      observer.ended(callOf(one), undefined);
      observer.ended(callOf(one), failed('NOT_READY'));
    }
    assert.deepEqual(
      [...audit.recent()].map(({ method: path, outcome }) => [path, outcome]),
      expected.flatMap(({ path }) => [
        [path, 'OK'],
        [path, 'NOT_READY'],
      ]),
    );
  }
});

test('A6: an event says who, from where, which, and how it ended, and one line holds it', () => {
  const { audit, lines } = stage();
  const call = callOf(PUBLISH, {
    principal: pay,
    notes: {
      resources: ['shop/default/app'],
      author: 'mallory\n{"fake":1}',
      comment: 'a "quote"\r\n',
      revision: 7n,
      refused: new Set<string>(),
      changesNothing: false,
    },
  });
  auditor(audit, 'writes').ended(call, undefined);
  const [event] = audit.recent();
  assert.deepEqual(
    { ...event, id: '', timeMs: 0 },
    {
      ...{
        id: '',
        timeMs: 0,
        principal: 'token:pay',
        claimedAuthor: 'mallory\n{"fake":1}',
        address: '10.0.0.1',
        transport: 'grpc',
      },
      ...{ method: PUBLISH.path, resources: ['shop/default/app'], outcome: 'OK', revision: 7n, requestId: 'r1' },
      ...{ comment: 'a "quote"\r\n', leftOut: 0 },
    },
  );
  assert.equal(lines.length, 1);
  assert.equal(lines[0]!.split('\n').length, 2, 'no text of a caller begins a line');
  const parsed = JSON.parse(lines[0]!) as Record<string, unknown>;
  assert.deepEqual(
    [parsed['principal'], parsed['claimed_author'], parsed['revision'], parsed['request_id']],
    ['token:pay', 'mallory\n{"fake":1}', 7, 'r1'],
  );
});

test('A6: of equal refusals of one caller one is an event in 10 s, and the next says how many were left out', async () => {
  const { world, audit } = stage();
  const observer = auditor(audit, 'writes');
  const refuse = (fields: object, reason: Reason = 'NOT_ALLOWED'): void =>
    observer.ended(callOf(DISCOVER, fields), failed(reason, { namespace: 'shop', service: 'pay' }));
  for (let i = 0; i < 100; i++) refuse({ principal: pay });
  refuse({ principal: pay }, 'TOKEN_EXPIRED');
  for (let i = 0; i < 3; i++)
    refuse(
      { principal: anonymous(() => NO_RIGHTS), connection: '1.1.1.1:1', peerAddress: '1.1.1.1' },
      'CREDENTIAL_REQUIRED',
    );
  refuse({ principal: anonymous(() => NO_RIGHTS), peerAddress: '2.2.2.2' }, 'CREDENTIAL_REQUIRED');
  const seen = (): unknown[] =>
    [...audit.recent()].map(({ principal, address, outcome, leftOut }) => [principal, address, outcome, leftOut]);
  const first = [
    ['token:pay', '10.0.0.1', 'NOT_ALLOWED', 0],
    ['token:pay', '10.0.0.1', 'TOKEN_EXPIRED', 0],
    ['anonymous', '1.1.1.1', 'CREDENTIAL_REQUIRED', 0],
    ['anonymous', '2.2.2.2', 'CREDENTIAL_REQUIRED', 0],
  ];
  assert.deepEqual(seen(), first);
  await world.run(10_001);
  assert.deepEqual(seen().slice(4), [
    ['token:pay', '10.0.0.1', 'NOT_ALLOWED', 99],
    ['anonymous', '1.1.1.1', 'CREDENTIAL_REQUIRED', 2],
  ]);
  refuse({ principal: pay });
  assert.equal(seen().length, 7, 'a new time begins with an event');
  assert.deepEqual([...audit.recent()][0]!.resources, ['shop/pay']);
});

test('A6: failures before a caller is known, or that write nothing, are counted together; writes that may have happened are not', () => {
  const { audit } = stage();
  const observer = auditor(audit, 'writes');
  for (let i = 0; i < 1_000; i++) {
    observer.ended(callOf(PUBLISH, { principal: anonymous(() => NO_RIGHTS) }), failed('NOT_ONE_MESSAGE'));
    observer.ended(callOf(PUBLISH, { principal: pay }), failed('VERSION_MISMATCH'));
  }
  for (let i = 0; i < 3; i++) observer.ended(callOf(PUBLISH, { principal: pay }), failed('STORE_UNAVAILABLE'));
  assert.deepEqual(
    [...audit.recent()].map(({ outcome }) => outcome),
    ['NOT_ONE_MESSAGE', 'VERSION_MISMATCH', 'STORE_UNAVAILABLE', 'STORE_UNAVAILABLE', 'STORE_UNAVAILABLE'],
  );
});

/** The notes of a call with one item that is not allowed. */
const notesOfRefused = () => ({
  ...{ resources: [], author: '', comment: '', revision: 0n, changesNothing: false },
  refused: new Set(['shop/other']),
});

test('A6: items of a heartbeat that are not allowed are a refusal, too', () => {
  const { audit } = stage();
  const notes = notesOfRefused();
  auditor(audit, 'writes').ended(callOf(BEAT, { principal: pay, notes }), undefined);
  assert.deepEqual(
    [...audit.recent()].map(({ method: path, outcome, resources }) => [path, outcome, resources]),
    [[BEAT.path, 'NOT_ALLOWED', ['shop/other']]],
  );
});

test('A6: a call that removes instances is an event, with those that it might not remove as a refusal', () => {
  const { audit } = stage();
  const notes = {
    resources: ['shop/pay/p1'],
    author: '',
    comment: '',
    revision: 7n,
    refused: new Set(['shop/other']),
    changesNothing: false,
  };
  const bulk = { ...DEREGISTER, path: `${DEREGISTER.path}Instances` };
  auditor(audit, 'writes').ended(callOf(bulk, { principal: pay, notes }), undefined);
  auditor(audit, 'writes').ended(
    callOf(bulk, { principal: pay, notes: { ...notes, resources: [], refused: new Set(['shop/third']) } }),
    undefined,
  );
  assert.deepEqual(
    [...audit.recent()].map(({ outcome, resources, revision }) => [outcome, resources, revision]),
    [
      ['OK', ['shop/pay/p1'], 7n],
      ['NOT_ALLOWED', ['shop/other'], 0n],
    ],
  );
});

test('A6: with an audit that cannot be written, decisions are refused where it is required, and nothing else is', () => {
  const gate = auditGate(stage({ isFailing: true }).audit);
  for (const one of [PUBLISH, RELEASE]) assert.throws(() => gate.admit(callOf(one)), { reason: 'AUDIT_UNAVAILABLE' });
  for (const one of [DEREGISTER, REGISTER, BEAT, DISCOVER, STATUS]) assert.equal(gate.admit(callOf(one)), undefined);
  assert.equal(auditGate(stage().audit).admit(callOf(PUBLISH)), undefined);
});

test('A6: the newest 10,000 events stay in memory, up to 16 MiB', () => {
  const { audit } = stage();
  const observer = auditor(audit, 'writes');
  const publish = (comment: string): void =>
    observer.ended(
      callOf(PUBLISH, {
        notes: { resources: [], author: '', comment, revision: 1n, refused: new Set<string>(), changesNothing: false },
      }),
      undefined,
    );
  for (let i = 0; i < 25_000; i++) publish(String(i));
  const comments = [...audit.recent()].map(({ comment }) => comment);
  assert.deepEqual([comments.length, comments[0], comments.at(-1)], [10_000, '15000', '24999']);
  for (let i = 0; i < 100; i++) publish('x'.repeat(1_024 * 1_024));
  assert.equal([...audit.recent()].length, 15);
});

test('A6: items that a stream of heartbeats may not send are an event while the stream goes on', () => {
  const { audit } = stage();
  const observer = auditor(audit, 'writes');
  const notes = notesOfRefused();
  const stream = callOf({ ...BEAT, kind: 'BIDI_STREAM' }, { principal: pay, notes });
  observer.answered!(stream);
  const seen = (): unknown[] => [...audit.recent()].map(({ outcome, leftOut }) => [outcome, leftOut]);
  assert.deepEqual(seen(), [['NOT_ALLOWED', 0]]);
  observer.answered!(stream);
  observer.ended(stream, undefined);
  assert.deepEqual(seen(), [['NOT_ALLOWED', 0]], 'nothing more was refused');
});
