import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CHECK, recordedProtection } from '../../../../src/catalog/kinds.js';
import type { Juror } from '../../../../src/domain/health/peers.js';
import { Tracked } from '../../../../src/domain/checks/tracked.js';
import { CheckVerdict, HealthCheck, ProbeOutcome } from '../../../../src/gen/rollcall/v1/check.js';
import { TestimonyKind } from '../../../../src/gen/rollcall/v1/cause.js';
import { Health, HealthReason, RemovalReason } from '../../../../src/gen/rollcall/v1/instance.js';
import { OverrideState } from '../../../../src/gen/rollcall/v1/override.js';
import { UNSIGNED } from '../../../../src/model/actor.js';
import { checkKey } from '../../../../src/model/check.js';
import { protectionBegun, protectionKey, writeProtection } from '../../../../src/model/protection.js';
import { putTxn } from '../../../../src/store/store.js';
import { canonicalIp } from '../../../../src/model/address.js';
import { addressFor } from '../../../support/addresses.js';
import { TransitionKind } from '../../../../src/gen/rollcall/v1/transition.js';
import { Stage } from '../../../support/stage.js';
import { Targets, type TargetState } from '../../../support/targets.js';

const INTERVAL_MS = 10_000;
/** Detection by the defaults: interval, two quick probes, and what the verdict takes. */
const DETECTION_MS = INTERVAL_MS + 2 * (INTERVAL_MS / 3) + 2_000;
const TCP: { probe: { $case: 'tcp'; value: object } } = { probe: { $case: 'tcp', value: {} } };
const PAY = { namespace: 'default', service: 'pay' };
const P1 = { ...PAY, id: 'p1' };
const SIGNED = { ...UNSIGNED, author: 'ops', comment: 'test' };

/** A stage whose targets a test controls. */
class Checks {
  readonly targets = new Targets();
  readonly stage = new Stage();

  static async ready(): Promise<Checks> {
    const checks = new Checks();
    checks.stage.prober = checks.targets;
    await checks.stage.start();
    return checks;
  }

  async add(id: string, given: object = {}): Promise<void> {
    await this.stage.until(this.stage.register({ id, incarnation: 'a', static: true, checks: [TCP], ...given }));
  }

  make(id: string, state: TargetState): void {
    this.targets.states.set(canonicalIp(addressFor(id)), state);
  }

  item(id = 'p1') {
    return this.stage.replica.catalog.instances.get('default', 'pay', id);
  }

  state(id = 'p1'): string {
    const { health, healthReason } = this.item(id)!.instance;
    return `${Health[health]} ${HealthReason[healthReason]}`.replace('HEALTH_REASON_', '').replace('HEALTH_', '');
  }

  verdict(id = 'p1'): string {
    return CheckVerdict[this.item(id)!.checks.verdict].replace('CHECK_VERDICT_', '');
  }

  untilVerdict(verdict: string, withinMs: number, id = 'p1'): Promise<number> {
    return this.stage.untilTrue(() => this.verdict(id) === verdict, withinMs);
  }

  /** Why an instance is not probed, or its failure is not recorded. */
  note(id: string): string {
    const { checker } = this.stage.replica;
    return checker.noteOn(checker.mine(this.item(id)!.key)!);
  }

  revision(): bigint {
    return this.stage.store.revision;
  }

  /** The number of probes of an instance that have failed. */
  failures(): number {
    return this.stage.count('probes_failed');
  }
}

/** Another member that sees the targets in its own way. */
function member(node: string, outcome: ProbeOutcome | undefined): Juror & { asked: number } {
  return {
    node,
    canProbe: true,
    asked: 0,
    lastHeard: () => Promise.resolve([]),
    probe(queries) {
      this.asked++;
      if (outcome === undefined) return Promise.reject(new Error('no answer'));
      return Promise.resolve(queries.map(() => ({ outcome, latencyMs: 1, error: '' })));
    },
  };
}

test('an instance with checks is PENDING until they pass, and a first pass suffices', async () => {
  const checks = await Checks.ready();
  checks.make('p1', 'fail');
  await checks.add('p1');
  assert.equal(checks.state(), 'UNHEALTHY CHECK_PENDING');
  await checks.stage.pass(30_000);
  assert.equal(checks.state(), 'UNHEALTHY CHECK_PENDING', 'one that never passed is not FAILED');
  checks.make('p1', 'pass');
  await checks.untilVerdict('PASSING', INTERVAL_MS + 1_000);
  assert.equal(checks.state(), 'HEALTHY UNSPECIFIED');
});

test('K5 K6: what fails is FAILED within its time and names the error, and heals by its threshold', async () => {
  const checks = await Checks.ready();
  await checks.add('p1');
  await checks.untilVerdict('PASSING', 2_000);
  checks.make('p1', 'fail');
  await checks.untilVerdict('FAILED', DETECTION_MS);
  const { instance, checks: of } = checks.item()!;
  assert.deepEqual([checks.state(), instance.healthNote], ['UNHEALTHY CHECK_FAILED', 'ECONNREFUSED']);
  assert.equal(of.item!.record.cause!.decidedBy, 'stage');
  assert.ok(instance.revision > instance.registrationRevision, 'a visible change, but not of the registration');
  checks.make('p1', 'pass');
  const healedMs = await checks.untilVerdict('PASSING', 2 * INTERVAL_MS);
  assert.ok(healedMs > 1_000, 'one pass does not heal');
});

test('instances that register together are not probed together for ever', async () => {
  const checks = await Checks.ready();
  const ids = Array.from({ length: 40 }, (_, i) => `p${i}`);
  for (const id of ids) await checks.add(id);
  await checks.stage.pass(2 * INTERVAL_MS);
  const from = checks.targets.probed.length;
  await checks.stage.pass(INTERVAL_MS / 2);
  const probed = new Set(checks.targets.probed.slice(from)).size;
  assert.ok(probed > 8 && probed < 32, `${probed} of ${ids.length} in half of an interval`);
});

test('K8: a steady state writes nothing', async () => {
  const checks = await Checks.ready();
  for (const id of ['p1', 'p2', 'p3']) await checks.add(id);
  checks.make('p2', 'fail');
  await checks.untilVerdict('PASSING', 2_000);
  await checks.stage.pass(60_000);
  const before = checks.revision();
  const probed = checks.targets.probed.length;
  await checks.stage.pass(5 * 60_000);
  assert.equal(checks.revision(), before);
  assert.ok(checks.targets.probed.length > probed + 3 * 25, 'and probes go on');
});

test('K3: an outcome that says nothing about the target changes no verdict', async () => {
  const checks = await Checks.ready();
  await checks.add('p1');
  await checks.untilVerdict('PASSING', 2_000);
  for (const state of ['inconclusive', 'denied'] as const) {
    checks.make('p1', state);
    await checks.stage.pass(5 * INTERVAL_MS);
    assert.equal(checks.verdict(), 'PASSING', state);
  }
  assert.equal(checks.stage.count('CHECK_TARGETS_DENIED'), 1);
  checks.make('p1', 'fail');
  await checks.stage.untilTrue(() => checks.failures() === 2, DETECTION_MS);
  checks.make('p1', 'inconclusive');
  await checks.stage.pass(10 * INTERVAL_MS);
  assert.equal(checks.verdict(), 'PASSING', 'two failures are not three');
});

test('K1: one pass of another member acquits, and an alarm names it after five minutes', async () => {
  const checks = await Checks.ready();
  const [n2, n3] = [member('n2', ProbeOutcome.PROBE_OUTCOME_FAIL), member('n3', ProbeOutcome.PROBE_OUTCOME_PASS)];
  checks.stage.peers = [n2, n3];
  await checks.add('p1');
  await checks.untilVerdict('PASSING', 2_000);
  checks.make('p1', 'fail');
  await checks.stage.pass(10 * 60_000);
  assert.equal(checks.verdict(), 'PASSING');
  assert.ok(n3.asked > 5);
  assert.equal(checks.stage.count('CHECKS_DISAGREE'), 1);
});

test('K1: without a majority that failed there is no verdict, and with one the record has every answer', async () => {
  const checks = await Checks.ready();
  const silent = member('n2', undefined);
  checks.stage.peers = [silent, member('n3', ProbeOutcome.PROBE_OUTCOME_INCONCLUSIVE)];
  await checks.add('p1');
  await checks.untilVerdict('PASSING', 2_000);
  checks.make('p1', 'fail');
  await checks.stage.pass(120_000);
  assert.equal(checks.verdict(), 'PASSING', 'one of three is no majority');
  checks.stage.peers = [silent, member('n3', ProbeOutcome.PROBE_OUTCOME_FAIL)];
  await checks.untilVerdict('FAILED', DETECTION_MS);
  const { testimonies } = checks.item()!.checks.item!.record.cause!;
  assert.deepEqual(
    testimonies.map(({ node, kind }) => [node, kind]),
    [
      ['stage', TestimonyKind.TESTIMONY_KIND_FAILED],
      ['n3', TestimonyKind.TESTIMONY_KIND_FAILED],
    ],
  );
});

test('K1: servers that may not probe an instance count in no majority, and one that is left decides as if it were alone', async () => {
  const checks = await Checks.ready();
  const off = { ...member('n2', undefined), canProbe: false };
  checks.stage.peers = [off, member('n3', ProbeOutcome.PROBE_OUTCOME_DENIED)];
  for (const id of ['p1', 'p2', 'p3', 'p4', 'p5']) await checks.add(id);
  await checks.untilVerdict('PASSING', 2_000);
  await checks.stage.pass(2 * INTERVAL_MS);
  checks.make('p1', 'fail');
  await checks.untilVerdict('FAILED', DETECTION_MS);
  assert.equal(off.asked, 0, 'it is not asked');
  // As alone: many failures at once are held.
  for (const id of ['p2', 'p3', 'p4', 'p5']) checks.make(id, 'fail');
  await checks.stage.pass(10 * INTERVAL_MS);
  assert.deepEqual(
    ['p2', 'p3', 'p4', 'p5'].map((id) => checks.verdict(id)),
    ['PASSING', 'PASSING', 'PASSING', 'PASSING'],
  );
  assert.match(
    checks.note('p2'),
    /^its failure is held: 4 of 4 instances fail at once, and no other server can be asked$/,
  );
  assert.equal(checks.stage.count('CHECKS_HELD'), 1);
});

test('a failure that others do not confirm says so beside its probes', async () => {
  const checks = await Checks.ready();
  checks.stage.peers = [member('n2', undefined), member('n3', ProbeOutcome.PROBE_OUTCOME_INCONCLUSIVE)];
  await checks.add('p1');
  await checks.untilVerdict('PASSING', 2_000);
  checks.make('p1', 'fail');
  await checks.stage.pass(DETECTION_MS);
  assert.equal(
    checks.note('p1'),
    'its failure is not recorded: only 1 of the 3 servers that may probe it do not reach it',
  );
  checks.stage.peers = [member('n2', ProbeOutcome.PROBE_OUTCOME_PASS)];
  await checks.stage.pass(2 * INTERVAL_MS);
  assert.equal(checks.note('p1'), 'its failure is not recorded: n2 reaches it');
  checks.stage.peers = [member('n2', undefined)];
  await checks.stage.pass(4 * INTERVAL_MS);
  assert.match(checks.note('p1'), /only 1 of the 2 servers/);
  checks.stage.peers = [member('n2', ProbeOutcome.PROBE_OUTCOME_PASS)];
  await checks.stage.pass(4 * INTERVAL_MS);
  assert.equal(checks.note('p1'), 'its failure is not recorded: n2 reaches it');
  checks.make('p1', 'pass');
  await checks.stage.pass(2 * INTERVAL_MS);
  assert.equal(checks.note('p1'), '');
});

/** Defines the check of the service. */
const serviceCheck = (checks: Checks, ...timeouts: bigint[]): Promise<bigint> => {
  const definitions = timeouts.map((seconds) =>
    HealthCheck.fromPartial({
      ...{ name: 'tcp', probe: TCP.probe, unhealthyThreshold: 3, healthyThreshold: 2 },
      ...{ interval: { seconds: 10n, nanos: 0 }, timeout: { seconds, nanos: 0 } },
    }),
  );
  return checks.stage.until(checks.stage.replica.serviceChecks.set(PAY, definitions, SIGNED));
};

test('K2: what changes while the others are asked voids the question', async () => {
  const changes: Record<string, (checks: Checks) => Promise<unknown>> = {
    'another run registers': (checks) => checks.add('p1', { incarnation: 'b', checks: [] }),
    'it is removed': (checks) =>
      checks.stage.until(checks.stage.replica.registrations.deregister({ ...P1, incarnation: undefined })),
    'it defines a check of its own': (checks) => checks.add('p1', { checks: [{ ...TCP, unhealthyThreshold: 2 }] }),
    'the check is defined in other words': (checks) => serviceCheck(checks, 1n),
    'the check ends': (checks) => serviceCheck(checks),
    'it passes here': async (checks) => {
      checks.make('p1', 'pass');
      await checks.stage.pass(INTERVAL_MS);
    },
  };
  for (const [name, change] of Object.entries(changes)) {
    const checks = await Checks.ready();
    const slow = member('n2', ProbeOutcome.PROBE_OUTCOME_FAIL);
    let answer: (() => void) | undefined;
    checks.stage.peers = [
      {
        ...slow,
        probe: async (queries, timeoutMs) => {
          await new Promise<void>((resolve) => (answer = resolve));
          return slow.probe(queries, timeoutMs);
        },
      },
    ];
    await serviceCheck(checks, 3n);
    await checks.add('p1', { checks: [] });
    await checks.untilVerdict('PASSING', 2_000);
    checks.make('p1', 'fail');
    await checks.stage.untilTrue(() => answer !== undefined, DETECTION_MS);
    await change(checks);
    const before = checks.revision();
    answer!();
    await checks.stage.pass(900);
    assert.equal(checks.revision(), before, name);
  }
});

test('K5: an instance that registers in other words while the others are asked is recorded as it is by then', async () => {
  const checks = await Checks.ready();
  const slow = member('n2', ProbeOutcome.PROBE_OUTCOME_FAIL);
  let answer: (() => void) | undefined;
  checks.stage.peers = [
    {
      ...slow,
      probe: async (queries, timeoutMs) => {
        await new Promise<void>((resolve) => (answer = resolve));
        return slow.probe(queries, timeoutMs);
      },
    },
  ];
  await checks.add('p1');
  await checks.untilVerdict('PASSING', 2_000);
  checks.make('p1', 'fail');
  await checks.stage.untilTrue(() => answer !== undefined, DETECTION_MS);
  await checks.add('p1', { metadata: new Map([['release', '2']]) });
  answer!();
  await checks.untilVerdict('FAILED', 900);
  assert.deepEqual(checks.item()!.instance.metadata, new Map([['release', '2']]));
});

test('K4: an instance that this member probes again counts from zero', async () => {
  const checks = await Checks.ready();
  await checks.add('p1', { checks: [{ ...TCP, unhealthyThreshold: 3 }] });
  await checks.untilVerdict('PASSING', 2_000);
  checks.make('p1', 'fail');
  await checks.stage.untilTrue(() => checks.failures() === 2, DETECTION_MS);
  for (const isMine of [false, true]) {
    checks.stage.checksAll = isMine;
    checks.stage.membersChanged();
  }
  await checks.stage.untilTrue(() => checks.failures() === 3, DETECTION_MS);
  await checks.stage.pass(1_000);
  assert.equal(checks.verdict(), 'PASSING', 'the two failures before count no more');
  await checks.untilVerdict('FAILED', DETECTION_MS);
});

test('K6: a heal by what others saw needs it of the same check, each time', async () => {
  const checks = await Checks.ready();
  const two = ['a', 'b'].map((name) => ({ ...TCP, name, unhealthyThreshold: 1 }));
  await checks.add('p1', { checks: two });
  await checks.untilVerdict('PASSING', 2_000);
  checks.make('p1', 'fail');
  await checks.untilVerdict('FAILED', DETECTION_MS);
  const n2 = member('n2', ProbeOutcome.PROBE_OUTCOME_PASS);
  checks.stage.peers = [n2];
  await checks.stage.untilTrue(() => n2.asked === 2, 20 * INTERVAL_MS);
  await checks.stage.pass(1_000);
  assert.equal(checks.verdict(), 'FAILED', 'both checks fail here');
});

test('K6: a failed instance that only another member reaches heals', async () => {
  const checks = await Checks.ready();
  await checks.add('p1');
  await checks.untilVerdict('PASSING', 2_000);
  checks.make('p1', 'fail');
  await checks.untilVerdict('FAILED', DETECTION_MS);
  checks.stage.peers = [member('n2', ProbeOutcome.PROBE_OUTCOME_PASS)];
  await checks.untilVerdict('PASSING', 8 * INTERVAL_MS);
});

test('K1: alone, no failure is recorded while more than 30 % and more than 3 fail at once', async () => {
  const checks = await Checks.ready();
  const ids = Array.from({ length: 10 }, (_, i) => `p${i}`);
  for (const id of ids) await checks.add(id);
  await checks.stage.untilTrue(() => ids.every((id) => checks.verdict(id) === 'PASSING'), 5_000);
  for (const id of ids) checks.make(id, 'fail');
  await checks.stage.pass(5 * 60_000);
  assert.ok(ids.every((id) => checks.verdict(id) === 'PASSING'));
  assert.equal(checks.stage.count('CHECKS_HELD'), 1);
  for (const id of ids.slice(3)) checks.make(id, 'pass');
  await checks.stage.untilTrue(() => ids.slice(0, 3).every((id) => checks.verdict(id) === 'FAILED'), 2 * DETECTION_MS);
  await checks.stage.pass(2_000);
  assert.equal(checks.stage.count('CHECKS_HELD cleared'), 1);
  assert.ok(ids.slice(3).every((id) => checks.verdict(id) === 'PASSING'));
  // Those that are recorded as failed do not count in the share.
  checks.make('p3', 'fail');
  await checks.untilVerdict('FAILED', 2 * DETECTION_MS, 'p3');
});

test('K1: alone, failures that come in one moment are held from the first on that makes them too many', async () => {
  const checks = await Checks.ready();
  const ids = Array.from({ length: 10 }, (_, i) => `p${i}`);
  for (const id of ids) await checks.add(id, { checks: [{ ...TCP, unhealthyThreshold: 1 }] });
  await checks.stage.untilTrue(() => ids.every((id) => checks.verdict(id) === 'PASSING'), 5_000);
  checks.targets.room = 0;
  await checks.stage.pass(2 * INTERVAL_MS);
  for (const id of ids) checks.make(id, 'fail');
  checks.targets.room = Infinity; // all of them are due, and probed in one tick
  await checks.stage.pass(1_000);
  const failed = ids.filter((id) => checks.verdict(id) === 'FAILED');
  assert.ok(failed.length <= 3, `${failed.length} failures were recorded`);
});

test('K1: alone, instances that never came up do not hold up the failures of others', async () => {
  const checks = await Checks.ready();
  for (const id of ['n1', 'n2', 'n3', 'n4']) {
    checks.make(id, 'fail');
    await checks.add(id);
  }
  for (const id of ['l1', 'l2', 'l3', 'l4']) await checks.add(id);
  await checks.untilVerdict('PASSING', 5_000, 'l4');
  checks.make('l4', 'fail');
  await checks.untilVerdict('FAILED', 2 * DETECTION_MS, 'l4');
  assert.equal(checks.stage.count('CHECKS_HELD'), 0);
});

test('a failure that is held says so beside its probes', async () => {
  const checks = await Checks.ready();
  const ids = Array.from({ length: 5 }, (_, i) => `p${i}`);
  for (const id of ids) await checks.add(id);
  await checks.stage.untilTrue(() => ids.every((id) => checks.verdict(id) === 'PASSING'), 5_000);
  assert.equal(checks.note('p0'), '');
  for (const id of ids) checks.make(id, 'fail');
  await checks.stage.pass(2 * DETECTION_MS);
  assert.equal(
    checks.note('p0'),
    'its failure is held: 5 of 5 instances fail at once, and no other server can be asked',
  );
  checks.targets.ours = 'no file descriptors';
  assert.equal(checks.note('p0'), 'no file descriptors');
});

test('K7: turning checks on hides no instance, and one that registers later is PENDING', async () => {
  const checks = await Checks.ready();
  await checks.add('old', { checks: [] });
  checks.make('old', 'fail');
  checks.make('new', 'fail');
  await serviceCheck(checks, 3n);
  assert.equal(checks.state('old'), 'HEALTHY UNSPECIFIED');
  await checks.add('new', { checks: [] });
  assert.equal(checks.state('new'), 'UNHEALTHY CHECK_PENDING');
  await checks.untilVerdict('FAILED', 2 * DETECTION_MS, 'old');
  const revision = checks.item('old')!.revision;
  // The end of the definition ends its verdicts, for both.
  await serviceCheck(checks);
  assert.deepEqual([checks.state('old'), checks.state('new')], ['HEALTHY UNSPECIFIED', 'HEALTHY UNSPECIFIED']);
  assert.ok(checks.item('old')!.revision > revision);
});

test('K7: a process that adds checks to itself is taken for passing, and its next run is PENDING', async () => {
  const checks = await Checks.ready();
  await checks.add('p1', { checks: [] });
  checks.make('p1', 'fail');
  await checks.add('p1');
  assert.equal(checks.state(), 'HEALTHY UNSPECIFIED');
  await checks.add('p1', { version: '2' });
  assert.equal(checks.state(), 'HEALTHY UNSPECIFIED', 'the same run goes on');
  await checks.untilVerdict('FAILED', 2 * DETECTION_MS);
  await checks.stage.until(checks.stage.register({ id: 'p1', incarnation: 'b', static: true, checks: [TCP] }));
  assert.equal(
    checks.state(),
    'UNHEALTHY CHECK_PENDING',
    'K7: a new incarnation begins again, however the old one was',
  );
});

test('K7: a verdict ends with the check that it was about, and checks of that name that come later hide nobody', async () => {
  const other = { ...TCP, name: 'other' };
  const changes: Record<string, (checks: Checks) => Promise<void>> = {
    'of the service, ended and defined again': async (checks) => {
      await serviceCheck(checks);
      await serviceCheck(checks, 3n);
    },
    'of the service, and meanwhile checks of its own': async (checks) => {
      await checks.add('p1', { checks: [other] });
      await checks.add('p1', { checks: [] });
    },
    'its own, given up and added again': async (checks) => {
      await checks.add('p1', { checks: [] });
      await checks.add('p1', { checks: [TCP] });
    },
    'its own, and meanwhile one of another name': async (checks) => {
      await checks.add('p1', { checks: [other] });
      await checks.add('p1', { checks: [other, TCP] });
    },
  };
  for (const [what, change] of Object.entries(changes)) {
    const checks = await Checks.ready();
    const isOwn = what.startsWith('its own');
    await checks.add('p1', { checks: isOwn ? [TCP] : [] });
    if (!isOwn) await serviceCheck(checks, 3n);
    await checks.untilVerdict('PASSING', 2_000);
    await checks.stage.pass(3 * INTERVAL_MS);
    checks.make('p1', 'fail');
    await checks.untilVerdict('FAILED', 2 * DETECTION_MS);
    // A rewrite of the records, and other words, change nothing.
    if (isOwn) await checks.add('p1', { version: '2' });
    else await serviceCheck(checks, 4n);
    assert.equal(checks.state(), 'UNHEALTHY CHECK_FAILED', what);
    checks.make('p1', 'inconclusive');
    await change(checks);
    assert.equal(checks.state(), 'HEALTHY UNSPECIFIED', what);
    await checks.stage.start();
    assert.equal(checks.state(), 'HEALTHY UNSPECIFIED', `${what}: a listing agrees`);
    checks.make('p1', 'fail');
    await checks.untilVerdict('FAILED', 2 * DETECTION_MS);
  }
});

test('K7: another run begins without the verdict on the one before, be it of the same incarnation', async () => {
  const deregisterAfter = { seconds: 200n, nanos: 0 };
  const checks = await Checks.ready();
  const add = (incarnation: string) =>
    checks.stage.until(
      checks.stage.register({ id: 'p1', incarnation, static: true, checks: [{ ...TCP, deregisterAfter }] }),
    );
  await add('a');
  await checks.untilVerdict('PASSING', 2_000);
  checks.make('p1', 'fail');
  await checks.untilVerdict('FAILED', DETECTION_MS);
  await add('b');
  assert.equal(checks.state(), 'UNHEALTHY CHECK_PENDING');
  await add('a');
  assert.equal(checks.state(), 'UNHEALTHY CHECK_PENDING', 'replaced for a moment');
  await checks.stage.untilTrue(() => checks.item()!.removedAtMs !== undefined, 300_000);
  await add('a');
  assert.equal(checks.state(), 'UNHEALTHY CHECK_PENDING', 'removed, and registered again');
  await checks.stage.start();
  assert.equal(checks.state(), 'UNHEALTHY CHECK_PENDING', 'a listing agrees');
  checks.make('p1', 'pass');
  await checks.untilVerdict('PASSING', 2 * INTERVAL_MS);
});

test('K4: verdicts outlive a start, and a start brings no transition', async () => {
  const checks = await Checks.ready();
  for (const id of ['up', 'down']) await checks.add(id);
  await checks.untilVerdict('PASSING', 2_000, 'down');
  checks.make('down', 'fail');
  await checks.untilVerdict('FAILED', DETECTION_MS, 'down');
  const before = checks.revision();
  await checks.stage.start();
  assert.deepEqual([checks.verdict('up'), checks.verdict('down')], ['PASSING', 'FAILED']);
  await checks.stage.pass(60_000);
  assert.deepEqual([checks.verdict('up'), checks.verdict('down')], ['PASSING', 'FAILED']);
  assert.equal(checks.revision(), before);
});

test('an operator releases checks: instances are shown until their checks fail again', async () => {
  const checks = await Checks.ready();
  checks.make('p1', 'fail');
  await checks.add('p1');
  await checks.stage.pass(5_000);
  const { released } = await checks.stage.until(
    checks.stage.replica.serviceChecks.release({ namespace: 'default', service: 'pay', id: '' }, SIGNED),
  );
  assert.equal(released, 1);
  assert.equal(checks.state(), 'HEALTHY UNSPECIFIED');
  const first = await checks.untilVerdict('FAILED', 2 * DETECTION_MS);
  // What had failed before does not count: it takes as many failures as after a pass.
  await checks.stage.until(
    checks.stage.replica.serviceChecks.release({ namespace: 'default', service: '', id: '' }, SIGNED),
  );
  const second = await checks.untilVerdict('FAILED', 2 * DETECTION_MS);
  for (const ms of [first, second]) assert.ok(ms >= 2 * (INTERVAL_MS / 3), `FAILED ${ms} ms after its release`);
});

test('K2: a release by a server that lags is none of the process that it has not heard of', async () => {
  const checks = await Checks.ready();
  checks.make('p1', 'fail');
  await checks.add('p1', { incarnation: 'a' });
  const { stage } = checks;
  const { serviceChecks } = stage.replica;
  const goesOn = stage.holdWatch();
  const taken = stage.register({ id: 'p1', incarnation: 'b', static: true, checks: [TCP] });
  await stage.pass(1_000);
  const release = serviceChecks.release({ namespace: 'default', service: 'pay', id: '' }, SIGNED);
  await stage.pass(500);
  const { entry } = await stage.store.get(checkKey('default', 'pay', 'p1'));
  assert.equal(entry, undefined, 'the process that it knows is gone');
  goesOn();
  await stage.until(taken);
  const { released } = await stage.until(release);
  assert.equal(released, 1);
  assert.equal(checks.item()!.checks.item!.record.incarnation, 'b');
  assert.equal(checks.state(), 'HEALTHY UNSPECIFIED');
});

test('K12: deregister_after removes what failed for so long, and a start begins the time again', async () => {
  const checks = await Checks.ready();
  const deregisterAfter = { seconds: 200n, nanos: 0 };
  await checks.add('p1', { checks: [{ ...TCP, deregisterAfter }] });
  await checks.untilVerdict('PASSING', 2_000);
  checks.make('p1', 'fail');
  await checks.untilVerdict('FAILED', DETECTION_MS);
  await checks.stage.pass(150_000);
  await checks.stage.start();
  await checks.stage.pass(150_000);
  assert.equal(checks.verdict(), 'FAILED');
  await checks.stage.untilTrue(() => checks.item()!.removedAtMs !== undefined, 60_000);
  assert.equal(checks.item()!.removalReason, RemovalReason.REMOVAL_REASON_CHECK_FAILED);
  assert.equal(checks.item()!.record.tombstone!.comment, 'tcp: ECONNREFUSED');
  checks.make('p2', 'fail');
  await checks.add('p2', { checks: [{ ...TCP, deregisterAfter }] });
  await checks.stage.untilTrue(() => checks.item('p2')!.removedAtMs !== undefined, 300_000);
  assert.equal(checks.item('p2')!.record.tombstone!.comment, 'tcp did not pass: ECONNREFUSED');
});

test('K12: what is not probed is not removed: checks off, a prober in trouble, or a target that is denied', async () => {
  const deregisterAfter = { seconds: 200n, nanos: 0 };
  for (const unknown of ['inconclusive', 'denied'] as const) {
    const checks = await Checks.ready();
    await checks.add('failed', { checks: [{ ...TCP, deregisterAfter }] });
    await checks.untilVerdict('PASSING', 2_000, 'failed');
    checks.make('failed', 'fail');
    await checks.untilVerdict('FAILED', DETECTION_MS, 'failed');
    for (const id of ['failed', 'pending']) checks.make(id, unknown);
    await checks.add('pending', { checks: [{ ...TCP, deregisterAfter }] });
    await checks.stage.pass(400_000);
    assert.deepEqual([checks.verdict('failed'), checks.verdict('pending')], ['FAILED', 'PENDING'], unknown);
    checks.make('failed', 'fail');
    await checks.stage.pass(150_000);
    assert.equal(checks.verdict('failed'), 'FAILED', 'the time begins again');
    await checks.stage.untilTrue(() => checks.item('failed')!.removedAtMs !== undefined, 100_000);
  }
  const stage = new Stage();
  await stage.start();
  const off = { id: 'p1', incarnation: 'a', static: true, checks: [{ ...TCP, deregisterAfter }] };
  await stage.until(stage.register(off));
  await stage.pass(400_000);
  assert.equal(stage.replica.catalog.instances.get('default', 'pay', 'p1')!.removedAtMs, undefined);
});

test('K12: of two checks, the one that did not pass for its time removes, and is named', async () => {
  const checks = await Checks.ready();
  checks.make('p1', 'fail');
  const gone = { ...TCP, name: 'gone', deregisterAfter: { seconds: 200n, nanos: 0 } };
  await checks.add('p1', { checks: [{ ...TCP, name: 'slow' }, gone] });
  await checks.stage.untilTrue(() => checks.item()!.removedAtMs !== undefined, 300_000);
  assert.equal(checks.item()!.record.tombstone!.comment, 'gone did not pass: ECONNREFUSED');
  const [last] = checks.stage.replica.history.ring.ofInstance('default', 'pay', 'p1');
  assert.deepEqual(
    [last!.kind, last!.comment],
    [TransitionKind.TRANSITION_KIND_EXPIRED, 'gone did not pass: ECONNREFUSED'],
    'the history says it, too',
  );
});

test('the checks of a service are transitions of its instances, and the same ones again are none', async () => {
  const checks = await Checks.ready();
  await checks.add('p1', { checks: [] });
  const first = await serviceCheck(checks, 3n);
  assert.equal(await serviceCheck(checks, 3n), first, 'nothing is written');
  assert.ok((await serviceCheck(checks, 4n)) > first);
  await serviceCheck(checks);
  await serviceCheck(checks);
  const { ring } = checks.stage.replica.history;
  assert.deepEqual(
    ring.ofInstance('default', 'pay', 'p1').map(({ kind }) => TransitionKind[kind].replace('TRANSITION_KIND_', '')),
    ['SERVICE_CHECKS_ENDED', 'SERVICE_CHECKS_SET', 'SERVICE_CHECKS_SET', 'REGISTERED'],
  );
});

test('K3: failures before this server lost its way to the targets make no verdict afterwards', async () => {
  const checks = await Checks.ready();
  const ids = Array.from({ length: 10 }, (_, i) => `p${i}`);
  for (const id of ids) await checks.add(id);
  await checks.untilVerdict('PASSING', 5_000, 'p9');
  await checks.stage.pass(2 * INTERVAL_MS);
  for (const id of ids) checks.make(id, 'fail');
  await checks.stage.pass(5 * INTERVAL_MS);
  for (const id of ids) checks.make(id, 'inconclusive');
  await checks.stage.pass(10 * INTERVAL_MS);
  assert.deepEqual([...new Set(ids.map((id) => checks.verdict(id)))], ['PASSING'], 'alone');
  // Nor with others of which one fails much later.
  for (const id of ids) checks.make(id, 'pass');
  await checks.stage.pass(3 * INTERVAL_MS);
  const inconclusive = member('n3', ProbeOutcome.PROBE_OUTCOME_INCONCLUSIVE);
  checks.stage.peers = [member('n2', ProbeOutcome.PROBE_OUTCOME_INCONCLUSIVE), inconclusive];
  checks.make('p1', 'fail');
  await checks.stage.pass(5 * INTERVAL_MS);
  checks.make('p1', 'inconclusive');
  await checks.stage.pass(2 * INTERVAL_MS);
  checks.stage.peers = [member('n2', ProbeOutcome.PROBE_OUTCOME_FAIL), inconclusive];
  await checks.stage.pass(10 * INTERVAL_MS);
  assert.equal(checks.verdict('p1'), 'PASSING', 'one of three has failed to reach it');
});

test('K12: two illnesses are not one, although nothing was seen between them', async () => {
  const checks = await Checks.ready();
  await checks.add('p1');
  await checks.untilVerdict('PASSING', 2_000);
  const ill = async () => {
    checks.make('p1', 'fail');
    await checks.untilVerdict('FAILED', DETECTION_MS);
    return checks.item()!;
  };
  const tracked = new Tracked(await ill());
  const [state] = tracked.states;
  state!.illSinceMs = 1;
  tracked.renew(checks.item()!);
  assert.equal(state!.illSinceMs, 1);
  checks.make('p1', 'pass');
  await checks.untilVerdict('PASSING', 2 * DETECTION_MS);
  tracked.renew(await ill());
  assert.equal(state!.illSinceMs, undefined);
});

test('K12: a service whose instances fail their checks at one event is protected, and nothing of it is removed', async () => {
  const checks = await Checks.ready();
  checks.stage.peers = [member('n2', ProbeOutcome.PROBE_OUTCOME_PASS)];
  const ids = Array.from({ length: 10 }, (_, i) => `p${i}`);
  const deregisterAfter = { seconds: 200n, nanos: 0 };
  for (const id of ids) await checks.add(id, { checks: [{ ...TCP, deregisterAfter }] });
  await checks.stage.pass(5 * 60_000); // they are seasoned
  for (const id of ids) checks.make(id, 'fail');
  checks.stage.peers = [member('n2', ProbeOutcome.PROBE_OUTCOME_FAIL)];
  await checks.stage.untilTrue(() => ids.every((id) => checks.verdict(id) === 'FAILED'), 2 * DETECTION_MS);
  const { catalog } = checks.stage.replica;
  assert.ok(recordedProtection(catalog.instances.scope('default', 'pay'))!.record.active);
  const shown = (): number => ids.filter((id) => catalog.instances.get('default', 'pay', id)!.shownByProtection).length;
  assert.ok(shown() === ids.length, `${shown()} shown`);
  await checks.stage.pass(250_000);
  assert.equal(shown(), ids.length, 'none was removed');
  for (const id of ids) checks.make(id, 'pass');
  await checks.stage.untilTrue(() => ids.every((id) => checks.verdict(id) === 'PASSING'), 3 * INTERVAL_MS);
  await checks.stage.pass(20_000);
  assert.equal(recordedProtection(catalog.instances.scope('default', 'pay'))!.record.active, false);
});

test('K6: what a protection shows heals without damping', async () => {
  const checks = await Checks.ready();
  checks.stage.peers = [member('n2', ProbeOutcome.PROBE_OUTCOME_FAIL)];
  const ids = Array.from({ length: 10 }, (_, i) => `p${i}`);
  for (const id of ids) await checks.add(id);
  await checks.stage.pass(5 * 60_000); // they are seasoned
  const all = (verdict: string): boolean => ids.every((id) => checks.verdict(id) === verdict);
  const heals: number[] = [];
  for (let i = 0; i < 3; i++) {
    for (const id of ids) checks.make(id, 'fail');
    await checks.stage.untilTrue(() => all('FAILED'), 3 * DETECTION_MS);
    assert.ok(ids.every((id) => checks.item(id)!.shownByProtection));
    for (const id of ids) checks.make(id, 'pass');
    heals.push(await checks.stage.untilTrue(() => all('PASSING'), 60_000));
  }
  assert.ok(Math.max(...heals) <= 2 * INTERVAL_MS, heals.join());
});

test('E4: one that never passed is no fall after its release either, and one that has passed since is', async () => {
  for (const passes of [false, true]) {
    const checks = await Checks.ready();
    checks.stage.peers = [member('n2', ProbeOutcome.PROBE_OUTCOME_FAIL)];
    const ids = Array.from({ length: 10 }, (_, i) => `p${i}`);
    for (const id of ids) {
      checks.make(id, 'fail');
      await checks.add(id);
    }
    await checks.stage.pass(5 * 60_000); // they are registered for long
    const all = { namespace: 'default', service: 'pay', id: '' };
    await checks.stage.until(checks.stage.replica.serviceChecks.release(all, SIGNED));
    if (passes) {
      for (const id of ids) checks.make(id, 'pass');
      await checks.stage.pass(2 * INTERVAL_MS);
      for (const id of ids) checks.make(id, 'fail');
    }
    await checks.stage.untilTrue(() => ids.every((id) => checks.verdict(id) === 'FAILED'), 6 * DETECTION_MS);
    await checks.stage.pass(5_000);
    const protection = recordedProtection(checks.stage.replica.catalog.instances.scope('default', 'pay'));
    assert.equal(protection?.record.active ?? false, passes);
  }
});

test('E4: failures that a start finds count as long as they may be of one event, and not for ever', async () => {
  for (const [minutes, isProtected] of [
    [1, true],
    [12, false],
  ] as const) {
    const checks = await Checks.ready();
    checks.stage.peers = [member('n2', ProbeOutcome.PROBE_OUTCOME_FAIL)];
    const services = { a: ['a1', 'a2'], b: ['b1', 'b2'] };
    for (const [service, ids] of Object.entries(services)) for (const id of ids) await checks.add(id, { service });
    await checks.stage.pass(5 * 60_000);
    const scopes = () =>
      Object.keys(services).map((name) => checks.stage.replica.catalog.instances.scope('default', name)!);
    const failed = (): number =>
      scopes()
        .flatMap((scope) => [...scope.live()])
        .filter((one) => one.checks.verdict === CheckVerdict.CHECK_VERDICT_FAILED).length;
    // Two events, and neither is widespread: the first is over when the second comes.
    for (const [ids, minutesLater] of [
      [services.a, 11],
      [services.b, minutes],
    ] as const) {
      const before = failed();
      for (const id of ids) checks.make(id, 'fail');
      await checks.stage.untilTrue(() => failed() === before + 2, 3 * DETECTION_MS);
      await checks.stage.pass(minutesLater * 60_000);
    }
    const isActive = (): boolean => scopes().some((scope) => recordedProtection(scope)?.record.active === true);
    assert.equal(isActive(), false);
    await checks.stage.start();
    await checks.stage.pass(60_000);
    assert.equal(isActive(), isProtected, `${minutes} min`);
  }
});

test('E4: a process that never passed its checks is no fall: it begins no protection, and none shows it', async () => {
  const checks = await Checks.ready();
  checks.stage.peers = [member('n2', ProbeOutcome.PROBE_OUTCOME_FAIL)];
  const ids = Array.from({ length: 10 }, (_, i) => `p${i}`);
  for (const id of ids) await checks.add(id);
  await checks.stage.pass(5 * 60_000); // they are seasoned
  const runsAnew = async (id: string): Promise<void> => {
    checks.make(id, 'fail');
    await checks.stage.until(checks.stage.register({ id, incarnation: 'b', static: true, checks: [TCP] }));
  };
  const protection = () => recordedProtection(checks.stage.replica.catalog.instances.scope('default', 'pay'));
  for (const id of ids.slice(0, 3)) await runsAnew(id);
  await checks.stage.pass(60_000);
  assert.deepEqual([checks.verdict('p0'), protection()], ['PENDING', undefined]);
  for (const id of ids.slice(3)) checks.make(id, 'fail');
  await checks.stage.untilTrue(() => protection()?.record.active === true, 3 * DETECTION_MS);
  await runsAnew('p9');
  await checks.stage.pass(60_000);
  assert.deepEqual([checks.verdict('p9'), checks.item('p9')!.shownByProtection], ['PENDING', false]);
  assert.deepEqual([checks.verdict('p3'), checks.item('p3')!.shownByProtection], ['FAILED', true]);
});

test('K12: nothing is removed against a protection that has just begun elsewhere', async () => {
  const checks = await Checks.ready();
  const deregisterAfter = { seconds: 200n, nanos: 0 };
  await checks.add('p1', { checks: [{ ...TCP, deregisterAfter }] });
  await checks.stage.pass(5 * 60_000); // it is seasoned
  checks.make('p1', 'fail');
  await checks.untilVerdict('FAILED', DETECTION_MS);
  await checks.stage.pass(190_000);
  const release = checks.stage.holdWatch();
  const event = { fromRevision: 1n, before: 8 };
  const record = protectionBegun(event, { writeId: 'other', wallMs: 0, node: 'n2' });
  const value = writeProtection(record);
  await checks.stage.until(checks.stage.store.commit(putTxn('other', protectionKey('default', 'pay'), value, 0n)));
  await checks.stage.pass(20_000);
  release();
  await checks.stage.pass(1_000);
  assert.equal(checks.item()!.removedAtMs, undefined);
  assert.ok(checks.item()!.shownByProtection);
});

test('K13: while this server cannot probe, one that beats and reports itself healthy is ASSUMED, and others are not', async () => {
  const checks = await Checks.ready();
  checks.targets.ours = 'the prober itself: EMFILE';
  for (const id of ['beats', 'still', 'starts']) checks.make(id, 'inconclusive');
  await checks.add('beats', { static: false });
  await checks.add('still');
  await checks.add('starts', { static: false, reported: { state: 2, note: '' } });
  for (let s = 0; s < 40; s++) {
    await checks.stage.pass(1_000);
    for (const id of ['beats', 'starts']) await checks.stage.until(checks.stage.beat({ id, incarnation: 'a' }));
  }
  assert.deepEqual(
    ['beats', 'still', 'starts'].map((id) => checks.verdict(id)),
    ['ASSUMED', 'PENDING', 'PENDING'],
  );
  assert.equal(checks.state('beats'), 'HEALTHY UNSPECIFIED');
  checks.targets.ours = undefined;
  for (const id of ['beats', 'still', 'starts']) checks.make(id, 'pass');
  await checks.untilVerdict('PASSING', 2 * INTERVAL_MS, 'beats');
});

test('K13: where no server probes, one that beats and reports itself healthy is ASSUMED, and an alarm says why', async () => {
  const checks = new Checks();
  await checks.stage.start();
  assert.equal(checks.stage.count('CHECKS_INCONCLUSIVE'), 0);
  await checks.add('beats', { static: false });
  await checks.add('still');
  for (let s = 0; s < 40; s++) {
    await checks.stage.pass(1_000);
    await checks.stage.until(checks.stage.beat({ id: 'beats', incarnation: 'a' }));
  }
  assert.deepEqual([checks.verdict('beats'), checks.verdict('still')], ['ASSUMED', 'PENDING']);
  assert.equal(checks.stage.count('CHECKS_INCONCLUSIVE'), 1);
  assert.equal(checks.note('still'), 'no server probes: checks are off (--checks)');
});

test('K10: probes of an address that has enough of them wait for their turn, and hold up no others', async () => {
  const checks = await Checks.ready();
  for (const id of ['p1', 'p2', 'p3']) await checks.add(id);
  await checks.stage.untilTrue(() => ['p1', 'p2', 'p3'].every((id) => checks.verdict(id) === 'PASSING'), 5_000);
  const [one, other] = ['p1', 'p2'].map((id) => canonicalIp(addressFor(id)));
  checks.targets.busy.add(one!);
  const from = checks.targets.probed.length;
  await checks.stage.pass(3 * INTERVAL_MS);
  const probed = checks.targets.probed.slice(from);
  assert.deepEqual([probed.filter((ip) => ip === one).length, probed.filter((ip) => ip === other).length], [0, 3]);
  assert.equal(checks.verdict('p1'), 'PASSING', 'that says nothing about it');
  assert.match(checks.note('p1'), /^it waits for its turn/);
  checks.targets.busy.clear();
  await checks.stage.pass(100);
  assert.equal(checks.targets.probed.slice(from).filter((ip) => ip === one).length, 1, 'and no slot is made up for');
});

test('a limitation makes an instance DEGRADED after as many probes as a failure needs, and hides it from no view', async () => {
  const checks = await Checks.ready();
  await checks.add('p1');
  await checks.untilVerdict('PASSING', 2_000);
  checks.make('p1', 'degraded');
  await checks.untilVerdict('DEGRADED', 4 * INTERVAL_MS);
  assert.equal(checks.state(), 'DEGRADED CHECK_DEGRADED');
  checks.make('p1', 'pass');
  await checks.untilVerdict('PASSING', 4 * INTERVAL_MS);
});

test('K6: one that fails again soon after it healed needs more passes', async () => {
  const checks = await Checks.ready();
  await checks.add('p1');
  await checks.untilVerdict('PASSING', 2_000);
  const heals: number[] = [];
  for (let i = 0; i < 4; i++) {
    checks.make('p1', 'fail');
    await checks.untilVerdict('FAILED', 2 * DETECTION_MS);
    checks.make('p1', 'pass');
    heals.push(await checks.untilVerdict('PASSING', 120_000));
  }
  assert.ok(heals[1]! > heals[0]! && heals[3]! > 2 * heals[0]!, heals.join());
});

test('K2: an override outweighs a check, and a verdict is of no other incarnation', async () => {
  const checks = await Checks.ready();
  await checks.add('p1');
  await checks.untilVerdict('PASSING', 2_000);
  checks.make('p1', 'fail');
  await checks.untilVerdict('FAILED', DETECTION_MS);
  const decision = {
    weight: undefined,
    incarnation: '',
    expireAfterMs: undefined,
    state: OverrideState.OVERRIDE_STATE_DISABLE,
  };
  const names = { namespace: 'default', service: 'pay', id: 'p1' };
  await checks.stage.until(
    checks.stage.replica.overrides.set({ ...names, decision, expectedRevision: undefined, force: true }, SIGNED),
  );
  assert.equal(checks.state(), 'UNHEALTHY DISABLED');
  await checks.stage.until(checks.stage.replica.overrides.clear(names, undefined, SIGNED));
  assert.equal(checks.state(), 'UNHEALTHY CHECK_FAILED');
});

test('E4: a member records its part of the falls of one moment, also while it does not see those of the others', async () => {
  const checks = await Checks.ready();
  checks.stage.peers = ['n2', 'n3'].map((node) => member(node, ProbeOutcome.PROBE_OUTCOME_FAIL));
  const ids = Array.from({ length: 60 }, (_, i) => `p${i}`);
  for (const id of ids) await checks.add(id, { checks: [{ ...TCP, interval: { seconds: 3n, nanos: 0 } }] });
  const failed = (): number => ids.filter((id) => checks.verdict(id) === 'FAILED').length;
  await checks.stage.untilTrue(() => ids.every((id) => checks.verdict(id) === 'PASSING'), 5_000);
  for (const id of ids) checks.make(id, 'fail');
  await checks.stage.untilTrue(() => failed() > 0, 10_000);
  await checks.stage.pass(1_800);
  assert.equal(failed(), 10, 'a third of 31, although the failures of the other members cannot be seen');
  await checks.stage.untilTrue(() => failed() === ids.length, 60_000);
});

test('the record of a verdict goes after its instance', async () => {
  const checks = await Checks.ready();
  await checks.add('p1');
  await checks.untilVerdict('PASSING', 2_000);
  await checks.stage.until(checks.stage.deregister({ id: 'p1', incarnation: 'a' }));
  const record = () => checks.stage.replica.catalog.of(CHECK).get('default', 'pay', 'p1');
  assert.ok(record());
  await checks.stage.pass(10 * 60_000);
  assert.ok(record(), 'as long as its tombstone');
  await checks.stage.pass(40 * 60_000);
  assert.equal(record(), undefined);
});

test('K10: with less room than checks, intervals grow and no verdict is wrong', async () => {
  const checks = await Checks.ready();
  for (const id of ['p1', 'p2', 'p3']) await checks.add(id);
  await checks.stage.untilTrue(() => ['p1', 'p2', 'p3'].every((id) => checks.verdict(id) === 'PASSING'), 5_000);
  checks.targets.room = 0;
  await checks.stage.pass(60_000);
  assert.equal(checks.stage.count('PROBER_BEHIND'), 1);
  assert.equal(checks.stage.replica.checker.waiting, 3);
  checks.targets.room = Infinity;
  const probed = checks.targets.probed.length;
  await checks.stage.pass(900); // each goes on at its own moments, not before a second is over
  assert.equal(checks.targets.probed.length, probed + 3, 'a missed slot is not made up for');
  await checks.stage.pass(1_100);
  assert.equal(checks.stage.count('PROBER_BEHIND cleared'), 1);
});
