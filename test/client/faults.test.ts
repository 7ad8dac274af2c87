import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  Client,
  Liveness,
  type Registration,
  type RegistrationEvent,
  type ServiceView,
} from '../../src/client/index.js';
import { Dice } from '../support/dice.js';
import { freePorts } from '../support/etcd.js';
import { Proxy } from '../support/proxy.js';
import { eventually, pause, type ServerProcess, startServer, temporaryFolder } from '../support/server.js';

const TTL_MS = 3_000;
const ROUNDS = 12;
/** A view that says that it is current may lag so far behind: the time in which a cut that nobody reports is noticed. */
const NOTICED_MAX_MS = 20_000;
/** How long a fault lasts. */
const FAULT_MAX_MS = 6_000;
/** A process is back within its ttl after the server answers, and the connection needs its moment. */
const BACK_MAX_MS = TTL_MS + 5_000;

/** What a service had at each revision, as its writer saw it. */
class Truth {
  readonly #states: { readonly revision: bigint; readonly ids: string; readonly atMs: number }[] = [];
  readonly #ids = new Set<string>();

  record(revision: bigint, change: (ids: Set<string>) => void): void {
    change(this.#ids);
    this.#states.push({ revision, ids: [...this.#ids].sort().join(), atMs: performance.now() });
  }

  /** The newest revision that the writer has heard of. */
  get revision(): bigint {
    return this.#states.at(-1)?.revision ?? 0n;
  }

  /** The state at a revision, and since when it has been old; `undefined` if it is the newest. */
  at(revision: bigint): { readonly ids: string; readonly oldSinceMs: number | undefined } {
    const later = this.#states.findIndex((state) => state.revision > revision);
    const state = later < 0 ? this.#states.at(-1) : this.#states[later - 1];
    return { ids: state?.ids ?? '', oldSinceMs: later < 0 ? undefined : this.#states[later]!.atMs };
  }
}

/** What a view showed at one moment. */
interface Sight {
  readonly revision: bigint;
  readonly shown: string;
  readonly isStale: boolean;
  readonly atMs: number;
}

function look(view: ServiceView): Sight {
  const ids = view.instances().map(({ id }) => id);
  return { revision: view.revision, shown: ids.sort().join(), isStale: view.isStale, atMs: performance.now() };
}

/** What was wrong with a view; `undefined` if it was right, or old and said so. */
function faultOf({ revision, shown, isStale, atMs }: Sight, truth: Truth): string | undefined {
  const { ids, oldSinceMs } = truth.at(revision);
  if (shown !== ids) return `at revision ${revision} it shows ${shown} instead of ${ids}`;
  const lagMs = oldSinceMs === undefined ? 0 : atMs - oldSinceMs;
  if (!isStale && lagMs > NOTICED_MAX_MS) return `it calls itself current and is ${lagMs.toFixed()} ms behind`;
  return undefined;
}

test('N1 N2: under kills, restarts and cuts a view is right or says that it may be old, and a live process comes back within its ttl', async (t) => {
  const seed = Number(process.env['ROLLCALL_TEST_SEED'] ?? Math.floor(Math.random() * 1e9));
  t.diagnostic(`ROLLCALL_TEST_SEED=${seed}`);
  const dice = new Dice(seed);
  const folder = temporaryFolder();
  const [port] = await freePorts(1);
  const start = (): Promise<ServerProcess> => startServer(t, folder, [], '--grpc-port', String(port));
  let server = await start();
  // Two ways to the server, so that the client has somewhere to go.
  const ways = [await Proxy.open(t, port!), await Proxy.open(t, port!)];
  const addresses = ways.map((way) => `127.0.0.1:${way.port}`);
  const clients = [new Client({ addresses }), new Client({ addresses })] as const;
  t.after(() => Promise.all(clients.map((client) => client.close().catch(() => undefined))));
  const [beating, reader] = clients;
  const writer = new Client({ addresses: [`127.0.0.1:${port}`] });
  t.after(() => writer.close());

  const events: RegistrationEvent[] = [];
  const own = {
    service: 'live',
    id: 'a',
    address: '10.0.0.1',
    port: 1,
    ttl: { seconds: BigInt(TTL_MS / 1e3), nanos: 0 },
  };
  const registration: Registration = await beating.register(own, { onEvent: (event) => events.push(event) });
  const view = await reader.viewServices({ services: ['written'] }).ready();
  const truth = new Truth();

  let fault: string | undefined;
  /** What the view showed of a write whose answer had not come yet. */
  let early: Sight[] = [];
  let isWriting = false;
  const judge = (sight: Sight): void => void (fault ??= faultOf(sight, truth));
  const watching = setInterval(() => {
    const sight = look(view);
    if (isWriting && sight.revision > truth.revision) early.push(sight);
    else judge(sight);
  }, 20);
  t.after(() => clearInterval(watching));

  /** Changes what the service has, while the server answers. */
  const write = async (): Promise<void> => {
    isWriting = true;
    const id = `i${Math.floor(dice.fraction() * 5)}`;
    const at = { service: 'written', id };
    const held = (await writer.discover('written')).some((instance) => instance.id === id);
    if (held) {
      const { revision } = await writer.registry.deregister(at);
      truth.record(revision, (ids) => ids.delete(id));
    } else {
      const { revision } = await writer.registry.register({
        instance: { ...at, address: '10.0.0.2', port: 1, liveness: Liveness.LIVENESS_STATIC },
      });
      truth.record(revision, (ids) => ids.add(id));
    }
    isWriting = false;
    early.forEach(judge);
    early = [];
  };

  for (let round = 0; round < ROUNDS; round++) {
    const what = dice.pick(['kill', 'stop', 'freeze', 'cut', 'blackhole'] as const);
    for (let writes = 1 + Math.floor(dice.fraction() * 4); writes > 0; writes--) await write();
    const lastsMs = dice.fraction() * FAULT_MAX_MS;
    if (what === 'kill' || what === 'stop') {
      if (what === 'kill') await server.kill();
      else await server.stop();
      await pause(lastsMs);
      server = await start();
    } else if (what === 'freeze') {
      server.process.kill('SIGSTOP');
      await pause(lastsMs);
      server.process.kill('SIGCONT');
    } else {
      const way = dice.pick(ways);
      if (what === 'blackhole') way.mode = 'blackhole';
      else for (const each of ways) each.cut();
      await write();
      await pause(lastsMs);
      way.mode = 'pass';
      way.cut();
    }
    const isBack = async (): Promise<boolean> =>
      (await writer.discover('live').catch(() => [])).some(
        ({ incarnation }) => incarnation === registration.incarnation,
      );
    await eventually(isBack, BACK_MAX_MS);
    await write();
    await eventually(() => truth.at(view.revision).oldSinceMs === undefined && !view.isStale, NOTICED_MAX_MS + 30_000);
    assert.equal(fault, undefined, `round ${round}, ${what}`);
  }
  assert.equal(fault, undefined);
  assert.deepEqual(
    events.filter(({ kind }) => kind === 'over'),
    [],
  );
});
