import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReportedState } from '../../../../src/gen/rollcall/v1/instance.js';
import { OverrideState } from '../../../../src/gen/rollcall/v1/override.js';
import { TransitionKind } from '../../../../src/gen/rollcall/v1/transition.js';
import { systemClock } from '../../../../src/base/clock.js';
import type { Log } from '../../../../src/base/telemetry.js';
import { earlierTransitions } from '../../../../src/domain/history/refill.js';
import { UNSIGNED } from '../../../../src/model/actor.js';
import { type RevisionBatch, StoreUnavailable } from '../../../../src/store/store.js';
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
});

/** A life with every kind of transition, of two instances. */
async function aLife(stage: Stage): Promise<void> {
  const names = { namespace: 'default', service: 'pay', id: 'p1' };
  const decision = {
    state: OverrideState.OVERRIDE_STATE_DRAIN,
    weight: undefined,
    incarnation: '',
    expireAfterMs: undefined,
  };
  await stage.until(stage.register({ incarnation: 'a' }));
  await stage.until(stage.register({ id: 'p2', incarnation: 'b' }));
  await stage.until(
    stage.replica.overrides.set({ ...names, decision, expectedRevision: undefined, force: true }, UNSIGNED),
  );
  await stage.until(stage.beat({ incarnation: 'a' }));
  await stage.until(stage.replica.overrides.clear(names, undefined, UNSIGNED));
  await stage.until(stage.deregister({ incarnation: 'a' }));
  await stage.untilTrue(() => stage.instance('p2') === undefined, 20 * 60_000);
}

test('a process that starts reads the transitions before its start from the history of the store', async () => {
  const stage = await Stage.ready();
  await aLife(stage);
  const before = [...stage.replica.history.ring.newest()];
  assert.ok(before.length >= 7, `${before.length}`);
  await stage.start();
  const { history, catalog } = stage.replica;
  await stage.until(stage.register({ id: 'p3', incarnation: 'c' }));
  await stage.untilTrue(() => history.completeSince().revision < Number(catalog.revision) - 1, 30_000);
  const [newest, ...earlier] = history.ring.newest();
  assert.equal(newest!.id, 'p3', 'what comes meanwhile is the newest');
  assert.deepEqual(earlier, before);
});

test('a history that was compacted begins there, and says so', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a' }));
  await stage.until(stage.register({ incarnation: 'b' }));
  stage.store.compactAll();
  const { revision } = stage.store;
  await stage.until(stage.register({ incarnation: 'c' }));
  await stage.until(stage.register({ incarnation: 'd' }));
  await stage.start();
  const { history } = stage.replica;
  await stage.untilTrue(() => history.completeSince().revision === Number(revision), 30_000);
  assert.deepEqual(kindsOf(stage), ['TAKEN_OVER', 'TAKEN_OVER']);
});

test('what came before a restore of the store is not told as its history', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a' }));
  const backup = stage.store.backup();
  await stage.until(stage.register({ incarnation: 'b' }));
  stage.store.restore(backup);
  await stage.pass(10_000);
  await stage.until(stage.register({ incarnation: 'c' }));
  await stage.pass(5_000);
  assert.deepEqual(kindsOf(stage), ['TAKEN_OVER']);
  const { revision } = stage.replica.history.completeSince();
  await stage.start();
  const { history, catalog } = stage.replica;
  await stage.untilTrue(() => history.completeSince().revision < Number(catalog.revision), 30_000);
  assert.deepEqual(kindsOf(stage), ['TAKEN_OVER']);
  assert.ok(history.completeSince().revision >= revision, 'the epoch that a restore brings is where it begins');
});

test('a store that does not hand out its history leaves the history as it began', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a' }));
  let tries = 0;
  stage.store.past = () => (tries++, Promise.reject(new StoreUnavailable('no answer')));
  await stage.start();
  const { history, catalog } = stage.replica;
  const since = { revision: Number(catalog.revision), timeMs: history.completeSince().timeMs };
  await stage.pass(40_000);
  const all = tries;
  assert.ok(all >= 10 && all <= 20, `${all} tries`);
  await stage.pass(40_000);
  await stage.until(stage.register({ incarnation: 'b' }));
  assert.equal(tries, all);
  assert.deepEqual(history.completeSince(), since);
  assert.ok(!kindsOf(stage).includes('REGISTERED'));
});

test('when the past is read, nothing that listened to its end is left', async () => {
  let given: AbortSignal | undefined;
  const store = {
    past: (_range: unknown, _until: unknown, signal: AbortSignal) => {
      given = signal;
      return Promise.resolve({ from: 1n, batches: none() });
    },
  };
  const stop = new AbortController();
  const parts = { store, clock: systemClock, log: LOG };
  assert.deepEqual(await earlierTransitions(parts, 1n, 10, stop.signal), { entries: [], since: 1n });
  // Node keeps a combined signal, and what listens to it, until it is aborted.
  assert.ok(given!.aborted);
  assert.ok(!stop.signal.aborted);
});

const ignore = (): void => undefined;
const LOG: Log = { debug: ignore, info: ignore, warn: ignore, error: ignore, child: () => LOG };

async function* none(): AsyncGenerator<RevisionBatch> {
  // nothing has happened
}
