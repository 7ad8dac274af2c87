import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../../src/base/clock.js';
import { HealthCheck, ProbeOutcome } from '../../../src/gen/rollcall/v1/check.js';
import { ProberThread } from '../../../src/prober/prober-thread.js';
import { tallyingTelemetry } from '../../sim/process.js';

/** A program that ends with its first order. */
const DIES = `
import { parentPort } from 'node:worker_threads';
parentPort.on('message', ({ kind }) => kind === 'probe' && process.exit(1));
`;

test('probes that are ordered while there is no thread end INCONCLUSIVE', { timeout: 10_000 }, async (t) => {
  const rule = { networks: ['127.0.0.0/8'], ports: '1-65535', loopback: true };
  const prober = new ProberThread({
    settings: { rule, onlyRegistrants: false, agent: 'test', ca: undefined },
    openMax: 10,
    clock: systemClock,
    log: tallyingTelemetry(new Map()).log,
    program: new URL(`data:text/javascript,${encodeURIComponent(DIES)}`),
  });
  t.after(() => prober.close());
  const target = { address: '127.0.0.1', port: 1, registrant: '', check: HealthCheck.fromPartial({}) };
  const first = await prober.probe(target);
  const second = await prober.probe(target);
  for (const { outcome, error } of [first, second]) {
    assert.equal(outcome, ProbeOutcome.PROBE_OUTCOME_INCONCLUSIVE);
    assert.equal(error, 'the prober itself: its thread ended');
  }
  assert.equal(prober.open, 0);
});
