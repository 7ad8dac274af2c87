import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ServiceError } from '@grpc/grpc-js';
import { Health } from '../../src/gen/rollcall/v1/instance.js';
import { RegisterRequest, type RegisterResponse } from '../../src/gen/rollcall/v1/registry_service.js';
import { toDuration } from '../../src/model/time.js';
import {
  deregister,
  discover,
  getConfig,
  getInstance,
  getStatus,
  heartbeat,
  publishConfig,
  register,
  text,
} from '../support/client.js';
import { figures, FOUND_MS, LONG, pause, startCluster, type TestCluster, TTL_MS } from '../support/cluster.js';
import { History } from '../support/history.js';
import { buildNextVersion, NEXT_FIELD } from '../support/next-version.js';
import { call, eventually, type ServerProcess } from '../support/server.js';

/** A process is gone so long after SIGTERM, whatever is open. */
const EXIT_MAX_MS = 15_000;
const ROUNDS = LONG ? 5 : 1;
/** Callers that call one after the other. */
const CALLERS = 8;
/** Services with an instance that carries a field of the next version: enough that every member judges some. */
const CARRIERS = 12;
/** The tag of a length-delimited field, and the text "a" behind it. */
const NEXT_TAG = NEXT_FIELD * 8 + 2;
const NEXT_VALUE = Uint8Array.of(1, 0x61);

test('three replicas that are replaced under load', async (t) => {
  // Built before the fleet beats: nothing else runs in this process meanwhile, and a fleet that is silent is found so.
  const next = buildNextVersion();
  const cluster = await startCluster(t, { fleet: { choice: 'round robin' } });
  const { fleet, servers, etcd } = cluster;
  await cluster.verdictsFlow();

  await t.test(
    'F63: each replica in turn is stopped and started again: every call that is tried at the next one succeeds, and the process is gone within 15 s',
    async (s) => {
      const load = new Load(servers);
      for (let round = 0; round < ROUNDS; round++) {
        for (const at of [0, 1, 2]) {
          const begun = performance.now();
          servers[at]!.process.kill('SIGTERM');
          assert.equal(await servers[at]!.exited, 0);
          assert.ok(performance.now() - begun < EXIT_MAX_MS);
          await cluster.startServer(at);
        }
      }
      await load.end();
      s.diagnostic(`${load.succeeded} calls, of which ${load.triedAgain} had to be tried at another replica`);
      assert.deepEqual(load.failures, []);
      assert.ok(load.succeeded > 100);
      assert.deepEqual(cluster.accused, []);
      assert.deepEqual(fleet.rejected, []);
    },
  );

  await t.test(
    'F64: a replica of the next version together with two of this one: they judge together, and what only the next one knows is kept',
    async (s) => {
      servers[0]!.process.kill('SIGTERM');
      await servers[0]!.exited;
      const newer = await cluster.startServer(0, 'newer', next);
      assert.equal((await getStatus(newer)).version, '0.2.0');
      await cluster.verdictsFlow();
      const older = servers[1]!;
      const history = await History.open(etcd);
      s.after(() => history.close());

      const ids = Array.from({ length: CARRIERS }, (_, i) => ({ service: `next-${i}`, id: 'a' }));
      await Promise.all(ids.map((id) => registerNext(newer, id)));
      await allKeepIt(cluster, ids, Health.HEALTH_HEALTHY);
      await eventually(async () => (await healthOf(older, ids)).every((one) => one === Health.HEALTH_UNHEALTHY));
      await allKeepIt(cluster, ids, Health.HEALTH_UNHEALTHY);
      const { rejected } = await heartbeat(older, { instances: ids });
      assert.deepEqual(rejected, []);
      await allKeepIt(cluster, ids, Health.HEALTH_HEALTHY);
      await history.reached(await etcd.revision());
      const judges = new Set((await Promise.all(servers.map(judgedBy))).flat());
      assert.equal(judges.size, 3, 'all three judge');
      for (const { service, id } of ids) {
        const states = history.keys.get(`w/i/default/${service}/${id}`)!;
        assert.equal(states.length, 3, 'registered, silent, heard');
        for (const { value } of states) assert.ok(value!.includes(Buffer.from([0xc2, 0x3e, 1, 0x62])), 'of the record');
      }

      const dying = fleet.share(0.05);
      fleet.kill(dying);
      const found = await cluster.detected(dying, TTL_MS + 10_000);
      s.diagnostic(figures(found));
      assert.ok(found.earliest >= 0);
      assert.ok(found.max <= FOUND_MS, figures(found));
      assert.deepEqual(cluster.accused, []);
      assert.deepEqual(fleet.rejected, []);
      await Promise.all(ids.map((id) => deregister(older, id)));
    },
  );
});

/** Which members judge, by what a server says. */
async function judgedBy(server: ServerProcess): Promise<string[]> {
  const { replicas } = (await getStatus(server)).cluster!;
  return replicas.filter(({ judgedServices }) => judgedServices > 0).map(({ id }) => id);
}

interface Id {
  readonly service: string;
  readonly id: string;
}

/** Registers an instance as a client of the next version does. */
function registerNext(server: ServerProcess, { service, id }: Id): Promise<RegisterResponse> {
  const request = RegisterRequest.fromPartial({
    instance: { service, id, address: '10.0.0.1', port: 80, ttl: toDuration(2_000) },
  });
  request.instance!._unknownFields = { [NEXT_TAG]: [NEXT_VALUE] };
  return call(server.registry, 'register', request);
}

function healthOf(server: ServerProcess, ids: readonly Id[]): Promise<(Health | undefined)[]> {
  return Promise.all(ids.map(async (id) => (await getInstance(server, id)).instance?.health));
}

/** Every replica shows the field of the next version. */
async function allKeepIt({ servers }: TestCluster, ids: readonly Id[], health: Health): Promise<void> {
  for (const server of servers) {
    await eventually(async () => (await healthOf(server, ids)).every((one) => one === health));
    for (const id of ids) {
      const { instance } = await getInstance(server, id);
      assert.deepEqual(
        instance?._unknownFields?.[NEXT_TAG]?.map((bytes) => [...bytes]),
        [[...NEXT_VALUE]],
        id.service,
      );
    }
  }
}

/** Callers that do what a client does with any of the calls: the next server, when one cannot take it. */
class Load {
  succeeded = 0;
  triedAgain = 0;
  readonly failures: string[] = [];
  readonly #callers: readonly Promise<void>[];
  #ended = false;

  /** `servers` are called by their position; a test may put others there. */
  constructor(private readonly servers: readonly ServerProcess[]) {
    this.#callers = Array.from({ length: CALLERS }, (_, caller) => this.#run(caller));
  }

  async end(): Promise<void> {
    this.#ended = true;
    await Promise.all(this.#callers);
  }

  async #run(caller: number): Promise<void> {
    const service = `load-${caller}`;
    for (let n = 0; !this.#ended; n++) {
      const instance = { service, id: 'one', address: '10.0.0.1', port: 80 };
      const content = { key: `load-${caller}.yaml`, content: text(`n: ${n}`) };
      const from = caller + n;
      await this.#call(from, (server) => register(server, { instance, incarnation: 'run' }));
      await this.#call(from, (server) => discover(server, { service }));
      await this.#call(from, (server) => publishConfig(server, { configs: [content] }));
      await this.#call(from, (server) => getConfig(server, { key: content.key }));
      await this.#call(from, (server) =>
        heartbeat(server, { instances: [{ service, id: 'one', incarnation: 'run' }] }),
      );
      await pause(20);
    }
  }

  async #call(from: number, make: (server: ServerProcess) => Promise<unknown>): Promise<void> {
    let said = '';
    for (let tries = 0; tries < this.servers.length; tries++) {
      try {
        await make(this.servers[(from + tries) % this.servers.length]!);
        this.succeeded++;
        if (tries > 0) this.triedAgain++;
        return;
      } catch (error) {
        said = (error as ServiceError).message;
      }
    }
    this.failures.push(said);
  }
}
