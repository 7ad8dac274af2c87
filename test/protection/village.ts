import type { TestContext } from 'node:test';
import { Health } from '../../src/gen/rollcall/v1/instance.js';
import type { DiscoverResponse } from '../../src/gen/rollcall/v1/registry_service.js';
import { deregister, discover, heartbeat, register } from '../support/client.js';
import { named } from '../support/town.js';
import { pause, type ServerProcess, startServer, temporaryFolder } from '../support/server.js';

/** How often living instances send a heartbeat. */
const BEAT_MS = 600;
/** An instance that has been registered for a minute counts in a protection. */
const SEASON_MS = 62_000;
const ALL_STATES = [Health.HEALTH_HEALTHY, Health.HEALTH_DEGRADED, Health.HEALTH_UNHEALTHY, Health.HEALTH_DRAINING];

interface Options {
  readonly ttlS?: number;
  readonly address?: string;
  readonly port?: number;
}

/** Services on a built server, whose instances beat until they are stopped. Names are such as "pay/p1". */
export class Village {
  readonly #beating = new Set<string>();
  #addresses = 0;
  #actedAt = 0;

  private constructor(
    private readonly t: TestContext,
    private readonly folder: string,
    public server: ServerProcess,
  ) {
    const timer = setInterval(() => this.#send([...this.#beating]), BEAT_MS);
    t.after(() => clearInterval(timer));
  }

  /** A server with 20 instances of "other", unless it shall be `empty`. */
  static async start(t: TestContext, empty = false): Promise<Village> {
    const folder = temporaryFolder();
    const village = new Village(t, folder, await startServer(t, folder));
    if (!empty) await village.add(named('other', 20));
    return village;
  }

  /** Waits until all that have been added count. */
  async season(): Promise<void> {
    await pause(SEASON_MS);
  }

  /** The clock of a trial begins now. */
  act(): void {
    this.#actedAt = performance.now();
  }

  /** Waits until so much time has passed since `act`. */
  async at(ms: number): Promise<void> {
    await pause(Math.max(0, this.#actedAt + ms - performance.now()));
  }

  async add(names: readonly string[], { ttlS = 2, address, port = 80 }: Options = {}): Promise<void> {
    await Promise.all(
      names.map(async (name) => {
        const [service, id] = name.split('/');
        const own = `10.1.${this.#addresses >> 8}.${this.#addresses++ & 255}`;
        const ttl = { seconds: BigInt(ttlS), nanos: 0 };
        const instance = { service: service!, id: id!, address: address ?? own, port, ttl };
        await register(this.server, { instance, incarnation: id! });
        this.#beating.add(name);
      }),
    );
  }

  stop(names: readonly string[]): void {
    for (const name of names) this.#beating.delete(name);
  }

  resume(names: readonly string[]): void {
    for (const name of names) this.#beating.add(name);
    this.#send(names);
  }

  async leave(names: readonly string[]): Promise<void> {
    this.stop(names);
    await Promise.all(
      names.map((name) => {
        const [service, id] = name.split('/');
        return deregister(this.server, { service: service!, id: id! });
      }),
    );
  }

  /** The process dies, and another one starts on its data. */
  async restart(): Promise<void> {
    await this.server.kill();
    this.server = await startServer(this.t, this.folder);
  }

  discover(service: string): Promise<DiscoverResponse> {
    return discover(this.server, { service });
  }

  async shown(service: string): Promise<string[]> {
    return (await this.discover(service)).instances.map(({ id }) => id);
  }

  async isProtected(service: string): Promise<boolean> {
    return (await this.discover(service)).protection !== undefined;
  }

  /** The ids that are registered, whatever their health. */
  async registered(service: string): Promise<string[]> {
    const answer = await discover(this.server, { service, filter: { healthStates: ALL_STATES } });
    return answer.instances.map(({ id }) => id);
  }

  #send(names: readonly string[]): void {
    if (names.length === 0) return;
    const instances = names.map((name) => {
      const [service, id] = name.split('/');
      return { service: service!, id: id!, incarnation: id! };
    });
    heartbeat(this.server, { instances }).catch(() => undefined); // the server may be down
  }
}

export { named };

/** Ids such as "p0" to "p3", in order. */
export const ids = (count: number, first = 0): string[] =>
  Array.from({ length: count }, (_, i) => `p${first + i}`).sort();
