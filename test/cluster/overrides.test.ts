import assert from 'node:assert/strict';
import { cpSync, rmSync } from 'node:fs';
import { describe, test, type TestContext } from 'node:test';
import { Health, HealthReason, type Instance, Liveness } from '../../src/gen/rollcall/v1/instance.js';
import { OverrideState } from '../../src/gen/rollcall/v1/override.js';
import { TransitionKind } from '../../src/gen/rollcall/v1/transition.js';
import {
  clearInstanceOverride,
  discover,
  getInstance,
  listInstanceOverrides,
  register,
  setInstanceOverride,
  why,
} from '../support/client.js';
import { Dice } from '../support/dice.js';
import { startEtcd } from '../support/etcd.js';
import {
  eventually,
  failure,
  type ServerProcess,
  startServer,
  startServerOn,
  temporaryFolder,
} from '../support/server.js';

const NOT_FOUND = 5;
const KILLS = process.env['ROLLCALL_TEST_LONG'] ? 60 : 2;
const { OVERRIDE_STATE_DRAIN: DRAIN, OVERRIDE_STATE_DISABLE: DISABLE } = OverrideState;

/** A store that outlives the servers that a test starts on it. */
interface Ground {
  readonly start: () => Promise<ServerProcess>;
  /** Keeps what the store holds; no server runs. The function returned puts it back. */
  readonly backUp: () => Promise<() => Promise<void>>;
}

const GROUNDS: Readonly<Record<string, (t: TestContext) => Promise<Ground>>> = {
  embedded: (t) => {
    const folder = temporaryFolder();
    return Promise.resolve({
      start: () => startServer(t, folder),
      backUp: () => {
        const copy = temporaryFolder();
        cpSync(folder, copy, { recursive: true });
        return Promise.resolve(() => {
          rmSync(folder, { recursive: true });
          cpSync(copy, folder, { recursive: true });
          return Promise.resolve();
        });
      },
    });
  },
  etcd: async (t) => {
    const etcd = await startEtcd(t);
    const node = etcd.nodes[0]!;
    const again = async (): Promise<void> => {
      node.start();
      await etcd.healthy();
    };
    return {
      start: () => startServerOn(t, etcd.endpoints),
      backUp: async () => {
        await node.end('SIGTERM');
        const backup = await node.copyData();
        await again();
        return async () => {
          await node.end();
          await node.restoreData(backup);
          await again();
        };
      },
    };
  },
};

const registered = (server: ServerProcess, id: string, incarnation = 'a', extra: object = {}): Promise<unknown> =>
  register(server, {
    instance: { service: 'pay', id, address: '10.0.0.1', port: 80, liveness: Liveness.LIVENESS_STATIC, ...extra },
    incarnation,
  });

const stateOf = (instance: Instance | undefined): string =>
  `${Health[instance!.health]} ${HealthReason[instance!.healthReason]}`
    .replace('HEALTH_REASON_', '')
    .replace('HEALTH_', '');

const shown = async (server: ServerProcess, id: string): Promise<string> =>
  stateOf((await getInstance(server, { service: 'pay', id })).instance);

void describe('overrides', { concurrency: 4 }, () => {
  for (const [name, ground] of Object.entries(GROUNDS)) {
    void test(`O1 on ${name}: kill -9 while overrides are written, ${KILLS} times: those that were acknowledged are in force`, async (t) => {
      const { start } = await ground(t);
      const dice = new Dice(11);
      const ids = ['p0', 'p1', 'p2'];
      /** The last acknowledged write of each: a weight, or the end of one. */
      const acknowledged = new Map<string, { readonly number: number; readonly isSet: boolean }>();
      let number = 0;
      for (let kill = 0; kill <= KILLS; kill++) {
        const server = await start();
        if (kill === 0) for (const id of ids) await registered(server, id);
        const { instances, revision } = await eventually(() =>
          discover(server, { service: 'pay' }).catch(() => undefined),
        );
        const { overrides } = await listInstanceOverrides(server, { service: 'pay' });
        for (const [id, { number: least, isSet }] of acknowledged) {
          const found = overrides.find((one) => one.id === id);
          // A later write that was not acknowledged may have happened; nothing older may be in force.
          if (found)
            assert.ok(isSet ? found.weight! >= least : found.weight! > least, `${id}: ${found.weight} of ${least}`);
          assert.equal(instances.find((one) => one.id === id)!.weight, found?.weight ?? 100, `${id} at ${revision}`);
        }
        if (kill === KILLS) break;
        let isDead = false;
        const writer = async (id: string): Promise<void> => {
          while (!isDead) {
            const weight = ++number;
            const names = { service: 'pay', id };
            const isSet = dice.fraction() < 0.7;
            const write = isSet
              ? setInstanceOverride(server, { ...names, weight, comment: 'a test' })
              : clearInstanceOverride(server, names);
            const isDone = await write.then(
              () => true,
              () => false,
            );
            if (!isDone) return;
            acknowledged.set(id, { number: weight, isSet });
          }
        };
        const before = number;
        const writing = Promise.all(ids.map(writer));
        const enough = before + 5 + Math.floor(dice.between(0, 40));
        await eventually(() => number > enough, 10_000, 1);
        await server.kill();
        isDead = true;
        await writing;
      }
      assert.equal(acknowledged.size, ids.length);
    });

    void test(`O1 O2 on ${name}: overrides hold over kill -9, new runs and expiry, and end by time, also of a server that was down`, async (t) => {
      const { start } = await ground(t);
      const first = await start();
      for (const id of ['run', 'time', 'free']) await registered(first, id);
      const beating = { liveness: Liveness.LIVENESS_HEARTBEAT, ttl: { seconds: 2n, nanos: 0 } };
      await registered(first, 'id', 'a', beating);
      const set = (id: string, fields: object): Promise<unknown> =>
        setInstanceOverride(first, { service: 'pay', id, comment: 'a test', force: true, ...fields });
      await set('run', { state: DRAIN, incarnation: 'a' });
      await set('id', { state: DISABLE });
      await set('time', { state: DISABLE, expireAfter: { seconds: 3n, nanos: 0 } });
      const setAtMs = Date.now();
      await first.kill();
      await eventually(() => Date.now() > setAtMs + 3_500, 10_000);

      const second = await start();
      await eventually(
        () =>
          registered(second, 'run').then(
            () => true,
            () => false,
          ),
        30_000,
      );
      assert.equal(await shown(second, 'run'), 'DRAINING DRAINED', 'the same run');
      await registered(second, 'id', 'b', beating);
      assert.equal(await shown(second, 'id'), 'UNHEALTHY DISABLED', 'another run');
      await eventually(async () => (await shown(second, 'time')) === 'HEALTHY UNSPECIFIED', 30_000);
      await registered(second, 'run', 'b');
      await eventually(async () => (await shown(second, 'run')) === 'HEALTHY UNSPECIFIED');
      // Without heartbeats it expires, and comes back.
      const gone = await eventually(
        () => failure(getInstance(second, { service: 'pay', id: 'id' })).catch(() => undefined),
        60_000,
      );
      assert.equal(gone.code, NOT_FOUND);
      await registered(second, 'id', 'c', beating);
      assert.equal(await shown(second, 'id'), 'UNHEALTHY DISABLED', 'after an expiry');
      await clearInstanceOverride(second, { service: 'pay', id: 'id' });
      assert.equal(await shown(second, 'id'), 'HEALTHY UNSPECIFIED');
      assert.deepEqual((await listInstanceOverrides(second)).overrides, []);
      await second.kill();
      const third = await start();
      await eventually(() => listInstanceOverrides(third).catch(() => undefined), 30_000);
      assert.deepEqual((await listInstanceOverrides(third)).overrides, [], 'ended ones stay ended');
    });

    void test(`O1 on ${name}: after a restore the overrides of the backup are in force again`, async (t) => {
      const { start, backUp } = await ground(t);
      const first = await start();
      for (const id of ['kept', 'free']) await registered(first, id);
      await setInstanceOverride(first, { service: 'pay', id: 'kept', state: DISABLE, comment: 'in the backup' });
      await first.stop();
      const restore = await backUp();
      const second = await start();
      await eventually(
        () => clearInstanceOverride(second, { service: 'pay', id: 'kept' }).catch(() => undefined),
        30_000,
      );
      await setInstanceOverride(second, { service: 'pay', id: 'free', state: DISABLE, comment: 'later', force: true });
      await second.stop();
      await restore();
      const third = await start();
      const { overrides } = await eventually(() => listInstanceOverrides(third).catch(() => undefined), 30_000);
      assert.deepEqual(
        overrides.map(({ id, comment }) => `${id}: ${comment}`),
        ['kept: in the backup'],
      );
      assert.deepEqual(
        [await shown(third, 'kept'), await shown(third, 'free')],
        ['UNHEALTHY DISABLED', 'HEALTHY UNSPECIFIED'],
      );
    });
  }

  void test('why knows on etcd what happened before every server was killed, and since when', async (t) => {
    const { start } = await GROUNDS['etcd']!(t);
    const first = await start();
    await registered(first, 'p1');
    await setInstanceOverride(first, { service: 'pay', id: 'p1', state: DRAIN, comment: 'a test', force: true });
    await registered(first, 'p1', 'b');
    await first.kill();
    const second = await start();
    await eventually(
      () =>
        registered(second, 'p2').then(
          () => true,
          () => false,
        ),
      30_000,
    );
    const { transitions, sources } = await eventually(async () => {
      const answer = await why(second, { service: 'pay', id: 'p1' });
      return answer.transitions.length > 0 ? answer : undefined;
    }, 30_000);
    assert.deepEqual(
      transitions.map(({ kind }) => TransitionKind[kind].replace('TRANSITION_KIND_', '')),
      ['TAKEN_OVER', 'OVERRIDE_SET', 'REGISTERED'],
    );
    assert.ok(sources[0]!.completeSinceRevision < transitions.at(-1)!.revision);
    assert.ok(sources[0]!.completeSince!.seconds <= transitions.at(-1)!.time!.seconds);
  });
});
