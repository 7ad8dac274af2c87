import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RevisionGate } from '../../../src/catalog/revision-gate.js';
import { SimProcess } from '../../sim/process.js';
import { World } from '../../sim/world.js';

function gateIn(world: World): { gate: RevisionGate; outcome: (revision: bigint, waitMs: number) => unknown[] } {
  const gate = new RevisionGate(new SimProcess(world).clock);
  const outcome = (revision: bigint, waitMs: number): unknown[] => {
    const seen: unknown[] = [];
    void gate.reached(revision, waitMs).then((reached) => seen.push(reached, world.now));
    return seen;
  };
  return { gate, outcome };
}

test('a gate lets through whoever waits for what has been reached, and nobody else', async () => {
  const world = new World();
  const { gate, outcome } = gateIn(world);
  const waiting = [3n, 5n, 6n].map((revision) => outcome(revision, 1_000));
  await world.run(100);
  gate.advance(5n);
  await world.run(200);
  assert.deepEqual(waiting, [[true, 100], [true, 100], []]);
  const late = outcome(5n, 1_000);
  await world.run(300);
  assert.deepEqual(late, [true, 200]);
});

test('a gate gives up after its time, and not earlier', async () => {
  const world = new World();
  const { gate, outcome } = gateIn(world);
  const seen = outcome(1n, 1_000);
  await world.run(999);
  assert.deepEqual(seen, []);
  await world.run(1_001);
  assert.deepEqual(seen, [false, 1_000]);
  gate.advance(1n);
  await world.run(2_000);
  assert.deepEqual(seen, [false, 1_000]);
});
