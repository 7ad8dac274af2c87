// Simulated services that come, beat, fail, drain and go, and a config that changes.
import { delay, settledWithin, systemClock } from '../src/base/clock.js';
import { CallError, type Client, ReportedState } from '../src/client/index.js';

const TTL_S = 3;
/** The time between two events. */
const EVENT_EVERY_MS = 4_000;
/** How long an instance drains, and how long a dead one stays dead. */
const DRAIN_MS = 3_000;
const DEAD_MS = 9_000;
/** How long the services have to leave at the end: servers may be down. */
const LEAVE_MAX_MS = 2_000;
const CONFIG = 'limits.yaml';
/** The instances at the start, by service. */
const FLEET: Readonly<Record<string, number>> = { web: 3, pay: 4, users: 2 };

/** Waits, or until the demo ends. */
const pause = (ms: number, signal: AbortSignal): Promise<void> => delay(systemClock, ms, signal);

/** An instance that can die: `Registration` would always leave in order. */
class Simulated {
  readonly incarnation = crypto.randomUUID();
  state = ReportedState.REPORTED_STATE_HEALTHY;
  #beats: NodeJS.Timeout | undefined;

  constructor(
    private readonly client: Client,
    readonly service: string,
    readonly id: string,
    private readonly port: number,
  ) {}

  get name(): string {
    return `${this.service}/${this.id}`;
  }

  async join(): Promise<void> {
    const { service, id, port, incarnation } = this;
    const instance = { service, id, port, address: '127.0.0.1', ttl: { seconds: BigInt(TTL_S), nanos: 0 } };
    await this.client.registry.register({ instance, incarnation });
    this.#beats = setInterval(() => void this.beat(), (TTL_S * 1_000) / 3);
  }

  async beat(): Promise<void> {
    const { service, id, incarnation, state } = this;
    const item = { service, id, incarnation, reported: { state, note: '' } };
    await this.client.registry.heartbeat({ instances: [item] }, { timeoutMs: 3_000 }).catch(ignoreCallErrors);
  }

  /** Stops its heartbeats and says nothing, as a process that is killed. */
  die(): void {
    clearInterval(this.#beats);
  }

  /** Leaves in order. */
  async leave(): Promise<void> {
    this.die();
    const { service, id, incarnation } = this;
    await this.client.registry.deregister({ service, id, incarnation }).catch(ignoreCallErrors);
  }
}

/** While servers are killed, calls fail: the next ones succeed. */
function ignoreCallErrors(error: unknown): void {
  if (!(error instanceof CallError)) throw error;
}

/** Runs the services until `signal` is aborted, and says what happens. */
export async function runServices(client: Client, say: (text: string) => void, signal: AbortSignal): Promise<void> {
  const fleet: Simulated[] = [];
  let drawn = 0;
  let port = 20_000;
  const add = async (service: string): Promise<Simulated> => {
    const instance = new Simulated(client, service, `${service}-${++drawn}`, ++port);
    await instance.join();
    fleet.push(instance);
    return instance;
  };
  const oneOf = (service: string): Simulated | undefined => fleet.find((instance) => instance.service === service);
  const drop = (instance: Simulated): void => void fleet.splice(fleet.indexOf(instance), 1);
  const publish = async (value: number): Promise<void> => {
    const text = `requests_per_second: ${value}\n`;
    await client.config.publishConfig({
      configs: [{ key: CONFIG, content: { $case: 'text', value: text } }],
      author: 'demo',
    });
  };

  const events: readonly (() => Promise<void>)[] = [
    async () => say(`${(await add('web')).name} comes`),
    async () => {
      const value = 100 + Math.floor(Math.random() * 900);
      await publish(value);
      say(`the config ${CONFIG} changes: requests_per_second: ${value}`);
    },
    async () => {
      const instance = oneOf('pay');
      if (!instance) return;
      instance.die();
      say(`${instance.name} dies: it is UNHEALTHY after ${TTL_S} s, and leaves the watches`);
      await pause(DEAD_MS, signal);
      await instance.join();
      say(`${instance.name} is back`);
    },
    async () => {
      const instance = oneOf('web');
      if (!instance) return;
      drop(instance);
      instance.state = ReportedState.REPORTED_STATE_DRAINING;
      await instance.beat();
      say(`${instance.name} drains: it leaves the watches, and works on`);
      await pause(DRAIN_MS, signal);
      await instance.leave();
      say(`${instance.name} is deregistered`);
    },
    async () => {
      const instance = oneOf('users');
      if (!instance) return;
      instance.state = ReportedState.REPORTED_STATE_UNHEALTHY;
      await instance.beat();
      say(`${instance.name} reports that it does not work`);
      await pause(DRAIN_MS, signal);
      instance.state = ReportedState.REPORTED_STATE_HEALTHY;
      await instance.beat();
      say(`${instance.name} works again`);
    },
  ];

  for (const [service, count] of Object.entries(FLEET)) for (let i = 0; i < count; i++) await add(service);
  await publish(100);
  say(`${fleet.length} instances of ${Object.keys(FLEET).join(', ')} have come, and the config ${CONFIG} is published`);
  const running = new Set<Promise<void>>();
  for (let at = 0; ; at++) {
    await pause(EVENT_EVERY_MS, signal);
    if (signal.aborted) break;
    const event = events[at % events.length]!().catch(ignoreCallErrors);
    running.add(event);
    void event.finally(() => running.delete(event));
  }
  const left = Promise.all(running).then(() => Promise.all(fleet.map((instance) => instance.leave())));
  await settledWithin(systemClock, LEAVE_MAX_MS, left);
}
