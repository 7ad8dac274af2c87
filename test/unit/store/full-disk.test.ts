import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FullDisk } from '../../../src/store/full-disk.js';
import { SimProcess } from '../../sim/process.js';
import { World } from '../../sim/world.js';

/** Opens a FullDisk on a disk whose room the test decides. */
function openFullDisk(): {
  disk: FullDisk;
  world: World;
  raised: string[];
  state: { hasRoom: boolean; tries: number };
} {
  const world = new World();
  const raised: string[] = [];
  const state = { hasRoom: false, tries: 0 };
  const disk = new FullDisk({
    clock: new SimProcess(world).clock,
    alarms: {
      raise: ({ name }, text) => void raised.push(`${name}: ${text}`),
      clear: () => void raised.splice(0),
    },
    alarmText: 'no room',
    tryWrite: async () => {
      state.tries++;
      if (!state.hasRoom) throw new Error('no room');
    },
  });
  return { disk, world, raised, state };
}

test('a full disk raises one alarm and retries a write until there is room', async () => {
  const { disk, world, raised, state } = openFullDisk();
  assert.equal(disk.isFull, false);
  disk.reportFull();
  disk.reportFull();
  assert.deepEqual([disk.isFull, raised], [true, ['STORE_FULL: no room']]);
  await world.run(11_000);
  assert.deepEqual([disk.isFull, state.tries], [true, 2]);
  state.hasRoom = true;
  await world.run(16_000);
  assert.deepEqual([disk.isFull, raised, state.tries], [false, [], 3]);
  await world.run(60_000);
  assert.equal(state.tries, 3, 'a writable disk is not retried');
});

test('a disk that becomes full again is retried again', async () => {
  const { disk, world, raised, state } = openFullDisk();
  state.hasRoom = true;
  for (const end of [6_000, 12_000]) {
    disk.reportFull();
    assert.deepEqual([disk.isFull, raised.length], [true, 1]);
    await world.run(end);
    assert.deepEqual([disk.isFull, raised.length], [false, 0]);
  }
});

test('a closed FullDisk stops its retries and reports nothing any more', async () => {
  const { disk, world, raised, state } = openFullDisk();
  disk.reportFull();
  await disk.close();
  await disk.close();
  disk.reportFull();
  await world.run(60_000);
  assert.deepEqual([state.tries, raised.length], [0, 1]);
});
