import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultsOfVersion } from '../../../src/store/etcd/versions.js';

test('a version of etcd with known faults is named, and one that does not hold its rights where there are users', () => {
  for (const [version, faults, withUsers] of [
    ['3.3.9', 1, 2],
    ['3.4.23', 1, 2],
    ['3.4.44', 0, 1],
    ['3.5.2', 1, 2],
    ['3.5.32', 0, 1],
    ['3.5.33', 0, 0],
    ['3.6.13', 0, 1],
    ['3.6.14', 0, 0],
    ['3.7.0', 0, 1],
    ['3.7.1', 0, 0],
    ['3.8.0', 0, 0],
    ['4.0.0', 0, 0],
    ['unknown', 0, 0],
  ] as const) {
    assert.deepEqual([version, faultsOfVersion(version, false).length], [version, faults]);
    assert.deepEqual([version, faultsOfVersion(version, true).length], [version, withUsers]);
  }
  assert.match(faultsOfVersion('3.5.2', false)[0]!, /can corrupt its data/);
  assert.match(faultsOfVersion('3.6.13', true)[0]!, /beyond its roles/);
});
