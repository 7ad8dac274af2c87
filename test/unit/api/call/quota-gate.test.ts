import assert from 'node:assert/strict';
import { test } from 'node:test';
import { anonymous } from '../../../../src/access/principal.js';
import { Quotas } from '../../../../src/access/quotas.js';
import { NO_RIGHTS } from '../../../../src/access/rights.js';
import type { Call } from '../../../../src/api/call/call.js';
import type { Failure } from '../../../../src/api/call/failure.js';
import type { MethodInfo } from '../../../../src/api/call/method-info.js';
import { quotaGate } from '../../../../src/api/call/quota-gate.js';
import { systemClock } from '../../../../src/base/clock.js';
import { RollcallError } from '../../../../src/model/errors.js';
import { callOf } from '../../../support/call.js';

const WATCH: MethodInfo = {
  ...{ path: '/rollcall.v1.RegistryService/WatchServices', kind: 'SERVER_STREAM', audience: 'public' },
  ...{ permission: 'read', readOnly: true },
} as const;
const BEAT: MethodInfo = { ...WATCH, path: '/rollcall.v1.RegistryService/Heartbeat', kind: 'UNARY', readOnly: false };
const DISCOVER: MethodInfo = { ...WATCH, path: '/rollcall.v1.RegistryService/Discover', kind: 'UNARY' };

/** Makes calls of one caller with limits. */
function stage(): (method: MethodInfo) => Call {
  const quota = new Quotas(systemClock).of('pay', { watches: 1, callsPerSecond: 3, beatsPerSecond: 5 });
  return (method) => callOf(method, { principal: anonymous(() => NO_RIGHTS, quota) });
}

test('A7: a watch takes a place until its call ends, in whatever order that is noticed', () => {
  const gate = quotaGate();
  const call = stage();
  const gone = call(WATCH);
  gate.ended(gone, undefined); // its client left while its credential was looked at
  void gate.admit(gone);
  const first = call(WATCH);
  void gate.admit(first);
  assert.throws(() => gate.admit(call(WATCH)), { reason: 'RATE_LIMITED' });
  gate.ended(first, undefined);
  void gate.admit(call(WATCH));
});

test('A7: heartbeats are no calls', () => {
  const gate = quotaGate();
  const call = stage();
  for (let i = 0; i < 100; i++) void gate.admit(call(BEAT));
  for (let i = 0; i < 6; i++) void gate.admit(call(DISCOVER));
  assert.throws(() => gate.admit(call(DISCOVER)), { reason: 'RATE_LIMITED' });
});

test('A7: a call that every server answers counts as ten', () => {
  const gate = quotaGate();
  const call = stage();
  const why: MethodInfo = { ...DISCOVER, path: '/rollcall.v1.AdminService/Why' };
  void gate.admit(call(why)); // more than there is at once: it is taken from a full allowance
  assert.throws(() => gate.admit(call(DISCOVER)), { reason: 'RATE_LIMITED' });
});

test('A7: heartbeats that cannot be read use up the beats of their caller', () => {
  const gate = quotaGate();
  const call = stage();
  const failed = { error: new RollcallError('INVALID_REQUEST', 'no items') } as Failure;
  for (let i = 0; i < 10; i++) {
    const beat = call(BEAT);
    void gate.admit(beat);
    gate.ended(beat, failed);
  }
  assert.throws(() => gate.admit(call(BEAT)), { reason: 'RATE_LIMITED' });
});
