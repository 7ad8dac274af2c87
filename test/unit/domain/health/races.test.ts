import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Race, RACES } from '../../../support/races.js';

const FILE = fileURLToPath(new URL('../../../support/races.ts', import.meta.url));

/** Runs a race in a process of its own: node's test runner follows every promise, and these make millions. */
async function run(t: TestContext, race: Race): Promise<void> {
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', FILE, race]);
  t.diagnostic(stdout);
  assert.notDeepEqual(JSON.parse(stdout), {});
}

test(`E3: a beat against the verdict, ${RACES} interleavings: exactly one wins, and both know`, (t) =>
  run(t, 'beatAgainstVerdict'));

test(`I3: beats against Deregister, ${RACES} interleavings: what was removed stays so, and the client that beats learns it`, (t) =>
  run(t, 'beatsAgainstDeregister'));

test(`I2: Register of a new incarnation against Deregister and beats of the old one, ${RACES} interleavings: the new one is registered and beats, the old one is rejected`, (t) =>
  run(t, 'registerAgainstDeregisterAndBeats'));
