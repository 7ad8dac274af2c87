import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Clock, systemClock } from '../../../src/base/clock.js';
import { HealthCheck, ProbeOutcome } from '../../../src/gen/rollcall/v1/check.js';
import { PER_ADDRESS_MAX, ProberThread } from '../../../src/prober/prober-thread.js';
import { tallyingTelemetry } from '../../sim/process.js';

/** A program that ends with its first order. */
const DIES = `
import { parentPort } from 'node:worker_threads';
parentPort.on('message', ({ kind }) => kind === 'probe' && process.exit(1));
`;

const CHECK = HealthCheck.fromPartial({});
const TARGET = { address: '127.0.0.1', port: 1, registrant: '', check: CHECK };

const openThread = (program: string, clock: Clock = systemClock): ProberThread =>
  new ProberThread({
    settings: {
      rule: { networks: ['127.0.0.0/8'], ports: '1-65535', loopback: true },
      ...{ onlyRegistrants: false, agent: 'test', ca: undefined },
    },
    openMax: 10,
    clock,
    log: tallyingTelemetry(new Map()).log,
    program: new URL(`data:text/javascript,${encodeURIComponent(program)}`),
  });

test('probes that are ordered while there is no thread end INCONCLUSIVE', { timeout: 10_000 }, async (t) => {
  const prober = openThread(DIES);
  t.after(() => prober.close());
  const first = await prober.probe(TARGET);
  const second = await prober.probe(TARGET);
  for (const { outcome, error } of [first, second]) {
    assert.equal(outcome, ProbeOutcome.PROBE_OUTCOME_INCONCLUSIVE);
    assert.equal(error, 'the prober itself: its thread ended');
  }
  assert.equal(prober.open, 0);
});

test('K10: so many probes of one address begin within a second, and no fewer of another', () => {
  let nowMs = 0;
  const prober = openThread(DIES, { ...systemClock, now: () => nowMs });
  const begun = (address: string): number => {
    let count = 0;
    while (count < 1_000 && prober.mayBegin({ ...TARGET, address })) count++;
    return count;
  };
  assert.equal(begun('10.0.0.1'), PER_ADDRESS_MAX);
  nowMs = 999;
  assert.deepEqual([begun('10.0.0.1'), begun('10.0.0.2')], [0, PER_ADDRESS_MAX]);
  nowMs = 1_000;
  assert.equal(begun('10.0.0.1'), PER_ADDRESS_MAX);
});
