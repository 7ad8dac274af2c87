import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ALL_ALARMS, ALL_COUNTERS } from '../../src/instruments.js';

test('no two counters and no two alarms have the same name, and each has a help text', () => {
  for (const names of [ALL_COUNTERS, ALL_ALARMS].map((all) => all.map(({ name }) => name)))
    assert.deepEqual(names, [...new Set(names)]);
  for (const { name, help } of ALL_COUNTERS) assert.match(help, /^[A-Z].*\.$/, name);
  for (const { name, meaning } of ALL_ALARMS) assert.match(meaning, /^[A-Z].*\.$/, name);
});
