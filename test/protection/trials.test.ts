import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Health, RemovalReason } from '../../src/gen/rollcall/v1/instance.js';
import {
  deregister,
  discover,
  getInstance,
  getStatus,
  heartbeat,
  listServices,
  register,
  releaseProtection,
  ServicesView,
  watchServices,
} from '../support/client.js';
import { startEtcd } from '../support/etcd.js';
import { detailsOf, eventually, failure, pause, type ServerProcess, startServerOn } from '../support/server.js';
import { ids, named, Village } from './village.js';

/** A verdict comes a ttl of 2 s after the last heartbeat; the protection follows within a tick and a write. */
const FALLEN_MS = 3_500;
const FAILED_PRECONDITION = 9;

/** The ids that a watch shows after everything that has come on it. */
function viewOf({ messages }: ReturnType<typeof watchServices>): string[] {
  const view = new ServicesView();
  for (const message of messages) view.apply(message);
  return [...view.instances.values()].map(({ id }) => id).sort();
}

// Each trial has a server of its own. Most of its time it waits, so all run side by side.
void describe('E4 on a built server', { concurrency: true }, () => {
  void test('E4 T1: all die and as many others come', async (t) => {
    const village = await Village.start(t);
    await village.add(named('pay', 4));
    await village.season();
    village.stop(named('pay', 4));
    village.act();
    await village.at(FALLEN_MS);
    const { instances, protection } = await village.discover('pay');
    assert.deepEqual(
      instances.map(({ id, health }) => [id, health]),
      ids(4).map((id) => [id, Health.HEALTH_UNHEALTHY]),
    );
    assert.equal(protection?.beforeCount, 4);
    for (let i = 0; i < 4; i++) {
      await village.at(5_000 + 1_000 * i);
      await village.add(named('pay', 1, 4 + i));
    }
    village.act();
    await village.at(4_300);
    assert.deepEqual(await village.shown('pay'), ids(8));
    await village.at(6_500);
    assert.deepEqual([await village.shown('pay'), await village.isProtected('pay')], [ids(4, 4), false]);
    const { instance } = await getInstance(village.server, { service: 'pay', id: 'p0' });
    assert.equal(instance?.health, Health.HEALTH_UNHEALTHY, 'not removed yet');
    // T14: they fall in turn, and are too young to count.
    village.stop(named('pay', 4, 4));
    village.act();
    await village.at(FALLEN_MS);
    assert.deepEqual([await village.shown('pay'), await village.isProtected('pay')], [[], false]);
  });

  void test('E4 T1b: five of eight die and five others come within a second', async (t) => {
    const village = await Village.start(t);
    await village.add(named('pay', 8));
    await village.season();
    village.stop(named('pay', 5));
    village.act();
    await village.add(named('pay', 5, 8));
    await village.at(FALLEN_MS);
    assert.deepEqual([await village.shown('pay'), await village.isProtected('pay')], [ids(8, 5), false]);
    assert.ok(!village.server.log.some((line) => line.includes('the protection of a service begins')));
  });

  for (const [what, address, most] of [
    ['T2: under fresh ids and addresses', undefined, 13],
    ['T2b: under fresh ids at one address', '10.9.9.9', 6],
  ] as const)
    void test(`E4 ${what}, a process that starts and dies in a loop is not shown dead, and not kept`, async (t) => {
      const village = await Village.start(t);
      await village.add(named('pay', 3), { ttlS: 3 });
      await village.season();
      for (let i = 0; i < 20; i++) {
        const name = `pay/loop${i}`;
        await village.add([name], { ttlS: 3, ...(address && { address }) });
        await pause(1_000);
        village.stop([name]);
        await pause(1_000);
        const { instances } = await village.discover('pay');
        assert.ok(instances.every(({ health }) => health === Health.HEALTH_HEALTHY));
        assert.ok((await village.registered('pay')).length <= most);
      }
      await village.add(['pay/stable'], { ttlS: 3, ...(address && { address }) });
      await pause(20_000);
      assert.deepEqual(await village.registered('pay'), ['p0', 'p1', 'p2', 'stable']);
      assert.ok(!village.server.log.some((line) => line.includes('the protection of a service begins')));
    });

  for (const restarts of [false, true])
    void test(`E4 ${restarts ? 'T17' : 'T3'}: a registry of small services that falls silent stays visible${restarts ? ', through a restart' : ''}`, async (t) => {
      const village = await Village.start(t, true);
      const sizes = [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 8, 15];
      const all = sizes.flatMap((size, i) => named(`s${i}`, size));
      await village.add(all);
      await village.season();
      village.stop(all.slice(0, -3));
      village.act();
      if (restarts) {
        await village.at(1_000);
        await village.restart();
        village.act();
      }
      await village.at(restarts ? 37_000 : 4_500);
      for (const [i, size] of sizes.entries()) {
        const { instances, protection } = await village.discover(`s${i}`);
        assert.deepEqual([instances.length, protection !== undefined], [size, true], `s${i}`);
      }
      if (!restarts) {
        await village.at(45_000);
        for (const [i, size] of sizes.entries()) assert.equal((await village.registered(`s${i}`)).length, size);
      }
      village.resume(all);
      await pause(3_500);
      for (const i of sizes.keys()) assert.equal(await village.isProtected(`s${i}`), false);
    });

  void test('E4 T4 T4b: two of two, and three of five, that die alone are hidden; more than three are not', async (t) => {
    const village = await Village.start(t);
    await village.add([...named('db', 2), ...named('pay', 5)]);
    await village.add(named('more', 20));
    await village.season();
    village.stop(named('db', 2));
    village.act();
    await village.at(FALLEN_MS);
    const { instances, hiddenCount, protection } = await village.discover('db');
    assert.deepEqual([instances.length, hiddenCount, protection], [0, 2, undefined]);
    village.stop(named('pay', 3));
    village.act();
    await village.at(FALLEN_MS);
    assert.deepEqual([await village.shown('pay'), await village.isProtected('pay')], [ids(2, 3), false]);
    village.stop(named('pay', 1, 3));
    village.act();
    await village.at(FALLEN_MS);
    assert.deepEqual([await village.shown('pay'), await village.isProtected('pay')], [ids(5), true]);
  });

  void test('E4 T5: instances that die 20 s after they registered are hidden, and gone 13 s later', async (t) => {
    const village = await Village.start(t);
    await village.add(named('pay', 6));
    await pause(20_000);
    village.stop(named('pay', 6));
    village.act();
    await village.at(FALLEN_MS);
    assert.deepEqual([await village.shown('pay'), await village.isProtected('pay')], [[], false]);
    await village.at(14_000);
    assert.deepEqual(await village.registered('pay'), []);
  });

  void test('E4 T6 T6b: later falls join the event, and it ends with the last heal; half of a service is hidden', async (t) => {
    const village = await Village.start(t);
    await village.add([...named('pay', 10), ...named('half', 10)]);
    await village.season();
    village.stop([...named('pay', 6), ...named('half', 5)]);
    village.act();
    await village.at(FALLEN_MS);
    assert.deepEqual(await village.shown('pay'), ids(10));
    const half = await village.discover('half');
    assert.equal(half.instances.length, half.protection ? 10 : 5);
    village.stop(named('pay', 2, 6));
    village.act();
    await village.at(FALLEN_MS);
    assert.deepEqual(await village.shown('pay'), ids(10));
    assert.equal((await village.discover('pay')).protection?.unhealthyCount, 8);
    village.resume(named('pay', 8));
    await pause(1_500);
    assert.deepEqual([await village.shown('pay'), await village.isProtected('pay')], [ids(10), false]);
  });

  void test('E4 T7: a rolling restart by kill -9 with new ids and addresses is never protected', async (t) => {
    const village = await Village.start(t);
    await village.add(named('pay', 4));
    await village.season();
    for (let i = 0; i < 4; i++) {
      village.stop(named('pay', 1, i));
      await pause(1_000);
      await village.add(named('pay', 1, 4 + i));
      await pause(4_000);
      assert.ok((await village.shown('pay')).length >= 3);
    }
    assert.ok(!village.server.log.some((line) => line.includes('the protection of a service begins')));
  });

  void test('E4 T8: a member whose address another instance registers is removed at once', async (t) => {
    const village = await Village.start(t);
    for (let i = 0; i < 5; i++) await village.add(named('pay', 1, i), { address: `10.7.0.${i}` });
    await village.season();
    const watch = watchServices(village.server, { services: ['pay'] });
    village.stop(named('pay', 5));
    village.act();
    await village.at(5_000);
    await village.add(['pay/next'], { address: '10.7.0.0' });
    const { REMOVAL_REASON_EXPIRED } = RemovalReason;
    await watch.seen(
      ({ removed }) => removed.some(({ id, reason }) => id === 'p0' && reason === REMOVAL_REASON_EXPIRED),
      1_500,
    );
    assert.deepEqual(await village.shown('pay'), ['next', 'p1', 'p2', 'p3', 'p4']);
    watch.close();
  });

  void test('E4 T8b: instances that are replaced at their own addresses after half a second never count', async (t) => {
    const village = await Village.start(t);
    for (let i = 0; i < 4; i++) await village.add(named('pay', 1, i), { address: `10.7.0.${i}` });
    await village.season();
    village.stop(named('pay', 4));
    village.act();
    await village.at(500);
    for (let i = 0; i < 4; i++) await village.add(named('pay', 1, 4 + i), { address: `10.7.0.${i}` });
    await village.at(FALLEN_MS);
    assert.deepEqual([await village.shown('pay'), await village.isProtected('pay')], [ids(4, 4), false]);
    await village.at(14_500);
    assert.deepEqual(await village.registered('pay'), ids(4, 4));
  });

  void test('E4 T9: instances that deregistered do not count among those before the event', async (t) => {
    const village = await Village.start(t);
    await village.add(named('pay', 12));
    await village.season();
    await village.leave(named('pay', 7));
    village.stop(named('pay', 2, 7));
    village.act();
    await village.at(FALLEN_MS);
    assert.deepEqual([await village.shown('pay'), await village.isProtected('pay')], [ids(3, 9), false]);
  });

  void test('E4 T10: an operator ends a protection, and only later falls cause another one', async (t) => {
    const village = await Village.start(t);
    await village.add(named('pay', 10));
    await village.season();
    village.stop(named('pay', 6));
    village.act();
    await village.at(4_000);
    assert.deepEqual(await village.shown('pay'), ids(10));
    await releaseProtection(village.server, { service: 'pay', author: 'ops' });
    for (const ms of [5_000, 14_000]) {
      await village.at(ms);
      assert.deepEqual(await village.shown('pay'), ids(4, 6));
    }
    village.resume(named('pay', 6));
    await pause(1_500);
    assert.deepEqual(await village.shown('pay'), ids(10));
    village.stop(named('pay', 10));
    village.act();
    await village.at(FALLEN_MS);
    assert.deepEqual([await village.shown('pay'), await village.isProtected('pay')], [ids(10), true]);
  });

  void test('E4 T11: three services of one that fall silent together are shown; two are not', async (t) => {
    for (const count of [3, 2]) {
      const village = await Village.start(t, true);
      const names = Array.from({ length: count }, (_, i) => `s${i}/p0`);
      await village.add(names);
      await village.season();
      village.stop(names);
      village.act();
      await village.at(4_500);
      const shown = await Promise.all(names.map((_, i) => village.shown(`s${i}`)));
      assert.deepEqual(
        shown,
        names.map(() => (count === 3 ? ['p0'] : [])),
      );
    }
  });

  void test('E4 T12: instances that pause together six times are whole again within a second each time', async (t) => {
    const village = await Village.start(t);
    await village.add(named('pay', 10));
    await village.season();
    const watch = watchServices(village.server, { services: ['pay'] });
    for (let round = 0; round < 6; round++) {
      village.stop(named('pay', 10));
      village.act();
      const seen = watch.messages.length;
      await eventually(() => watch.messages.slice(seen).some(({ removed }) => removed.length > 0), 4_000);
      await pause(1_000);
      assert.deepEqual(await village.shown('pay'), ids(10), `round ${round}`);
      village.resume(named('pay', 10));
      await pause(3_000);
      assert.deepEqual([await village.shown('pay'), await village.isProtected('pay')], [ids(10), false]);
    }
    watch.close();
  });

  void test('E4 T13: instances that a starting server finds, and that do not beat any more, are protected', async (t) => {
    const village = await Village.start(t);
    await village.add(named('pay', 10));
    await village.season();
    village.stop(named('pay', 10));
    await village.restart();
    village.act();
    for (let ms = 1_000; ms <= 28_000; ms += 3_000) {
      await village.at(ms);
      assert.deepEqual(await village.shown('pay'), ids(10));
    }
    await village.at(36_000);
    assert.deepEqual([await village.shown('pay'), await village.isProtected('pay')], [ids(10), true]);
  });

  void test('E4 T15: at loopback addresses and port 0 nothing is removed before its five ttls', async (t) => {
    const village = await Village.start(t);
    await village.add(named('loop', 2), { address: '127.0.0.1' });
    await village.add(named('zero', 2), { port: 0, address: '10.0.0.1' });
    await pause(20_000);
    village.stop(['loop/p0', 'zero/p0']);
    village.act();
    await village.at(FALLEN_MS);
    await village.add(['loop/next'], { address: '127.0.0.1' });
    await village.add(['zero/next'], { port: 0, address: '10.0.0.1' });
    await village.at(11_000);
    for (const service of ['loop', 'zero']) assert.deepEqual(await village.registered(service), ['next', 'p0', 'p1']);
    await village.at(14_500);
    for (const service of ['loop', 'zero']) assert.deepEqual(await village.registered(service), ['next', 'p1']);
  });

  void test('E4: a protected service says so everywhere, and an operator can take it apart', async (t) => {
    const village = await Village.start(t);
    const { server } = village;
    await village.add(named('pay', 6));
    await village.season();
    const early = await failure(releaseProtection(server, { service: 'pay' }));
    assert.deepEqual([early.code, detailsOf(early).reason], [FAILED_PRECONDITION, 'NOT_PROTECTED']);
    const watch = watchServices(server, { services: ['pay'] });
    await watch.seen(({ revision }) => revision > 0n);
    const { token } = watch;
    village.stop(named('pay', 6));
    village.act();
    await village.at(FALLEN_MS);
    const { protection, instances, hiddenCount, revision } = await village.discover('pay');
    assert.deepEqual([instances.length, hiddenCount], [6, 0]);
    assert.deepEqual([protection?.beforeCount, protection?.unhealthyCount, protection?.totalCount], [6, 6, 6]);
    const asked = await discover(server, { service: 'pay', filter: { healthStates: [Health.HEALTH_HEALTHY] } });
    assert.deepEqual([asked.instances, asked.hiddenCount, asked.protection?.revision], [[], 6, protection?.revision]);
    const summary = (await listServices(server)).services.find(({ service }) => service === 'pay');
    assert.deepEqual([summary?.unhealthyCount, summary?.protection?.revision], [6, protection?.revision]);
    const { protectedServices, counts, alarms } = await getStatus(server);
    assert.deepEqual([protectedServices.map(({ service }) => service), counts?.protectedServices], [['pay'], 1]);
    assert.equal(alarms.find(({ name }) => name === 'PROTECTION')?.message.includes('default/pay'), true);
    const resumed = watchServices(server, { services: ['pay'], resumeToken: token });
    for (const each of [watch, resumed]) {
      await each.reached(revision);
      assert.deepEqual(viewOf(each), ids(6));
    }
    await deregister(server, { service: 'pay', id: 'p5' });
    const released = await releaseProtection(server, { service: 'pay', author: 'ops' });
    const after = await discover(server, { service: 'pay', minRevision: released.revision });
    assert.deepEqual([after.instances, after.hiddenCount, after.protection], [[], 5, undefined]);
    await watch.reached(released.revision);
    assert.deepEqual(viewOf(watch), []);
    assert.equal((await releaseProtection(server, { service: 'pay' })).revision, released.revision);
    assert.deepEqual((await getStatus(server)).alarms, []);
    for (const each of [watch, resumed]) each.close();
  });

  void test('E4 W1 T16: each token of a watch at one server, resumed at another that restarts, gives what that one shows', async (t) => {
    const { endpoints } = await startEtcd(t);
    const a = await startServerOn(t, endpoints);
    let b = await startServerOn(t, endpoints);
    const at = (server: ServerProcess, id: string): Promise<unknown> =>
      register(server, {
        instance: { service: 'pay', id, address: `10.0.0.${id.slice(1)}`, port: 80, ttl },
        incarnation: id,
      });
    const ttl = { seconds: 2n, nanos: 0 };
    const beating = new Set<string>();
    const beat = (): void => {
      const instances = [...beating].map((id) => ({ service: 'pay', id, incarnation: id }));
      if (instances.length > 0) heartbeat(a, { instances }).catch(() => undefined);
    };
    const timer = setInterval(beat, 600);
    t.after(() => clearInterval(timer));
    for (const id of ids(5)) {
      await at(a, id);
      beating.add(id);
    }
    await pause(62_000);
    const watch = watchServices(a, { services: ['pay'] });
    await watch.seen(({ revision }) => revision > 0n);
    // From every message on, what the other server adds leads to what the other server shows.
    const compare = async (): Promise<void> => {
      const { instances } = await discover(b, { service: 'pay', minRevision: watch.last!.revision });
      const shown = instances.map(({ id }) => id).join();
      for (const [i, { resumeToken, revision }] of watch.messages.entries()) {
        if (revision === 0n) continue;
        const resumed = watchServices(b, { services: ['pay'], resumeToken });
        const view = (): string => {
          const moved = new ServicesView();
          for (const message of [...watch.messages.slice(0, i + 1), ...resumed.messages]) moved.apply(message);
          return [...moved.instances.values()]
            .map(({ id }) => id)
            .sort()
            .join();
        };
        await eventually(() => view() === shown, 5_000);
        resumed.close();
      }
    };
    for (const id of ids(4)) beating.delete(id);
    await eventually(async () => (await discover(b, { service: 'pay' })).protection, 8_000);
    await pause(500);
    await compare();
    await b.kill();
    b = await startServerOn(t, endpoints);
    await compare();
    for (const id of ids(5, 5)) {
      await at(a, id);
      beating.add(id);
    }
    // The one that was killed may have been the judge: its lease ends first.
    await eventually(async () => !(await discover(b, { service: 'pay' })).protection, 30_000);
    await pause(500);
    await compare();
    watch.close();
  });
});
