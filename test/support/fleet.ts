import { type ChannelCredentials, type Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { HeartbeatItem, type RejectedHeartbeat, RejectionReason } from '../../src/gen/rollcall/v1/heartbeat.js';
import { type Flat, flat } from './progress.js';
import { RegistryServiceClient } from './clients.js';
import { Health } from '../../src/gen/rollcall/v1/instance.js';
import {
  HeartbeatRequest,
  type HeartbeatResponse,
  RegisterRequest,
  type RegisterResponse,
  WatchServicesRequest,
  type WatchServicesResponse,
} from '../../src/gen/rollcall/v1/registry_service.js';
import { WatchKind } from '../../src/gen/rollcall/v1/watch.js';
import { toDuration } from '../../src/model/time.js';
import { eventually, pause } from './server.js';

/** Heartbeats of so many instances travel in one call. */
const ITEMS_PER_CALL = 50;
/** Registrations on their way at a time. */
const REGISTERING_MAX = 100;
/** What a client waits for a reply that is no heartbeat's. */
const CALL_MAX_MS = 10_000;
/** A client that comes back is there soon: what is measured is the server. */
const CHANNEL = { 'grpc.initial_reconnect_backoff_ms': 100, 'grpc.max_reconnect_backoff_ms': 500 };

/** How a client chooses the server of its next heartbeat. */
export type Choice = 'sticky' | 'round robin';

/** The client of one instance, as the fleet knows it. */
export interface FleetClient {
  readonly service: string;
  readonly id: string;
  readonly incarnation: string;
  alive: boolean;
  /** When the last heartbeat that was acknowledged was sent. The Register is one. */
  sentMs: number;
  /** When the last call that carried it ended, however it did: nothing of it is received later. */
  endedMs: number;
}

/** Where servers can be called: a list that may change while the fleet beats. */
export interface Address {
  readonly address: string;
  /** The credentials of a client. Default: none, without TLS. */
  readonly creds?: ChannelCredentials;
}

/** How many services and instances, and how they beat. */
export interface FleetOptions {
  readonly services: number;
  readonly perService: number;
  readonly ttlMs: number;
  readonly choice: Choice;
  /** What the names of the services begin with. */
  readonly name?: string;
  /** The credentials of its clients. Default: those of each server. */
  readonly creds?: ChannelCredentials;
}

/**
 * The clients of many instances in one process. They beat three times per ttl, and do what the contract asks of a
 * client: another server after UNAVAILABLE or no reply in time, and again after a quarter of the interval where the
 * answer is RETRY.
 */
export class Fleet {
  readonly clients: FleetClient[] = [];
  /** Heartbeats that were rejected for good, with the reason: a client that was registered all along gets none. */
  readonly rejected: string[] = [];
  /** How many calls ended with which status. */
  readonly calls = new Map<string, number>();
  /** How many heartbeats were acknowledged. */
  acknowledged = 0;
  /** How many were to be sent again. */
  retries = 0;
  readonly #channels = new Map<string, RegistryServiceClient>();
  readonly #carrying: Promise<void>[] = [];
  #stopped = false;

  /** `servers` are asked by their position; a test may put others there. */
  constructor(
    readonly servers: Address[],
    readonly options: FleetOptions,
  ) {}

  get ttlMs(): number {
    return this.options.ttlMs;
  }

  /** The names of the services. */
  get services(): string[] {
    const { services, name = 'service' } = this.options;
    return Array.from({ length: services }, (_, i) => `${name}-${i}`);
  }

  get dead(): FleetClient[] {
    return this.clients.filter(({ alive }) => !alive);
  }

  /** Registers every instance, and beats from then on. */
  async start(): Promise<void> {
    const { perService } = this.options;
    for (let i = 0; i < perService; i++) {
      for (const service of this.services) {
        const client = { service, id: `i${i}`, incarnation: `run-${i}`, alive: true, sentMs: 0, endedMs: 0 };
        this.clients.push(client);
      }
    }
    const open = [...this.clients];
    const register = async (): Promise<void> => {
      for (let client = open.pop(); client; client = open.pop()) await this.register(client);
    };
    // What is registered beats at once: others may take longer than its ttl.
    const carriers = Math.ceil(this.clients.length / ITEMS_PER_CALL);
    for (let i = 0; i < carriers; i++) {
      const carried = this.clients.filter((_, n) => n % carriers === i);
      this.#carrying.push(this.#carry(carried, i / carriers, i));
    }
    await Promise.all(Array.from({ length: REGISTERING_MAX }, register));
  }

  async register(client: FleetClient, ttlMs = this.ttlMs): Promise<RegisterResponse> {
    const { service, id, incarnation } = client;
    const sentMs = performance.now();
    const request = RegisterRequest.fromPartial({
      instance: { service, id, address: '10.0.0.1', port: 80, ttl: toDuration(ttlMs) },
      incarnation,
    });
    for (let at = client.id.length; ; at++) {
      try {
        const answer = await this.#call<RegisterResponse>(at, 'register', request, CALL_MAX_MS);
        client.sentMs = Math.max(client.sentMs, sentMs);
        client.endedMs = performance.now();
        return answer;
      } catch (error) {
        if (performance.now() - sentMs > 3 * CALL_MAX_MS) throw error;
        await pause(100);
      }
    }
  }

  /** These clients end without a word. */
  kill(clients: readonly FleetClient[]): void {
    for (const client of clients) client.alive = false;
  }

  /** The same share of every service that still lives, by its order. */
  share(fraction: number): FleetClient[] {
    const perService = Math.round(this.options.perService * fraction);
    const taken = new Map<string, number>();
    return this.clients.filter(({ alive, service }) => {
      const count = taken.get(service) ?? 0;
      if (!alive || count >= perService) return false;
      taken.set(service, count + 1);
      return true;
    });
  }

  async close(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#carrying);
    for (const channel of this.#channels.values()) channel.close();
  }

  /** Beats for some clients, three times per ttl. */
  async #carry(carried: readonly FleetClient[], phase: number, from: number): Promise<void> {
    const intervalMs = this.ttlMs / 3;
    let at = from;
    await pause(phase * intervalMs);
    while (!this.#stopped) {
      const begunMs = performance.now();
      at = await this.#beat(carried, at);
      if (this.options.choice === 'round robin') at++;
      await pause(Math.max(begunMs + intervalMs - performance.now(), 0));
    }
  }

  /** Beats once for every one that lives; returns which server took it. */
  async #beat(carried: readonly FleetClient[], from: number): Promise<number> {
    const intervalMs = this.ttlMs / 3;
    let open = carried.filter(({ alive, sentMs }) => alive && sentMs > 0);
    let at = from;
    while (open.length > 0 && !this.#stopped) {
      const sending = open.filter(({ alive }) => alive);
      const sentMs = performance.now();
      const request = HeartbeatRequest.create({
        instances: sending.map(({ service, id, incarnation }) =>
          HeartbeatItem.fromPartial({ service, id, incarnation }),
        ),
      });
      try {
        const answer = await this.#call<HeartbeatResponse>(at, 'heartbeat', request, this.ttlMs / 4);
        open = this.#settle(sending, answer.rejected, sentMs);
        if (open.length > 0) await pause(intervalMs / 4);
      } catch {
        for (const client of sending) client.endedMs = performance.now();
        at++;
        if ((at - from) % this.servers.length === 0) await pause(intervalMs / 4);
      }
    }
    return at;
  }

  /** Takes in what was acknowledged; returns what must be sent again. */
  #settle(sent: readonly FleetClient[], rejected: readonly RejectedHeartbeat[], sentMs: number): FleetClient[] {
    const again: FleetClient[] = [];
    const refused = new Map(rejected.map(({ index, reason }) => [index, reason]));
    sent.forEach((client, index) => {
      client.endedMs = performance.now();
      const reason = refused.get(index);
      if (reason === undefined) client.sentMs = sentMs;
      else if (reason === RejectionReason.REJECTION_REASON_RETRY) again.push(client);
      else this.rejected.push(`${client.service}/${client.id}: ${RejectionReason[reason]}`);
    });
    this.acknowledged += sent.length - refused.size;
    this.retries += again.length;
    return again;
  }

  #call<Response>(at: number, method: string, request: object, deadlineMs: number): Promise<Response> {
    const { address, creds } = this.servers[at % this.servers.length]!;
    let channel = this.#channels.get(address);
    if (!channel) {
      channel = new RegistryServiceClient(
        address,
        this.options.creds ?? creds ?? credentials.createInsecure(),
        CHANNEL,
      );
      this.#channels.set(address, channel);
    }
    return callWithin<Response>(channel, method, request, deadlineMs).then(
      (response) => {
        this.#count('OK');
        return response;
      },
      (error: ServiceError) => {
        this.#count(error.message.split(':')[0]!);
        throw error;
      },
    );
  }

  #count(status: string): void {
    this.calls.set(status, (this.calls.get(status) ?? 0) + 1);
  }
}

/** Makes one unary call with a deadline. Rejects with the ServiceError. */
export function callWithin<Response>(
  client: Client,
  method: string,
  request: object,
  deadlineMs: number,
): Promise<Response> {
  type Unary = (
    request: object,
    metadata: Metadata,
    options: { deadline: Date },
    callback: (error: ServiceError | null, response: Response) => void,
  ) => unknown;
  return new Promise((resolve, reject) => {
    const deadline = new Date(Date.now() + deadlineMs);
    (client as unknown as Record<string, Unary>)[method]!.call(
      client,
      request,
      new Metadata(),
      { deadline },
      (error, response) => (error ? reject(error) : resolve(response)),
    );
  });
}

/** A change of what the servers say of an instance. */
export interface Transition {
  readonly atMs: number;
  /** "service/id" */
  readonly key: string;
  /** Undefined: it was removed. */
  readonly health: Health | undefined;
}

const EVERY_STATE = [Health.HEALTH_HEALTHY, Health.HEALTH_DEGRADED, Health.HEALTH_UNHEALTHY, Health.HEALTH_DRAINING];

/** A watcher of every service in every state of health, which goes to the next server when its stream ends. */
export class Observer {
  readonly transitions: Transition[] = [];
  readonly #view = new Map<string, Health>();
  /** When each instance was last seen to become UNHEALTHY. */
  readonly #foundMs = new Map<string, number>();
  #staged: Flat<WatchServicesResponse>[] = [];
  #resumeToken = '';
  #stopped = false;
  #cancel: () => void = () => undefined;
  #complete = false;
  readonly #running: Promise<void>;

  /** Begins at the server at position `from`. */
  constructor(
    private readonly servers: readonly Address[],
    private readonly from = 0,
  ) {
    this.#running = this.#follow();
  }

  /** How many instances there are in a state. */
  count(health: Health): number {
    return [...this.#view.values()].filter((one) => one === health).length;
  }

  has(key: string): boolean {
    return this.#view.has(key);
  }

  health(key: string): Health | undefined {
    return this.#view.get(key);
  }

  /** When it became UNHEALTHY after its last heartbeat. Undefined: it did not. */
  foundMs({ service, id, sentMs }: FleetClient): number | undefined {
    const foundMs = this.#foundMs.get(`${service}/${id}`);
    return foundMs !== undefined && foundMs >= sentMs ? foundMs : undefined;
  }

  /** Waits for the first whole view. */
  async ready(): Promise<void> {
    await eventually(() => this.#complete, 30_000);
  }

  /** What happened from a moment on. */
  since(fromMs: number): Transition[] {
    return this.transitions.filter(({ atMs }) => atMs >= fromMs);
  }

  async close(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#running;
  }

  async #follow(): Promise<void> {
    for (let at = this.from; !this.#stopped; at++) {
      const { address, creds = credentials.createInsecure() } = this.servers[at % this.servers.length]!;
      const client = new RegistryServiceClient(address, creds, CHANNEL);
      const request = WatchServicesRequest.fromPartial({
        all: true,
        filter: { healthStates: EVERY_STATE },
        resumeToken: this.#resumeToken,
      });
      const stream = client.watchServices(request);
      this.#cancel = () => stream.cancel();
      this.#staged = [];
      stream.on('data', (message: WatchServicesResponse) => this.#take(flat(message)));
      stream.on('error', () => undefined);
      await new Promise((resolve) => stream.once('close', resolve));
      client.close();
      if (!this.#stopped) await pause(50);
    }
  }

  #take(message: Flat<WatchServicesResponse>): void {
    this.#staged.push(message);
    if (message.revision === 0n) return;
    if (message.resumeToken !== '') this.#resumeToken = message.resumeToken;
    const isWhole = this.#staged.some(({ kind }) => kind === WatchKind.WATCH_KIND_SNAPSHOT);
    const next = new Map<string, Health | undefined>();
    if (isWhole) for (const key of this.#view.keys()) next.set(key, undefined);
    for (const { upserted, removed } of this.#staged) {
      for (const { service, id } of removed) next.set(`${service}/${id}`, undefined);
      for (const { service, id, health } of upserted) next.set(`${service}/${id}`, health);
    }
    this.#staged = [];
    for (const [key, health] of next) this.#become(key, health);
    this.#complete = true;
  }

  #become(key: string, health: Health | undefined): void {
    if (this.#view.get(key) === health) return;
    const atMs = performance.now();
    this.transitions.push({ atMs, key, health });
    if (health === Health.HEALTH_UNHEALTHY) this.#foundMs.set(key, atMs);
    if (health === undefined) this.#view.delete(key);
    else this.#view.set(key, health);
  }
}

/** How long after its last heartbeat each of some dead clients was found, in milliseconds. */
export interface Detection {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** How much later than its ttl the earliest was found, from when its last heartbeat was sent. Below 0: too early. */
  readonly earliest: number;
}

const keyOf = ({ service, id }: FleetClient): string => `${service}/${id}`;

/** Waits until every one of some dead clients is UNHEALTHY; says how long it took after its last heartbeat. */
export async function detected(
  observer: Observer,
  clients: readonly FleetClient[],
  ttlMs: number,
  withinMs: number,
): Promise<Detection> {
  await eventually(() => clients.every((client) => observer.foundMs(client) !== undefined), withinMs, 50).catch(() => {
    const missing = clients.filter((client) => observer.foundMs(client) === undefined);
    throw new Error(
      `${missing.length} of ${clients.length} not found within ${withinMs} ms: ${missing.map(keyOf).slice(0, 5).join(', ')}`,
    );
  });
  const late = clients.map((client) => observer.foundMs(client)! - client.endedMs).sort((a, b) => a - b);
  const early = clients.map((client) => observer.foundMs(client)! - client.sentMs - ttlMs);
  const at = (share: number): number => Math.round(late[Math.min(Math.floor(late.length * share), late.length - 1)]!);
  return { p50: at(0.5), p99: at(0.99), max: at(1), earliest: Math.round(Math.min(...early)) };
}

/** What was said of clients that live: nothing but HEALTHY must be. */
export function falselyAccused(observer: Observer, fleet: Fleet): string[] {
  const living = new Map(fleet.clients.filter(({ alive }) => alive).map((client) => [keyOf(client), client]));
  return observer.transitions.flatMap(({ key, health, atMs }) => {
    const client = living.get(key);
    if (!client || health === Health.HEALTH_HEALTHY) return [];
    return [`${key} ${health === undefined ? 'removed' : Health[health]} at ${Math.round(atMs)}`];
  });
}
