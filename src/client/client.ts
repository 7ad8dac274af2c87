import type { Instance, InstanceFilter } from '../gen/rollcall/v1/instance.js';
import { CallError } from './call-error.js';
import { callsOn, type ServiceCalls } from './calls.js';
import { type ConfigSelection, ConfigView } from './config-view.js';
import { Connection, type ConnectionOptions } from './connection.js';
import { type CloseOptions, type InstanceFields, Registration, type RegistrationOptions } from './registration.js';
import { type ServiceSelection, ServiceView } from './service-view.js';
import type { ViewOptions } from './view.js';

/** How the servers are reached, and where the last good state is kept. */
export interface ClientOptions extends ConnectionOptions {
  /**
   * A folder for the last good state of every view, so that a process can start while no server answers. It is made if it is
   * missing, and its files can be read by their owner alone. Default: nothing is kept on disk.
   */
  readonly stateFolder?: string | undefined;
}

/** A filter of instances: the fields that matter. */
export type InstanceFilterFields = Partial<InstanceFilter>;

/**
 * A client of Rollcall. `registry`, `config` and `admin` have every call of the contract: a request is given by the fields
 * that matter, and every other one has its default. Calls reject with CallError.
 */
export class Client implements ServiceCalls {
  readonly registry: ServiceCalls['registry'];
  readonly config: ServiceCalls['config'];
  readonly admin: ServiceCalls['admin'];
  readonly #connection: Connection;
  readonly #registrations = new Set<Registration>();
  readonly #views = new Set<{ close(): void }>();

  constructor(private readonly options: ClientOptions) {
    this.#connection = new Connection(options);
    ({ registry: this.registry, config: this.config, admin: this.admin } = callsOn(this.#connection));
  }

  /** The address that is called next. */
  get address(): string {
    return this.#connection.address;
  }

  /**
   * Registers an instance, and sends its heartbeats from then on. Waits while no server answers, and rejects with a CallError
   * if the instance is refused.
   */
  async register(fields: NonNullable<InstanceFields>, options: RegistrationOptions = {}): Promise<Registration> {
    const registration = new Registration(this, fields, options);
    this.#registrations.add(registration);
    await registration.start();
    return registration;
  }

  /** The instances of a service, asked for now. By default those that can take traffic. */
  async discover(
    service: string,
    { namespace = 'default', filter }: { readonly namespace?: string; readonly filter?: InstanceFilterFields } = {},
  ): Promise<Instance[]> {
    return (await this.registry.discover({ namespace, service, ...(filter && { filter }) })).instances;
  }

  /** Keeps a view of the instances of services, which follows every change until it is closed. */
  viewServices(selection: ServiceSelection, options: ViewOptions = {}): ServiceView {
    return this.#open(new ServiceView(this, selection, this.#placed(options)));
  }

  /** Keeps a view of configs, which follows every change until it is closed. */
  viewConfigs(selection: ConfigSelection, options: ViewOptions = {}): ConfigView {
    return this.#open(new ConfigView(this, selection, this.#placed(options)));
  }

  /**
   * Ends everything that this client has begun: the instances drain and are deregistered, which are the last calls, and the
   * views and connections are closed. Resolves also if no server can be reached: the instances then expire as if the process
   * had died. A loop over `follow` ends with its own signal.
   */
  async close(options: CloseOptions = {}): Promise<void> {
    const results = await Promise.allSettled([...this.#registrations].map((each) => each.close(options)));
    for (const view of this.#views) view.close();
    this.#connection.close();
    for (const result of results)
      if (result.status === 'rejected' && !(result.reason instanceof CallError)) throw result.reason;
  }

  #open<V extends { close(): void; readonly closed: AbortSignal }>(view: V): V {
    this.#views.add(view);
    view.closed.addEventListener('abort', () => this.#views.delete(view), { once: true });
    return view;
  }

  #placed(options: ViewOptions): ViewOptions & { readonly servers: readonly string[] } {
    const { stateFolder, addresses } = this.options;
    return { stateFolder, ...options, servers: addresses };
  }
}
