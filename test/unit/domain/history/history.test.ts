import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReportedState } from '../../../../src/gen/rollcall/v1/instance.js';
import { OverrideState } from '../../../../src/gen/rollcall/v1/override.js';
import { TransitionKind } from '../../../../src/gen/rollcall/v1/transition.js';
import { UNSIGNED } from '../../../../src/model/actor.js';
import { Stage } from '../../../support/stage.js';

const kindsOf = (stage: Stage, id = 'p1'): string[] =>
  stage.replica.history.ring
    .ofInstance('default', 'pay', id)
    .map(({ kind }) => TransitionKind[kind].replace('TRANSITION_KIND_', ''))
    .reverse();

test('every kind of change of an instance is a transition, and a touch is none', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a' }));
  await stage.until(stage.register({ incarnation: 'a' }));
  await stage.until(stage.register({ incarnation: 'a', version: '2' }));
  await stage.until(
    stage.beat({ incarnation: 'a', reported: { state: ReportedState.REPORTED_STATE_DEGRADED, note: '' } }),
  );
  await stage.untilTrue(() => stage.isSilent(), 10_000);
  await stage.until(stage.beat({ incarnation: 'a' }));
  await stage.until(stage.register({ incarnation: 'b' }));
  const decision = {
    state: OverrideState.OVERRIDE_STATE_DRAIN,
    weight: undefined,
    incarnation: 'b',
    expireAfterMs: undefined,
  };
  const names = { namespace: 'default', service: 'pay', id: 'p1' };
  await stage.until(
    stage.replica.overrides.set({ ...names, decision, expectedRevision: undefined, force: true }, UNSIGNED),
  );
  await stage.until(stage.replica.overrides.clear(names, undefined, UNSIGNED));
  await stage.until(stage.deregister({ incarnation: 'b' }));
  await stage.until(stage.register({ incarnation: 'c' }));
  await stage.untilTrue(() => stage.instance() === undefined, 20 * 60_000);
  assert.deepEqual(kindsOf(stage), [
    ...['REGISTERED', 'UPDATED', 'REPORTED', 'SILENT', 'HEALED', 'TAKEN_OVER'],
    ...['OVERRIDE_SET', 'OVERRIDE_ENDED', 'DEREGISTERED', 'REGISTERED', 'SILENT', 'EXPIRED'],
  ]);
});

test('a history is complete since its first listing, and since the last one in which changes may have met', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a' }));
  const { revision } = stage.replica.history.completeSince();
  assert.ok(revision < Number(stage.replica.catalog.revision));
  const release = stage.holdWatch();
  const again = stage.register({ incarnation: 'b' });
  await stage.pass(1_500);
  stage.store.compactAll();
  release();
  await stage.until(again);
  await stage.pass(15_000);
  assert.ok(stage.replica.history.completeSince().revision >= revision);
  await stage.start();
  assert.deepEqual(kindsOf(stage), [], 'another process has seen nothing of it');
  assert.equal(stage.replica.history.completeSince().revision, Number(stage.replica.catalog.revision));
});
