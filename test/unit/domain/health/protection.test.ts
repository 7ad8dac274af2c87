import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Health, ReportedState } from '../../../../src/gen/rollcall/v1/instance.js';
import { OverrideState } from '../../../../src/gen/rollcall/v1/override.js';
import { UNSIGNED } from '../../../../src/model/actor.js';
import type { RollcallError } from '../../../../src/model/errors.js';
import { BARRIER_KEY } from '../../../../src/model/keys.js';
import { protectionKey } from '../../../../src/model/protection.js';
import { Stage } from '../../../support/stage.js';
import { named, Town } from '../../../support/town.js';

const MINUTE_MS = 60_000;
/** A verdict, a protection, and what the store takes for both. */
const SOON_MS = 1_000;
const TTL_MS = 2_000;
/** The last beat may have come this long before the instances stopped, and the verdict comes after the ttl. */
const FALLEN_MS = TTL_MS + SOON_MS;
/** Instances that have been registered for longer than this count. */
const SEASON_MS = 62_000;

const ids = (count: number, first = 0): string[] => Array.from({ length: count }, (_, i) => `p${first + i}`);

/** A town with a service "pay" and, beside it, twenty instances of others that beat all along. All are seasoned. */
async function settled(count: number, stage?: Stage): Promise<Town> {
  const town = new Town(stage ?? (await Stage.ready()));
  await town.add(named('other', 20));
  await town.add(named('pay', count));
  await town.stage.pass(SEASON_MS);
  return town;
}

test('E4 T1: all die and as many others come: the dead are shown until then, and not removed at once', async () => {
  const town = await settled(4);
  const { stage } = town;
  const reader = stage.watch();
  town.stop(named('pay', 4));
  await stage.pass(FALLEN_MS);
  const { ids: shown, protection } = town.shown('pay');
  assert.deepEqual(shown, ids(4));
  assert.deepEqual([protection?.beforeCount, protection?.unhealthyCount, protection?.totalCount], [4, 4, 4]);
  assert.equal(stage.instance('p0')?.health, Health.HEALTH_UNHEALTHY, 'recorded truthfully all the same');
  await stage.turns();
  const note = reader.last.services.find((one) => one.service === 'pay');
  assert.deepEqual([note?.protection?.beforeCount, note?.hiddenCount], [4, 0]);
  assert.equal(stage.count('protections_begun_alone'), 1);
  await stage.pass(2_000);
  for (let i = 0; i < 4; i++) {
    await town.add(named('pay', 1, 4 + i));
    await stage.pass(i < 3 ? 1_000 : 4_500);
  }
  assert.deepEqual(town.shown('pay').ids, ids(8));
  await stage.pass(1_500);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [ids(4, 4), false]);
  assert.deepEqual(town.registered('pay'), ids(8));
  assert.deepEqual([stage.count('protections_ended_full'), stage.count('PROTECTION cleared')], [1, 1]);
});

test('E4 T1b: five of eight die and five others come at once: never protected', async () => {
  const town = await settled(8);
  town.stop(named('pay', 5));
  await town.add(named('pay', 5, 8));
  await town.stage.pass(FALLEN_MS);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [ids(8, 5).sort(), false]);
  assert.equal(town.stage.count('PROTECTION'), 0);
});

test('E4: replacements that are half as many as the instances before are enough, although more fell than are up', async () => {
  for (const [before, replaced] of [
    [5, 4],
    [6, 3],
  ] as const) {
    const town = await settled(before);
    town.stop(named('pay', before));
    await town.add(named('pay', replaced, before));
    await town.stage.pass(FALLEN_MS);
    assert.deepEqual([town.shown('pay').ids.length, town.isProtected('pay')], [replaced, false], `${replaced}`);
    await town.leave(named('pay', 1, before));
    await town.stage.pass(SOON_MS);
    assert.equal(town.isProtected('pay'), 2 * (replaced - 1) < before, `one less than ${replaced}`);
  }
});

test('E4: the young of a loop neither prevent nor end the protection of its siblings', async () => {
  const town = await settled(10);
  const { stage } = town;
  let loops = 0;
  const loop = async (seconds: number): Promise<void> => {
    for (let i = 0; i < seconds; i++) {
      const name = `pay/loop${loops++}`;
      await town.add([name], { ttlS: 8 });
      town.stop([name]);
      await stage.pass(1_000);
    }
  };
  await loop(20);
  town.stop(named('pay', 6));
  await loop(4);
  const { ids: shown, protection } = town.shown('pay');
  assert.equal(protection?.beforeCount, 10);
  for (const id of ids(10)) assert.ok(shown.includes(id), id);
  await loop(20);
  assert.equal(town.isProtected('pay'), true);
});

test('E4: a member that could not judge for long takes no instance for young that registered meanwhile', async () => {
  const town = await settled(8);
  const { stage } = town;
  await town.add(['pay/loop'], { ttlS: 8 });
  town.stop(['pay/loop']);
  await stage.untilTrue(() => stage.instance('loop')?.health === Health.HEALTH_UNHEALTHY, 10_000);
  town.stop(named('pay', 4));
  await stage.untilTrue(() => town.shown('pay').ids.length === 4, 10_000);
  stage.selfBeatLate = true;
  await stage.pass(2_000);
  await town.add(named('pay', 4, 4), { incarnation: 'next' });
  await stage.pass(20_000);
  stage.selfBeatLate = false;
  await stage.pass(2_000);
  assert.equal(stage.count('PROTECTION'), 0);
  assert.equal(town.shown('pay').ids.length, 4);
});

test('E4 T2: a process that starts anew again and again under fresh ids is never shown when dead, and not kept', async () => {
  for (const address of [undefined, '10.9.9.9']) {
    const town = new Town(await Stage.ready());
    const { stage } = town;
    await town.add(named('other', 20));
    await town.add(named('pay', 3), { ttlS: 3 });
    await stage.pass(SEASON_MS);
    let most = 0;
    for (let i = 0; i < 20; i++) {
      const name = `pay/loop${i}`;
      await town.add([name], { ttlS: 3, ...(address && { address }) });
      await stage.pass(1_000);
      town.stop([name]);
      await stage.pass(1_000);
      most = Math.max(most, town.registered('pay').length);
      const { ids: shown } = town.shown('pay');
      assert.ok(
        shown.every((id) => stage.instance(id)?.health === Health.HEALTH_HEALTHY),
        shown.join(),
      );
    }
    await town.add(['pay/stable'], { ttlS: 3, ...(address && { address }) });
    await stage.pass(20_000);
    assert.ok(most <= (address ? 6 : 13), `${most} records`);
    assert.deepEqual(town.registered('pay'), ['p0', 'p1', 'p2', 'stable']);
    assert.equal(stage.count('PROTECTION'), 0);
  }
});

test('E4 T3 T17: a registry of small services that falls silent stays visible, also through a restart', async () => {
  for (const restarts of [false, true]) {
    const town = new Town(await Stage.ready());
    const { stage } = town;
    const sizes = [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 8, 15];
    const services = sizes.map((size, i) => ({ service: `s${i}`, names: named(`s${i}`, size) }));
    const all = services.flatMap(({ names }) => names);
    await town.add(all);
    await stage.pass(SEASON_MS);
    town.stop(all.slice(0, -3));
    if (restarts) {
      await stage.pass(1_000);
      await stage.start();
      await stage.pass(37_000);
    } else await stage.pass(4_500);
    for (const { service, names } of services)
      assert.equal(town.shown(service).ids.length, names.length, `${service}, restarted: ${restarts}`);
    await stage.pass(MINUTE_MS);
    for (const { service, names } of services) assert.equal(town.registered(service).length, names.length);
    assert.ok(stage.count('protections_begun_widespread') >= 14);
    town.resume(all);
    await stage.pass(3_000);
    assert.equal(services.filter(({ service }) => town.isProtected(service)).length, 0);
  }
});

test('E4 T4: two of two, or three of five, that die alone are hidden; more than three are not', async () => {
  const town = await settled(5);
  const { stage } = town;
  await town.add(named('db', 2));
  await stage.pass(SEASON_MS);
  town.stop([...named('db', 2)]);
  await stage.pass(FALLEN_MS);
  assert.deepEqual([town.shown('db').ids, town.shown('db').hidden, town.isProtected('db')], [[], 2, false]);
  town.resume(named('db', 2));
  await stage.pass(MINUTE_MS);
  town.stop(named('pay', 3));
  await stage.pass(FALLEN_MS);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [ids(2, 3), false]);
  town.stop(named('pay', 1, 3));
  await stage.pass(FALLEN_MS);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [ids(5), true]);
});

test('E4 T5: instances that die soon after they registered are not shown, and go after five ttls', async () => {
  const town = await settled(0);
  const { stage } = town;
  await town.add(named('pay', 6));
  await stage.pass(20_000);
  town.stop(named('pay', 6));
  await stage.pass(FALLEN_MS);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [[], false]);
  await stage.pass(5 * TTL_MS);
  assert.deepEqual(town.registered('pay'), []);
  assert.equal(stage.count('verdicts_unseasoned'), 6);
});

test('E4: an instance with a long ttl counts after three of them', async () => {
  for (const [waitMs, isProtected] of [
    [80_000, false],
    [95_000, true],
  ] as const) {
    const town = await settled(0);
    await town.add(named('pay', 6), { ttlS: 30 });
    await town.stage.pass(waitMs - 31_000);
    town.stop(named('pay', 6));
    await town.stage.pass(32_000);
    assert.equal(town.isProtected('pay'), isProtected, `${waitMs} ms`);
  }
});

test('E4 T6: later falls join the event, and the protection ends when all members have come back', async () => {
  const town = await settled(10);
  const { stage } = town;
  town.stop(named('pay', 6));
  await stage.pass(FALLEN_MS);
  assert.deepEqual(town.shown('pay').ids, ids(10));
  town.stop(named('pay', 2, 6));
  await stage.pass(FALLEN_MS);
  assert.deepEqual(town.shown('pay').ids, ids(10));
  assert.equal(town.shown('pay').protection?.unhealthyCount, 8);
  town.resume(named('pay', 8));
  await stage.pass(SOON_MS);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [ids(10), false]);
  assert.equal(stage.count('protections_ended_empty'), 1);
});

test('E4 T6b: half of a service is hidden', async () => {
  const town = await settled(10);
  town.stop(named('pay', 5));
  await town.stage.pass(FALLEN_MS);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [ids(5, 5), false]);
});

test('E4 T7: a rolling restart by kill -9 with new ids and addresses is never protected', async () => {
  const town = await settled(4);
  const { stage } = town;
  for (let i = 0; i < 4; i++) {
    town.stop(named('pay', 1, i));
    await stage.pass(1_000);
    await town.add(named('pay', 1, 4 + i));
    await stage.pass(4_000);
    const up = town.shown('pay').ids.length;
    assert.ok(up >= 3, `${up} shown`);
  }
  assert.equal(stage.count('PROTECTION'), 0);
});

test('E4: two restarts by kill -9 within ten minutes, with the dead of both still there, are never protected', async () => {
  const town = await settled(4);
  const { stage } = town;
  for (let deploy = 0; deploy < 2; deploy++) {
    for (let i = 0; i < 4; i++) {
      town.stop(named('pay', 1, 4 * deploy + i));
      await town.add(named('pay', 1, 4 * (deploy + 1) + i));
      await stage.pass(4_000);
    }
    await stage.pass(SEASON_MS);
  }
  assert.equal(town.registered('pay').length, 12);
  assert.deepEqual([town.shown('pay').ids.length, stage.count('PROTECTION')], [4, 0]);
});

test('E4: three falls of one service prove nothing about its surroundings, however small the registry is', async () => {
  const town = new Town(await Stage.ready());
  await town.add([...named('pay', 5), ...named('db', 2)]);
  await town.stage.pass(SEASON_MS);
  town.stop(named('pay', 3));
  await town.stage.pass(FALLEN_MS);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [ids(2, 3), false]);
  town.stop(named('db', 1));
  await town.stage.pass(FALLEN_MS);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [ids(5), true], 'now two services fell');
});

test('E4 T8: a member whose address another instance registers is removed at once', async () => {
  const town = await settled(0);
  const { stage } = town;
  const address = (i: number): string => `10.7.0.${i}`;
  for (let i = 0; i < 5; i++) await town.add(named('pay', 1, i), { address: address(i) });
  await stage.pass(SEASON_MS);
  const reader = stage.watch();
  town.stop(named('pay', 5));
  await stage.pass(5_000);
  await town.add(['pay/next'], { address: address(0) });
  await stage.pass(1_000);
  assert.deepEqual(town.registered('pay'), ['next', 'p1', 'p2', 'p3', 'p4']);
  assert.deepEqual([town.shown('pay').ids.length, town.isProtected('pay')], [5, true]);
  await stage.turns();
  const removed = reader.messages.flatMap((message) => message.removed);
  assert.deepEqual(
    removed.map(({ id, reason }) => [id, reason]),
    [['p0', 2]],
  );
});

test('E4 T8b: instances that are replaced at their own addresses before they fall silent never count', async () => {
  const town = await settled(0);
  const { stage } = town;
  for (let i = 0; i < 4; i++) await town.add(named('pay', 1, i), { address: `10.7.0.${i}` });
  await stage.pass(SEASON_MS);
  town.stop(named('pay', 4));
  await stage.pass(500);
  for (let i = 0; i < 4; i++) await town.add(named('pay', 1, 4 + i), { address: `10.7.0.${i}` });
  await stage.pass(FALLEN_MS);
  assert.deepEqual([town.shown('pay').ids, stage.count('PROTECTION')], [ids(4, 4), 0]);
  await stage.pass(5 * TTL_MS);
  assert.deepEqual(town.registered('pay'), ids(4, 4));
});

test('E4 T9: instances that deregistered do not count among those before the event', async () => {
  const town = await settled(12);
  await town.leave(named('pay', 7));
  await town.stage.pass(1_000);
  town.stop(named('pay', 2, 7));
  await town.stage.pass(FALLEN_MS);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [['p10', 'p11', 'p9'], false]);
});

test('E4 T10: an operator ends a protection; only later falls cause another one', async () => {
  const town = await settled(10);
  const { stage } = town;
  town.stop(named('pay', 6));
  await stage.pass(4_000);
  assert.deepEqual(town.shown('pay').ids, ids(10));
  const release = (): Promise<bigint> => stage.replica.protection.release('default', 'pay', UNSIGNED);
  const revision = await stage.until(release());
  assert.equal(await stage.until(release()), revision, 'a repeat is answered as the first');
  assert.deepEqual(town.shown('pay').ids, ids(4, 6));
  await stage.pass(10_000);
  await stage.start(); // also not in another process
  await stage.pass(40_000);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [ids(4, 6), false]);
  town.resume(named('pay', 6));
  await stage.pass(SOON_MS);
  assert.deepEqual(town.shown('pay').ids, ids(10));
  town.stop(named('pay', 10));
  await stage.pass(FALLEN_MS);
  assert.deepEqual([town.shown('pay').ids, town.shown('pay').protection?.beforeCount], [ids(10), 10]);
  const error = await stage.until(
    stage.replica.protection.release('default', 'db', UNSIGNED).catch((err: unknown) => err),
  );
  assert.equal((error as RollcallError).reason, 'NOT_PROTECTED');
});

/** An operator disables some instances. */
async function disable(town: Town, names: readonly string[]): Promise<void> {
  for (const id of names) {
    const decision = {
      state: OverrideState.OVERRIDE_STATE_DISABLE,
      weight: undefined,
      incarnation: '',
      expireAfterMs: undefined,
    };
    const request = { namespace: 'default', service: 'pay', id, decision, expectedRevision: undefined, force: true };
    await town.stage.until(town.stage.replica.overrides.set(request, UNSIGNED));
  }
}

test('E4 O2: an instance that an operator disables is not shown by a protection, and not counted in it', async () => {
  const town = await settled(10);
  const { stage } = town;
  town.stop(named('pay', 6));
  await stage.pass(4_000);
  assert.deepEqual(town.shown('pay').ids, ids(10));
  await disable(town, ids(2));
  assert.deepEqual(town.shown('pay').ids, ids(8, 2), 'the two are hidden, and the others are shown');
  town.resume(named('pay', 4, 2));
  await stage.pass(6_000);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [ids(8, 2), false], 'all eight that count are up');
});

test('E4: the fall of instances that an operator has disabled protects nothing, and those that are up are counted without them', async () => {
  const town = await settled(10);
  const { stage } = town;
  await disable(town, ids(6));
  town.stop(named('pay', 6));
  await stage.pass(FALLEN_MS);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [ids(4, 6), false]);
  town.stop(named('pay', 4, 6));
  await stage.pass(FALLEN_MS);
  assert.deepEqual([town.shown('pay').ids, town.shown('pay').protection?.beforeCount], [ids(4, 6), 4]);
});

test('E4 O2: those that are disabled during an event are not waited for: half of the others end it', async () => {
  const town = await settled(10);
  const { stage } = town;
  town.stop(named('pay', 6));
  await stage.pass(4_000);
  await disable(town, ids(3, 7));
  town.resume(named('pay', 3));
  await stage.pass(4 * MINUTE_MS);
  assert.equal(town.isProtected('pay'), true, 'four of seven are up');
  await stage.pass(2 * MINUTE_MS);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [[...ids(3), 'p6'], false]);
  assert.equal(stage.count('protections_ended_half'), 1);
});

test('E4: when all that fell are disabled, the protection is over', async () => {
  const town = await settled(8);
  town.stop(named('pay', 5));
  await town.stage.pass(4_000);
  assert.equal(town.isProtected('pay'), true);
  await disable(town, ids(5));
  await town.stage.pass(SOON_MS);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [ids(3, 5), false]);
  assert.equal(town.stage.count('protections_ended_empty'), 1);
});

test('E4 T11: three services of one that fall silent together are shown; two are not, nor is one of three', async () => {
  for (const [services, fallen, shown] of [
    [3, 3, 3],
    [2, 2, 0],
    [3, 1, 0],
  ] as const) {
    const town = new Town(await Stage.ready());
    const names = Array.from({ length: services }, (_, i) => `s${i}/p0`);
    await town.add(names);
    await town.stage.pass(SEASON_MS);
    town.stop(names.slice(0, fallen));
    await town.stage.pass(FALLEN_MS + SOON_MS);
    const seen = names.slice(0, fallen).filter((name) => town.shown(name.split('/')[0]!).ids.length > 0);
    assert.equal(seen.length, shown, `${fallen} of ${services}`);
  }
});

test('E4: a zone, or a namespace, that falls silent is noticed within a larger registry', async () => {
  for (const where of [{ zone: 'z1' }, { namespace: 'small' }]) {
    const town = new Town(await Stage.ready());
    await town.add(named('big', 40), { zone: 'z2' });
    for (const service of ['a', 'b', 'c']) await town.add(named(service, 1), where);
    await town.stage.pass(SEASON_MS);
    town.stop(['a/p0', 'b/p0', 'c/p0']);
    await town.stage.pass(FALLEN_MS + SOON_MS);
    for (const service of ['a', 'b', 'c']) {
      const { ids: shown, protection } = town.shown(service, where.namespace);
      assert.deepEqual([shown, protection?.beforeCount], [['p0'], 1], JSON.stringify(where));
    }
  }
});

test('E4 T12: instances that pause together again and again are visible again within a second each time', async () => {
  const town = await settled(10);
  const { stage } = town;
  for (let round = 0; round < 6; round++) {
    town.stop(named('pay', 10));
    const from = stage.world.now;
    await stage.untilTrue(() => stage.isSilent('p0'), FALLEN_MS);
    await stage.pass(SOON_MS);
    assert.deepEqual(town.shown('pay').ids, ids(10));
    await stage.pass(3_000 - Math.min(3_000, stage.world.now - from));
    town.resume(named('pay', 10));
    await stage.pass(3_000);
    assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [ids(10), false]);
  }
});

test('E4 T13: instances that are found at a start and do not beat any more are protected', async () => {
  const town = await settled(10);
  const { stage } = town;
  town.stop(named('pay', 10));
  await stage.start();
  for (let passed = 0; passed < 33_500; passed += 500) {
    await stage.pass(500);
    const { ids: shown } = town.shown('pay');
    assert.ok(shown.length >= 4, `${shown.length} shown`);
  }
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [ids(10), true]);
});

test('E4: instances that are found silent at a start count only if no other instance is up', async () => {
  const town = await settled(8);
  const { stage } = town;
  town.stop(named('pay', 4));
  await stage.pass(FALLEN_MS); // half: hidden
  assert.equal(town.isProtected('pay'), false);
  await stage.start();
  await stage.pass(SOON_MS);
  town.stop(named('pay', 1, 4));
  await stage.pass(40_000);
  assert.deepEqual(
    [town.shown('pay').ids, town.isProtected('pay')],
    [ids(3, 5), false],
    'the time of four falls is unknown',
  );
  town.stop(named('pay', 3, 5));
  await stage.pass(FALLEN_MS);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [ids(8), true]);
});

test('E4: instances that are found silent at a start are members of an event that comes', async () => {
  const town = await settled(14);
  const { stage } = town;
  town.stop(named('pay', 4));
  await stage.pass(FALLEN_MS);
  assert.equal(town.isProtected('pay'), false);
  await stage.start();
  await stage.pass(SOON_MS);
  town.stop(named('pay', 6, 4));
  await stage.pass(40_000);
  const { ids: shown, protection } = town.shown('pay');
  assert.deepEqual([shown, protection?.beforeCount], [ids(14).sort(), 10]);
});

test('E4 T14: instances of an event that has ended are not shown again by the next one', async () => {
  const town = await settled(4);
  const { stage } = town;
  town.stop(named('pay', 4));
  await stage.pass(4_000);
  await town.add(named('pay', 4, 4));
  await stage.pass(6_500);
  assert.deepEqual(town.shown('pay').ids, ids(4, 4));
  town.stop(named('pay', 4, 4));
  await stage.pass(FALLEN_MS);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [[], false], 'they were too young to count');
});

test('E4 T15: at loopback addresses and port 0, a new instance says nothing about an old one', async () => {
  for (const place of [{ address: '127.0.0.1' }, { port: 0, address: '10.0.0.1' }]) {
    const town = await settled(0);
    const { stage } = town;
    await town.add(named('pay', 2), place);
    await stage.pass(30_000);
    town.stop(named('pay', 1));
    await stage.pass(FALLEN_MS);
    await town.add(['pay/next'], place);
    await stage.pass(5 * TTL_MS - SOON_MS - 500);
    assert.deepEqual(town.registered('pay'), ['next', 'p0', 'p1']);
    await stage.pass(2_000);
    assert.deepEqual(town.registered('pay'), ['next', 'p1']);
  }
});

test('E4: a protection ends when half as many have been up for 5 min, and the rest go when they have been silent for 10', async () => {
  const town = await settled(8);
  const { stage } = town;
  town.stop(named('pay', 8));
  await stage.pass(FALLEN_MS);
  town.resume(named('pay', 4));
  await stage.pass(5 * MINUTE_MS - 2_000);
  assert.equal(town.isProtected('pay'), true);
  await stage.pass(3_000);
  assert.deepEqual([town.shown('pay').ids, town.isProtected('pay')], [ids(4), false]);
  assert.equal(stage.count('protections_ended_half'), 1);
  await stage.pass(5 * MINUTE_MS - 8_000);
  assert.deepEqual(town.registered('pay'), ids(8));
  await stage.pass(10_000);
  assert.deepEqual(town.registered('pay'), ids(4));
});

test('E4: a protection ends after the longest time, and its members go', async () => {
  const stage = new Stage();
  stage.protectionTimes = { ...stage.protectionTimes, maxMs: 60 * MINUTE_MS };
  await stage.start();
  const town = await settled(6, stage);
  town.stop(named('pay', 6));
  await stage.pass(59 * MINUTE_MS);
  assert.deepEqual([town.registered('pay'), town.shown('pay').ids], [ids(6), ids(6)]);
  await stage.pass(2 * MINUTE_MS);
  assert.deepEqual([town.registered('pay'), town.isProtected('pay')], [[], false]);
  assert.equal(stage.count('protections_ended_late'), 1);
});

test('E4: an interruption begins the 5 s of an end anew, and an outage of the store does not count', async () => {
  const town = await settled(8);
  const { stage } = town;
  town.stop(named('pay', 8));
  await stage.pass(FALLEN_MS);
  await town.add(named('pay', 8, 8));
  await stage.pass(3_000);
  await town.leave(['pay/p8']);
  await stage.pass(500);
  await town.add(['pay/p16']);
  await stage.pass(3_500);
  assert.equal(town.isProtected('pay'), true);
  stage.store.setOutage('refuse');
  await stage.pass(4_000);
  stage.store.setOutage(undefined);
  await stage.pass(500);
  assert.equal(town.isProtected('pay'), true);
  await stage.pass(3_000);
  assert.equal(town.isProtected('pay'), false);
});

test('E4: an instance that reports UNHEALTHY, STARTING or DRAINING is not shown by a protection, and does not count', async () => {
  const town = await settled(0);
  const { stage } = town;
  const { REPORTED_STATE_UNHEALTHY, REPORTED_STATE_STARTING, REPORTED_STATE_DRAINING } = ReportedState;
  await town.add(named('pay', 4));
  const states = [REPORTED_STATE_UNHEALTHY, REPORTED_STATE_STARTING, REPORTED_STATE_DRAINING];
  for (const [i, state] of states.entries()) await town.add(named('pay', 1, 4 + i), { reported: { state, note: '' } });
  await stage.pass(SEASON_MS);
  town.stop(named('pay', 7));
  await stage.pass(FALLEN_MS);
  assert.deepEqual([town.shown('pay').ids, town.shown('pay').hidden], [ids(4), 3]);
  assert.equal(town.shown('pay').protection?.beforeCount, 4);
});

test('E4: a protection outlives a restart', async () => {
  const town = await settled(8);
  const { stage } = town;
  town.stop(named('pay', 8));
  await stage.pass(FALLEN_MS);
  const { revision } = town.shown('pay').protection!;
  await stage.start();
  assert.deepEqual([town.shown('pay').ids, town.shown('pay').protection?.revision], [ids(8), revision]);
  await stage.pass(50_000);
  assert.equal(town.isProtected('pay'), true);
});

test('E4: a record that the store did not take is written again, and so is one that cannot be read', async () => {
  const town = await settled(8);
  const { stage } = town;
  await stage.write({ kind: 'put', key: protectionKey('default', 'pay'), value: Buffer.from([0xff]) });
  town.stop(named('pay', 8));
  await stage.untilTrue(() => stage.isSilent('p7'), FALLEN_MS);
  stage.store.setOutage('refuse');
  await stage.pass(3_000);
  stage.store.setOutage(undefined);
  await stage.untilTrue(() => town.isProtected('pay'), 10_000);
  assert.deepEqual(town.shown('pay').ids, ids(8));
});

test('E4: a record of a protection that cannot be read does not keep the dead', async () => {
  const town = new Town(await Stage.ready());
  const { stage } = town;
  await town.add(named('pay', 8));
  await stage.write({ kind: 'put', key: protectionKey('default', 'pay'), value: Buffer.from([0xff]) });
  town.stop(named('pay', 1));
  await stage.untilTrue(() => town.registered('pay').length === 7, 6 * TTL_MS + SOON_MS);
});

test('E4: a record of a protection that could not be read, and is gone, does not keep the dead either', async () => {
  const town = new Town(await Stage.ready());
  const { stage } = town;
  await town.add(named('pay', 8));
  const key = protectionKey('default', 'pay');
  await stage.write({ kind: 'put', key, value: Buffer.from([0xff]) });
  await stage.pass(100);
  assert.equal(stage.count('BAD_RECORD'), 1);
  const release = stage.holdWatch();
  await stage.write({ kind: 'put', key: BARRIER_KEY, value: new Uint8Array() });
  await stage.write({ kind: 'delete', key });
  stage.store.compactAll(); // it is listed again, and the deletion is not delivered
  release();
  await stage.untilTrue(() => stage.count('BAD_RECORD cleared') === 1, 1_000);
  town.stop(named('pay', 1));
  await stage.untilTrue(() => town.registered('pay').length === 7, 30_000 + 6 * TTL_MS + SOON_MS);
});

test('E4 T6c: ten instances that fall in the same moment: no revision ever shows fewer than four', async () => {
  const town = await settled(10);
  const { stage } = town;
  const scope = stage.replica.catalog.instances.scope('default', 'pay')!;
  const sizes: number[] = [];
  scope.listeners.add(() => sizes.push(town.shown('pay').ids.length));
  // The town sends all heartbeats in one message, as a sidecar or an agent does.
  town.stop(named('pay', 10));
  await stage.pass(FALLEN_MS);
  assert.deepEqual([sizes.length > 0, Math.min(...sizes), sizes.at(-1)], [true, 4, 10]);
  assert.deepEqual([town.isProtected('pay'), stage.count('verdicts')], [true, 10]);
});
